/* Slots in file order, which differs where images or kernels are: memory kH,kW,I,O, files O,I,kH,kW; memory H,W,C,
 * files C,H,W, which is the same with O = 1. */
#include <string.h>

#include "nn/module.h"

int mt_slot_file_shape(const mt_slot *slot, int64_t shape[MT_MAX_DIMS]) {
  const mt_tensor *t = slot->tensor;
  memcpy(shape, t->shape, sizeof t->shape);
  if (slot->layout == MT_LAYOUT_CONV) {
    const int64_t order[] = {t->shape[3], t->shape[2], t->shape[0], t->shape[1]};
    memcpy(shape, order, sizeof order);
  } else if (slot->layout == MT_LAYOUT_IMAGE) {
    const int64_t order[] = {t->shape[2], t->shape[0], t->shape[1]};
    memcpy(shape, order, sizeof order);
  }
  return t->ndim;
}

/* Between the orders of memory and file. */
static void reorder(const mt_slot *slot, float *memory, float *file, bool to_file) {
  const int64_t *shape = slot->tensor->shape;
  const int64_t spots = shape[0] * shape[1], inputs = shape[2], outputs = slot->layout == MT_LAYOUT_CONV ? shape[3] : 1;
  for (int64_t s = 0; s < spots; s++) {
    for (int64_t i = 0; i < inputs; i++) {
      for (int64_t o = 0; o < outputs; o++) {
        float *in_memory = &memory[(s * inputs + i) * outputs + o], *in_file = &file[(o * inputs + i) * spots + s];
        if (to_file)
          *in_file = *in_memory;
        else
          *in_memory = *in_file;
      }
    }
  }
}

mt_tensor *mt_slot_to_file_order(const mt_slot *slot, const mt_tensor *values) {
  int64_t shape[MT_MAX_DIMS];
  if (slot->layout == MT_LAYOUT_SAME) return mt_tensor_copy(values);
  mt_tensor *out = mt_tensor_new(values->dtype, mt_slot_file_shape(slot, shape), shape);
  if (out) reorder(slot, mt_f32(values), mt_f32(out), true);
  return out;
}

int mt_slot_from_file_order(mt_slot *slot, const mt_tensor *file_values, const char *path) {
  int64_t shape[MT_MAX_DIMS];
  mt_tensor *t = slot->tensor;
  const int ndim = mt_slot_file_shape(slot, shape);
  if (mt_expect_dtype(file_values, t->dtype, "load_state_dict", path) < 0 ||
      mt_expect_shape(file_values, ndim, shape, "load_state_dict", path) < 0)
    return -1;
  if (slot->layout != MT_LAYOUT_SAME)
    reorder(slot, mt_f32(t), mt_f32(file_values), false);
  else if (file_values->data != t->data)
    memcpy(t->data, file_values->data, mt_tensor_bytes(t));
  mt_touch(t);
  return 0;
}
