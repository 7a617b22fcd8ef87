/* Comparison and choice. Both look at element types only to copy or compare values; the walk does the rest. */
#include "ops/compare.h"

#include <string.h>

#include "autograd/tape.h"
#include "core/stream.h"
#include "ops/binary.h"
#include "ops/cast.h"
#include "ops/reduce.h"
#include "ops/strides.h"
#include "ops/walk.h"

/* ---- comparison ---- */

typedef struct {
  mt_comparison comparison; /* EQ, NE, LT or LE: the others are these with the operands exchanged */
  uint8_t *out;
  mt_tensor *a, *b;
} comparison_rows;

#define COMPARE(type, operator)                                                                      \
  do {                                                                                               \
    const type *a = (const type *)p->a->data + offset[1], *b = (const type *)p->b->data + offset[2]; \
    MT_FOR_STRIDES(n, stride[1], stride[2], out[i] = a[i * A] operator b[i * B]);                    \
  } while (0)

#define COMPARE_AS(type)   \
  switch (p->comparison) { \
    case MT_EQ:            \
      COMPARE(type, ==);   \
      break;               \
    case MT_NE:            \
      COMPARE(type, !=);   \
      break;               \
    case MT_LT:            \
      COMPARE(type, <);    \
      break;               \
    default:               \
      COMPARE(type, <=);   \
  }

static void comparison_row(const void *context, int64_t n, const int64_t *offset, const int64_t *stride) {
  const comparison_rows *p = context;
  uint8_t *out = p->out + offset[0];
  switch (p->a->dtype) {
    case MT_FLOAT32:
      COMPARE_AS(float)
      break;
    case MT_UINT8:
      COMPARE_AS(uint8_t)
      break;
    default:
      COMPARE_AS(int32_t)
  }
}

static mt_tensor *compare(mt_comparison comparison, mt_tensor *a, mt_tensor *b) {
  int64_t shape[MT_MAX_DIMS];
  memcpy(shape, a->shape, sizeof shape);
  const int ndim = mt_broadcast_shape("compare", a->ndim, shape, b);
  if (ndim < 0) return NULL;
  const mt_dtype dtype = mt_common_dtype(a->dtype, b->dtype);
  comparison_rows p = {.comparison = comparison, .a = mt_cast(a, dtype), .b = mt_cast(b, dtype)};
  mt_tensor *out = p.a && p.b ? mt_tensor_new(MT_UINT8, ndim, shape) : NULL;
  if (out) {
    p.out = mt_u8(out);
    mt_walk walk = mt_walk_over(ndim, shape);
    mt_walk_add(&walk, out);
    mt_walk_add(&walk, p.a);
    mt_walk_add(&walk, p.b);
    mt_walk_run(&walk, comparison_row, &p);
  }
  mt_release(p.a);
  mt_release(p.b);
  return out;
}

mt_tensor *mt_compare(mt_comparison comparison, mt_tensor *a, mt_tensor *b) {
  if (comparison == MT_GT) return compare(MT_LT, b, a);
  if (comparison == MT_GE) return compare(MT_LE, b, a);
  return compare(comparison, a, b);
}

/* ---- choice ---- */

typedef struct {
  mt_tensor *out, *mask, *a, *b;
  bool streams;
} choice_rows;

/* Both values are read, whichever is wanted: so the compiler can make vector code of it. */
#define CHOOSE_ONE(type, m, x, y) \
  {                               \
    const type yes = x, no = y;   \
    out[i] = m ? yes : no;        \
  }
#define CHOOSE_COUNT(type)                                                                                 \
  do {                                                                                                     \
    const uint8_t *m = mask + at * stride[1];                                                              \
    const type *x = a + at * stride[2], *y = b + at * stride[3];                                           \
    if (stride[1] == 1)                                                                                    \
      MT_FOR_STRIDES(count, stride[2], stride[3], CHOOSE_ONE(type, m[i], x[i * A], y[i * B]));             \
    else                                                                                                   \
      MT_FOR_STRIDES(count, stride[2], stride[3], CHOOSE_ONE(type, m[i * stride[1]], x[i * A], y[i * B])); \
  } while (0)
