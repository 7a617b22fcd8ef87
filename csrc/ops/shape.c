/* Operations that rename or move elements without computing on them. */
#include "ops/shape.h"

#include <string.h>

#include "autograd/tape.h"
#include "core/threads.h"
#include "kernels/kernels.h"
#include "ops/walk.h"

typedef struct {
  int ndim;
  int64_t size[MT_MAX_DIMS];
} extent;

static extent extent_of(const mt_tensor *t) {
  extent e = {.ndim = t->ndim};
  for (int i = 0; i < t->ndim; i++) e.size[i] = t->shape[i];
  return e;
}

mt_axis_view mt_view_axis(const mt_tensor *t, int axis) {
  mt_axis_view view = {.outer = 1, .n = t->shape[axis], .inner = 1};
  for (int i = 0; i < axis; i++) view.outer *= t->shape[i];
  for (int i = axis + 1; i < t->ndim; i++) view.inner *= t->shape[i];
  return view;
}

/* ---- reshape, squeeze, unsqueeze: other names for the same elements ---- */

static int rename_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const extent *input = node->context;
  grads[0] = mt_tensor_alias(grad_output, 0, input->ndim, input->size);
  return grads[0] ? 0 : -1;
}

static mt_tensor *rename_axes(mt_tensor *t, const mt_op *op, int ndim, const int64_t *shape) {
  const extent input = extent_of(t);
  return mt_recorded(mt_tensor_alias(t, 0, ndim, shape), op, 1, &t, 0, NULL, &input, sizeof input);
}

static const mt_op reshape_op = {.name = "reshape", .backward = rename_backward};
static const mt_op squeeze_op = {.name = "squeeze", .backward = rename_backward};
static const mt_op unsqueeze_op = {.name = "unsqueeze", .backward = rename_backward};

static mt_tensor *reshape_error(const mt_tensor *t, int ndim, const int64_t *shape, const char *why) {
  char from[MT_SHAPE_TEXT], to[MT_SHAPE_TEXT];
  return mt_fail_null(MT_ERROR_ARGUMENT, "reshape: shape is %s, %s (the tensor has shape %s, %lld elements)",
                      mt_shape_text(ndim, shape, to), why, mt_shape_text(t->ndim, t->shape, from), (long long)t->count);
}

mt_tensor *mt_reshape(mt_tensor *t, int ndim, const int64_t *shape) {
  int64_t sizes[MT_MAX_DIMS] = {0};
  int unknown = -1;
  for (int i = 0; i < ndim; i++) {
    sizes[i] = shape[i];
    if (shape[i] >= 0) continue;
    if (shape[i] != -1 || unknown >= 0) return reshape_error(t, ndim, shape, "expected sizes >= 0 and at most one -1");
    unknown = i;
    sizes[i] = 1;
  }
  const int64_t known = mt_shape_count("reshape", ndim, sizes);
  if (known < 0) return NULL;
  if (unknown >= 0) {
    if (known == 0 || t->count % known != 0)
      return reshape_error(t, ndim, shape, "expected sizes that divide the number of elements");
    sizes[unknown] = t->count / known;
  } else if (known != t->count) {
    return reshape_error(t, ndim, shape, "expected as many elements as the tensor has");
  }
  return rename_axes(t, &reshape_op, ndim, sizes);
}

mt_tensor *mt_squeeze(mt_tensor *t, int axis) {
  int64_t shape[MT_MAX_DIMS];
  int ndim = 0;
  for (int i = 0; i < t->ndim; i++)
    if (t->shape[i] != 1 || (axis >= 0 && axis != i)) shape[ndim++] = t->shape[i];
  return rename_axes(t, &squeeze_op, ndim, shape);
}

mt_tensor *mt_unsqueeze(mt_tensor *t, int axis) {
  int64_t shape[MT_MAX_DIMS];
  if (t->ndim == MT_MAX_DIMS)
    return mt_fail_null(MT_ERROR_ARGUMENT, "unsqueeze: the tensor has %d axes already, expected fewer", MT_MAX_DIMS);
  for (int i = 0; i <= t->ndim; i++) shape[i] = i < axis ? t->shape[i] : i == axis ? 1 : t->shape[i - 1];
  return rename_axes(t, &unsqueeze_op, t->ndim + 1, shape);
}

/* ---- clone ---- */

static int clone_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  (void)node;
  grads[0] = mt_retain(grad_output);
  return 0;
}

static const mt_op clone_op = {.name = "clone", .backward = clone_backward};

mt_tensor *mt_clone(mt_tensor *t) { return mt_recorded(mt_tensor_copy(t), &clone_op, 1, &t, 0, NULL, NULL, 0); }

/* ---- permute and expand: strided copies ---- */

typedef struct {
  void *to;
  const void *from;
} copy_pair;

/* A row that is one piece, or one element repeated: what broadcasting and slices are made of. */
#define COPY_ROW(name, type)                                                                       \
  static void name(const void *context, int64_t n, const int64_t *offset, const int64_t *stride) { \
    const copy_pair *pair = context;                                                               \
    type *to = (type *)pair->to + offset[0];                                                       \
    const type *from = (const type *)pair->from + offset[1], first = *from;                        \
    if (stride[1] == 1)                                                                            \
      memcpy(to, from, (size_t)n * sizeof *to);                                                    \
    else if (stride[1] == 0)                                                                       \
      for (int64_t i = 0; i < n; i++) to[i] = first;                                               \
    else                                                                                           \
      for (int64_t i = 0; i < n; i++) to[i] = from[i * stride[1]];                                 \
  }

