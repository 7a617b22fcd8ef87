/* Slots in file order. Only convolution weights differ: memory kH,kW,I,O, files O,I,kH,kW. */
#include <string.h>

#include "nn/module.h"

int mt_slot_file_shape(const mt_slot *slot, int64_t shape[MT_MAX_DIMS]) {
  const mt_tensor *t = slot->tensor;
  memcpy(shape, t->shape, sizeof t->shape);
  if (slot->layout == MT_LAYOUT_CONV) {
    const int64_t order[] = {t->shape[3], t->shape[2], t->shape[0], t->shape[1]};
    memcpy(shape, order, sizeof order);
  }
  return t->ndim;
}

/* {a,b,c,d} of memory to {d,c,a,b} of the file, or back. */
static void reorder_conv(const int64_t memory_shape[4], float *memory, float *file, bool to_file) {
  const int64_t spots = memory_shape[0] * memory_shape[1], inputs = memory_shape[2], outputs = memory_shape[3];
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
  if (out) reorder_conv(slot->tensor->shape, mt_f32(values), mt_f32(out), true);
  return out;
}

int mt_slot_from_file_order(mt_slot *slot, const mt_tensor *file_values, const char *path) {
  int64_t shape[MT_MAX_DIMS];
  mt_tensor *t = slot->tensor;
  const int ndim = mt_slot_file_shape(slot, shape);
  if (mt_expect_dtype(file_values, t->dtype, "load_state_dict", path) < 0 ||
      mt_expect_shape(file_values, ndim, shape, "load_state_dict", path) < 0)
    return -1;
  if (slot->layout == MT_LAYOUT_CONV)
    reorder_conv(t->shape, mt_f32(t), mt_f32(file_values), false);
  else if (file_values->data != t->data)
    memcpy(t->data, file_values->data, (size_t)t->count * mt_dtype_size(t->dtype));
  mt_touch(t);
  return 0;
}
