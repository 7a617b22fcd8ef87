/* Gathers rows; the gradient is added in the order of the indices, so that rows that come twice give the same bits. */
#include "ops/embedding.h"

#include <string.h>

#include "autograd/tape.h"
#include "kernels/kernels.h"

typedef struct {
  int64_t shape[2], padding;
} embedding_context;

enum { SAVED_INDICES, SAVED };

static int embedding_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const embedding_context *c = node->context;
  const mt_tensor *indices = node->saved[SAVED_INDICES];
  const int64_t width = c->shape[1];
  mt_tensor *result = grads[0] = mt_tensor_zeros(MT_FLOAT32, 2, c->shape);
  if (!result) return -1;
  for (int64_t i = 0; i < indices->count; i++) {
    const int64_t row = mt_i32(indices)[i];
    float *to = mt_f32(result) + (row - 1) * width;
    if (row != c->padding) mt_kernels->add(to, to, 1, mt_f32(grad_output) + i * width, 1, width);
  }
  return 0;
}

static const mt_op embedding_op = {.name = "embedding", .backward = embedding_backward};

static int check(const mt_tensor *indices, const mt_tensor *weight) {
  char text[MT_SHAPE_TEXT];
  if (mt_expect_dtype(indices, MT_INT32, "embedding", "indices") < 0 ||
      mt_expect_dtype(weight, MT_FLOAT32, "embedding", "weight") < 0 ||
      mt_expect_ndim(weight, 2, "embedding", "weight", "{rows,D}") < 0)
    return -1;
  if (indices->ndim == MT_MAX_DIMS)
    return mt_fail(MT_ERROR_ARGUMENT, "embedding: indices has shape %s, expected fewer than %d axes",
                   mt_shape_text(indices->ndim, indices->shape, text), MT_MAX_DIMS);
  for (int64_t i = 0; i < indices->count; i++)
    if (mt_i32(indices)[i] < 1 || mt_i32(indices)[i] > weight->shape[0])
      return mt_fail(MT_ERROR_ARGUMENT, "embedding: element %lld of the indices is %d, expected 1..%lld",
                     (long long)i + 1, mt_i32(indices)[i], (long long)weight->shape[0]);
  return 0;
}

mt_tensor *mt_embedding(mt_tensor *indices, mt_tensor *weight, int64_t padding) {
  if (check(indices, weight) < 0) return NULL;
  int64_t shape[MT_MAX_DIMS];
  memcpy(shape, indices->shape, sizeof shape);
  shape[indices->ndim] = weight->shape[1];
  mt_tensor *output = mt_tensor_new(MT_FLOAT32, indices->ndim + 1, shape);
  if (!output) return NULL;
  const int64_t width = weight->shape[1];
  for (int64_t i = 0; i < indices->count; i++)
    memcpy(mt_f32(output) + i * width, mt_f32(weight) + (mt_i32(indices)[i] - 1) * width,
           (size_t)width * sizeof(float));
  const embedding_context context = {{weight->shape[0], weight->shape[1]}, padding};
  return mt_recorded(output, &embedding_op, 1, &weight, SAVED, &indices, &context, sizeof context);
}
