/* Each sample is a matrix {S,C} of S positions by C channels; flattening transposes it to {C,S}. The backward
 * pass is the same transposition with the two sizes exchanged. */
#include "ops/flatten.h"

#include "autograd/tape.h"
#include "core/threads.h"

#define PARALLEL_FROM ((int64_t)1 << 15)

typedef struct {
  const float *in;
  float *out;
  int64_t rows, columns;
} transposition;

/* out[n] {columns,rows} = in[n] {rows,columns} transposed, for every sample n. */
static void transpose_range(const void *context, int64_t begin, int64_t end) {
  const transposition *t = context;
  const int64_t rows = t->rows, columns = t->columns;
  for (int64_t n = begin; n < end; n++) {
    const float *from = t->in + n * rows * columns;
    float *to = t->out + n * rows * columns;
    for (int64_t c = 0; c < columns; c++)
      for (int64_t r = 0; r < rows; r++) to[c * rows + r] = from[r * columns + c];
  }
}

static void transpose_samples(const float *in, float *out, int64_t samples, int64_t rows, int64_t columns) {
  mt_parallel(samples, mt_chunk(samples, rows * columns, PARALLEL_FROM), transpose_range,
              &(transposition){in, out, rows, columns});
}

typedef struct {
  int ndim;
  int64_t shape[MT_MAX_DIMS]; /* of the input */
} flatten_context;

static int64_t positions(int ndim, const int64_t *shape) {
  int64_t count = 1;
  for (int i = 1; i < ndim - 1; i++) count *= shape[i];
  return count;
}

static int flatten_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grad_inputs) {
  const flatten_context *context = node->context;
  const int64_t channels = context->shape[context->ndim - 1];
  mt_tensor *dx = grad_inputs[0] = mt_tensor_new(MT_FLOAT32, context->ndim, context->shape);
  if (!dx) return -1;
  transpose_samples(mt_f32(grad_output), mt_f32(dx), context->shape[0], channels,
                    positions(context->ndim, context->shape));
  return 0;
}

static const mt_op flatten_op = {.name = "flatten", .backward = flatten_backward};

mt_tensor *mt_flatten(mt_tensor *x) {
  char text[MT_SHAPE_TEXT];
  if (mt_expect_dtype(x, MT_FLOAT32, "flatten", "input") < 0) return NULL;
  if (x->ndim < 2)
    return mt_fail_null(MT_ERROR_ARGUMENT, "flatten: input has shape %s, expected {N,...,C}",
                        mt_shape_text(x->ndim, x->shape, text));
  flatten_context context = {.ndim = x->ndim};
  for (int i = 0; i < x->ndim; i++) context.shape[i] = x->shape[i];
  const int64_t spread = positions(x->ndim, x->shape), channels = x->shape[x->ndim - 1];
  mt_tensor *y = mt_tensor_new(MT_FLOAT32, 2, (int64_t[]){x->shape[0], spread * channels});
  if (y) transpose_samples(mt_f32(x), mt_f32(y), x->shape[0], spread, channels);
  return mt_recorded(y, &flatten_op, 1, &x, 0, NULL, &context, sizeof context);
}