#define CHOOSE(type)                                                                                 \
  do {                                                                                               \
    const type *a = (const type *)p->a->data + offset[2], *b = (const type *)p->b->data + offset[3]; \
    MT_WRITE(type, p->streams, (type *)p->out->data + offset[0], n, CHOOSE_COUNT(type));             \
  } while (0)

static void choice_row(const void *context, int64_t n, const int64_t *offset, const int64_t *stride) {
  const choice_rows *p = context;
  const uint8_t *mask = mt_u8(p->mask) + offset[1];
  if (p->out->dtype == MT_UINT8)
    CHOOSE(uint8_t);
  else if (p->out->dtype == MT_INT32)
    CHOOSE(int32_t);
  else
    CHOOSE(float);
}

/* Fills p->out, of the shape that everything broadcasts to. */
static void choose(choice_rows *p) {
  p->streams =
      mt_streams(mt_tensor_bytes(p->out), mt_tensor_bytes(p->mask) + mt_tensor_bytes(p->a) + mt_tensor_bytes(p->b));
  mt_walk walk = mt_walk_over(p->out->ndim, p->out->shape);
  mt_walk_add(&walk, p->out);
  mt_walk_add(&walk, p->mask);
  mt_walk_add(&walk, p->a);
  mt_walk_add(&walk, p->b);
  mt_walk_run(&walk, choice_row, p);
}

typedef struct {
  int ndim[2];
  int64_t shape[2][MT_MAX_DIMS]; /* of a and b */
} operand_shapes;

static int where_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const operand_shapes *shapes = node->context;
  mt_tensor *zero = mt_tensor_scalar(0.0f);
  int status = zero ? 0 : -1;
  for (int i = 0; i < 2 && status == 0; i++) {
    if (!node->needs[i]) continue;
    choice_rows p = {.out = mt_tensor_like(grad_output),
                     .mask = node->saved[0],
                     .a = i == 0 ? grad_output : zero,
                     .b = i == 0 ? zero : grad_output};
    if (p.out) {
      choose(&p);
      grads[i] = mt_sum_to_shape(p.out, shapes->ndim[i], shapes->shape[i]);
    }
    mt_release(p.out);
    status = grads[i] ? 0 : -1;
  }
  mt_release(zero);
  return status;
}

static const mt_op where_op = {.name = "where", .backward = where_backward};

/* The mask as uint8: itself, or whether it differs from 0. */
static mt_tensor *truth(mt_tensor *mask) {
  if (mask->dtype == MT_UINT8) return mt_retain(mask);
  mt_tensor *zero = mt_tensor_full(MT_UINT8, 0, NULL, 0.0);
  mt_tensor *result = zero ? mt_compare(MT_NE, mask, zero) : NULL;
  mt_release(zero);
  return result;
}

mt_tensor *mt_where(mt_tensor *mask, mt_tensor *a, mt_tensor *b) {
  int64_t shape[MT_MAX_DIMS];
  memcpy(shape, a->shape, sizeof shape);
  int ndim = mt_broadcast_shape("where", a->ndim, shape, b);
  if (ndim >= 0) ndim = mt_broadcast_shape("where", ndim, shape, mask);
  if (ndim < 0) return NULL;
  const mt_dtype dtype = mt_common_dtype(a->dtype, b->dtype);
  choice_rows p = {.mask = truth(mask), .a = mt_cast(a, dtype), .b = mt_cast(b, dtype)};
  if (p.mask && p.a && p.b) p.out = mt_tensor_new(dtype, ndim, shape);
  if (p.out) {
    choose(&p);
    operand_shapes shapes = {.ndim = {a->ndim, b->ndim}};
    memcpy(shapes.shape[0], a->shape, sizeof a->shape);
    memcpy(shapes.shape[1], b->shape, sizeof b->shape);
    mt_tensor *inputs[] = {a, b};
    p.out = mt_recorded(p.out, &where_op, 2, inputs, 1, &p.mask, &shapes, sizeof shapes);
  }
  mt_release(p.mask);
  mt_release(p.a);
  mt_release(p.b);
  return p.out;
}