COPY_ROW(copy_row_bytes, uint8_t)
COPY_ROW(copy_row_words, uint32_t)

/* Matrices of 32-bit words that are transposed, in bands: a band's columns, neighbours in memory, become its rows. */
typedef struct {
  int ndim, band_axis; /* the axis whose elements are neighbours in `from`; the last one is the other */
  int64_t shape[MT_MAX_DIMS], strides[MT_MAX_DIMS], to_strides[MT_MAX_DIMS];
  int64_t bands; /* of a matrix */
  uint32_t *to;
  const uint32_t *from;
} transposition;

#define BAND 16
#define TRANSPOSE_GRAIN 16384

static void transpose_bands(const void *context, int64_t begin, int64_t end) {
  const transposition *t = context;
  const int last = t->ndim - 1;
  for (int64_t i = begin; i < end; i++) {
    const int64_t first = i % t->bands * BAND, left = t->shape[t->band_axis] - first;
    int64_t rest = i / t->bands, to = first * t->to_strides[t->band_axis], from = first;
    for (int axis = last - 1; axis >= 0; axis--) {
      if (axis == t->band_axis) continue;
      to += rest % t->shape[axis] * t->to_strides[axis];
      from += rest % t->shape[axis] * t->strides[axis];
      rest /= t->shape[axis];
    }
    mt_kernels->transpose(t->to + to, t->to_strides[t->band_axis], t->from + from, t->strides[last], t->shape[last],
                          left < BAND ? left : BAND);
  }
}

/* The axes that matter: longer than 1, and joined where one continues the next in both tensors. */
static int joined_axes(int ndim, const int64_t *shape, const int64_t *strides, transposition *t) {
  int n = 0;
  for (int i = 0; i < ndim; i++) {
    if (shape[i] == 1) continue;
    if (n > 0 && t->strides[n - 1] == strides[i] * shape[i]) {
      t->shape[n - 1] *= shape[i];
      t->strides[n - 1] = strides[i];
    } else {
      t->shape[n] = shape[i];
      t->strides[n++] = strides[i];
    }
  }
  mt_strides(n, t->shape, t->to_strides);
  return n;
}

/* False where the copy is no transposition of matrices worth it. */
static bool transposes(int ndim, const int64_t *shape, const int64_t *strides, transposition *t) {
  t->ndim = joined_axes(ndim, shape, strides, t);
  t->band_axis = -1;
  for (int i = 0; i < t->ndim - 1; i++)
    if (t->strides[i] == 1) t->band_axis = i;
  if (t->band_axis < 0 || t->strides[t->ndim - 1] == 0 || t->shape[t->band_axis] < 4 || t->shape[t->ndim - 1] < 4)
    return false;
  t->bands = (t->shape[t->band_axis] + BAND - 1) / BAND;
  return true;
}

/* A new tensor of `shape`, axis i of which steps through t by strides[i]. */
mt_tensor *mt_strided_copy(const mt_tensor *t, int ndim, const int64_t *shape, const int64_t *strides) {
  mt_tensor *result = mt_tensor_new(t->dtype, ndim, shape);
  if (!result) return NULL;
  transposition transposed = {.to = result->data, .from = t->data};
  if (mt_dtype_size(t->dtype) == sizeof(uint32_t) && result->count > 0 &&
      transposes(ndim, shape, strides, &transposed)) {
    const int64_t size = transposed.shape[transposed.band_axis] * transposed.shape[transposed.ndim - 1];
    const int64_t bands = result->count / size * transposed.bands;
    mt_parallel(bands, mt_chunk(bands, result->count / bands, TRANSPOSE_GRAIN), transpose_bands, &transposed);
    return result;
  }
  mt_walk walk = mt_walk_over(ndim, shape);
  mt_walk_add(&walk, result);
  mt_walk_add_strides(&walk, strides);
  const copy_pair pair = {.to = result->data, .from = t->data};
  mt_walk_run(&walk, mt_dtype_size(t->dtype) == 1 ? copy_row_bytes : copy_row_words, &pair);
  return result;
}

static int permute_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const int *order = node->context;
  int inverse[MT_MAX_DIMS];
  for (int i = 0; i < grad_output->ndim; i++) inverse[order[i]] = i;
  grads[0] = mt_permute(grad_output, inverse);
  return grads[0] ? 0 : -1;
}

static const mt_op permute_op = {.name = "permute", .backward = permute_backward};

mt_tensor *mt_permute(mt_tensor *t, const int *order) {
  int64_t own[MT_MAX_DIMS], strides[MT_MAX_DIMS], shape[MT_MAX_DIMS];
  int kept[MT_MAX_DIMS] = {0};
  mt_strides(t->ndim, t->shape, own);
  for (int i = 0; i < t->ndim; i++) {
    kept[i] = order[i];
    shape[i] = t->shape[order[i]];
    strides[i] = own[order[i]];
  }
  return mt_recorded(mt_strided_copy(t, t->ndim, shape, strides), &permute_op, 1, &t, 0, NULL, kept, sizeof kept);
}
