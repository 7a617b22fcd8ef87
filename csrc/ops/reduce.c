/* Sum and mean. Everything is brought to (outer, n, inner), n being what is reduced; that
 * block is cut into pieces whose partial sums are added in order, whoever computed them. */
#include "ops/reduce.h"

#include <math.h>
#include <string.h>

#include "autograd/tape.h"
#include "core/memory.h"
#include "core/minmax.h"
#include "core/threads.h"
#include "kernels/kernels.h"
#include "ops/reduce_internal.h"
#include "ops/shape.h"
#include "ops/walk.h"

#define PIECE 32768 /* elements summed by one call */
#define COLUMNS 256 /* columns summed side by side; more where they are short */
#define MOST_COLUMNS 2048
#define PARALLEL_FROM 32768

int mt_reduced_shape(const mt_tensor *t, unsigned axes, bool keepdim, int64_t shape[MT_MAX_DIMS]) {
  int ndim = 0;
  for (int i = 0; i < t->ndim; i++) {
    if (!(axes >> i & 1))
      shape[ndim++] = t->shape[i];
    else if (keepdim)
      shape[ndim++] = 1;
  }
  return ndim;
}

/* Sets the sizes; true when the reduced axes are neighbours (axes of length 1 stand nowhere in particular). */
static bool neighbours(const mt_tensor *t, unsigned axes, mt_reduction_view *view) {
  view->outer = view->n = view->inner = 1;
  bool begun = false, together = true;
  for (int i = 0; i < t->ndim; i++) {
    if (t->shape[i] == 1) continue;
    if (axes >> i & 1) {
      together = together && view->inner == 1;
      view->n *= t->shape[i];
      begun = true;
    } else if (begun) {
      view->inner *= t->shape[i];
    } else {
      view->outer *= t->shape[i];
    }
  }
  return together;
}

int mt_view_reduction(mt_tensor *t, unsigned axes, mt_reduction_view *view) {
  view->values = NULL;
  if (neighbours(t, axes, view) || t->count == 0) {
    view->values = mt_tensor_detach(t);
  } else {
    int order[MT_MAX_DIMS], n = 0;
    for (int i = 0; i < t->ndim; i++)
      if (!(axes >> i & 1)) order[n++] = i;
    for (int i = 0; i < t->ndim; i++)
      if (axes >> i & 1) order[n++] = i;
    mt_tensor *plain = mt_tensor_detach(t);
    if (plain) view->values = mt_permute(plain, order);
    mt_release(plain);
    view->outer *= view->inner;
    view->inner = 1;
  }
  return view->values ? 0 : -1;
}

/* ---- partial sums ---- */

/* Sums of n numbers / of `width` columns of n rows, `inner` apart: of x, or of (x - centre)^2. */
#define PARTIAL_SUMS(name, type)                                                                            \
  static double name##_row(const type *x, int64_t n, const double *centre) {                                \
    double sums[8] = {0};                                                                                   \
    int64_t i = 0;                                                                                          \
    if (centre) {                                                                                           \
      for (; i < n; i++) sums[i & 7] += ((double)x[i] - *centre) * ((double)x[i] - *centre);                \
    } else {                                                                                                \
      for (; i + 8 <= n; i += 8)                                                                            \
        for (int j = 0; j < 8; j++) sums[j] += (double)x[i + j];                                            \
      for (; i < n; i++) sums[i & 7] += (double)x[i];                                                       \
    }                                                                                                       \
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));       \
  }                                                                                                         \
  static void name##_columns(const type *x, int64_t n, int64_t inner, int width, const double *centre,      \
                             double *restrict sums) {                                                       \
    for (int c = 0; c < width; c++) sums[c] = 0.0;                                                          \
    for (int64_t i = 0; i < n; i++, x += inner) {                                                           \
      if (centre) {                                                                                         \
        for (int c = 0; c < width; c++) sums[c] += ((double)x[c] - centre[c]) * ((double)x[c] - centre[c]); \
      } else {                                                                                              \
        for (int c = 0; c < width; c++) sums[c] += (double)x[c];                                            \
      }                                                                                                     \
    }                                                                                                       \
  }

PARTIAL_SUMS(sum_uint8, uint8_t)
PARTIAL_SUMS(sum_int32, int32_t)

/* How (outer, n, inner) is cut: `pieces` of `rows` of n each, and blocks of columns. */
typedef struct {
  int64_t rows, pieces, blocks;
  int width;
} cut;

static cut cut_of(const mt_reduction_view *view) {
  const int64_t of_piece = mt_min64(mt_max64(PIECE / view->n, COLUMNS), MOST_COLUMNS);
  cut c = {.width = (int)mt_min64(view->inner, of_piece)};
  c.blocks = (view->inner + c.width - 1) / c.width;
  c.rows = PIECE / c.width;
  c.pieces = (view->n + c.rows - 1) / c.rows;
  return c;
}

typedef struct {
  const mt_reduction_view *view;
  const cut *cut;
  const double *centre;
  double *partial;
  float *result; /* instead of partial sums, where there is one piece: the sums times the factor */
  double factor;
} summation;

static void sum_floats(const float *x, int64_t n, int64_t inner, int width, const double *centre, double *out) {
  if (inner == 1)
    *out = centre ? mt_kernels->squares_row(x, n, *centre) : mt_kernels->sum_row(x, n);
  else if (centre)
    mt_kernels->squares_columns(x, n, inner, width, centre, out);
  else
    mt_kernels->sum_columns(x, n, inner, width, out);
}

static void sum_unit(const summation *s, int64_t unit) {
  const mt_reduction_view *view = s->view;
  const cut *c = s->cut;
  const double *centre = s->centre;
  const int64_t piece = unit % c->pieces, block = unit / c->pieces % c->blocks, o = unit / c->pieces / c->blocks;
  const int64_t first = piece * c->rows, column = block * c->width;
  const int64_t n = view->n - first < c->rows ? view->n - first : c->rows;
  const int width = view->inner - column < c->width ? (int)(view->inner - column) : c->width;
  const int64_t at = (o * view->n + first) * view->inner + column;
  double own[MOST_COLUMNS], *out = s->result ? own : s->partial + (piece * view->outer + o) * view->inner + column;
  if (centre) centre += o * view->inner + column;
  switch (view->values->dtype) {
    case MT_FLOAT32:
      sum_floats(mt_f32(view->values) + at, n, view->inner, width, centre, out);
      break;
    case MT_UINT8:
      if (view->inner == 1)
        *out = sum_uint8_row(mt_u8(view->values) + at, n, centre);
      else
        sum_uint8_columns(mt_u8(view->values) + at, n, view->inner, width, centre, out);
      break;
    default:
      if (view->inner == 1)
        *out = sum_int32_row(mt_i32(view->values) + at, n, centre);
      else
        sum_int32_columns(mt_i32(view->values) + at, n, view->inner, width, centre, out);
  }
  for (int i = 0; s->result && i < width; i++) s->result[o * view->inner + column + i] = (float)(own[i] * s->factor);
}

static void sum_units(const void *context, int64_t begin, int64_t end) {
  const summation *s = context;
  const mt_reduction_view *view = s->view;
  if (view->inner == 1 && s->cut->pieces == 1 && view->values->dtype == MT_FLOAT32 && !s->centre) { /* may be short */
    for (int64_t row = begin; row < end; row++) {
      const double sum = mt_kernels->sum_row(mt_f32(view->values) + row * view->n, view->n);
      if (s->result)
        s->result[row] = (float)(sum * s->factor);
      else
        s->partial[row] = sum;
    }
    return;
  }
  for (int64_t unit = begin; unit < end; unit++) sum_unit(s, unit);
}

static void run_summation(const summation *s) {
  const int64_t units = s->view->outer * s->cut->blocks * s->cut->pieces;
  mt_parallel(units, mt_chunk(units, s->view->values->count / units, PARALLEL_FROM), sum_units, s);
}

double *mt_reduction_sums(const mt_reduction_view *view, const double *centre) {
  const int64_t outputs = view->outer * view->inner;
  if (outputs == 0 || view->n == 0) {
    double *nothing = mt_alloc((size_t)outputs * sizeof *nothing);
    if (nothing) memset(nothing, 0, (size_t)outputs * sizeof *nothing);
    return nothing;
  }
  const cut c = cut_of(view);
  double *partial = mt_alloc((size_t)(c.pieces * outputs) * sizeof *partial);
  if (!partial) return NULL;
  run_summation(&(summation){.view = view, .cut = &c, .centre = centre, .partial = partial});
  for (int64_t piece = 1; piece < c.pieces; piece++)
    for (int64_t i = 0; i < outputs; i++) partial[i] += partial[piece * outputs + i];
  return partial;
}

/* ---- results ---- */

static int store_int32(mt_tensor *result, const double *sums) {
  for (int64_t i = 0; i < result->count; i++) {
    if (sums[i] < INT32_MIN || sums[i] > INT32_MAX)
      return mt_fail(MT_ERROR_ARGUMENT,
                     "sum: the result is %.0f, expected one that fits in int32; convert to float32 first", sums[i]);
    mt_i32(result)[i] = (int32_t)sums[i];
  }
  return 0;
}

static void store_float32(mt_tensor *result, const double *sums, double factor) {
  for (int64_t i = 0; i < result->count; i++) mt_f32(result)[i] = (float)(sums[i] * factor);
}

/* Without the way over the pool, where no sum has several pieces. */
static bool store_directly(const mt_reduction_view *view, mt_tensor *result, double factor) {
  if (result->dtype != MT_FLOAT32 || result->count == 0 || view->n == 0) return false;
  const cut c = cut_of(view);
  if (c.pieces > 1) return false;
  run_summation(&(summation){.view = view, .cut = &c, .result = mt_f32(result), .factor = factor});
  return true;
}

/* The sums times `factor` (by which the mean differs from the sum), or NULL. */
static mt_tensor *reduced_sum(const mt_reduction_view *view, mt_dtype dtype, int ndim, const int64_t *shape,
                              double factor) {
  mt_tensor *result = mt_tensor_new(dtype, ndim, shape);
  if (result && store_directly(view, result, factor)) return result;
  double *sums = result ? mt_reduction_sums(view, NULL) : NULL;
  int status = sums ? 0 : -1;
  if (status == 0 && dtype == MT_INT32)
    status = store_int32(result, sums);
  else if (status == 0)
    store_float32(result, sums, factor);
  mt_free(sums);
  if (status == 0) return result;
  mt_release(result);
  return NULL;
}

/* ---- sum and mean ---- */

mt_reduction mt_reduction_of(const mt_tensor *t, unsigned axes, double factor) {
  mt_reduction r = {.ndim = t->ndim, .axes = axes, .factor = factor};
  memcpy(r.size, t->shape, sizeof r.size);
  return r;
}

mt_tensor *mt_keepdim_scaled(const mt_tensor *g, const mt_reduction *r) {
  int64_t shape[MT_MAX_DIMS];
  for (int i = 0; i < r->ndim; i++) shape[i] = r->axes >> i & 1 ? 1 : r->size[i];
  mt_tensor *scaled = mt_tensor_new(MT_FLOAT32, r->ndim, shape);
  if (!scaled) return NULL;
  const float factor = (float)r->factor;
  for (int64_t i = 0; i < scaled->count; i++) mt_f32(scaled)[i] = factor * mt_f32(g)[i];
  return scaled;
}

static int sum_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const mt_reduction *r = node->context;
  mt_tensor *scaled = mt_keepdim_scaled(grad_output, r);
  if (!scaled) return -1;
  grads[0] = mt_expand(scaled, r->ndim, r->size);
  mt_release(scaled);
  return grads[0] ? 0 : -1;
}

static const mt_op sum_op = {.name = "sum", .backward = sum_backward};
static const mt_op mean_op = {.name = "mean", .backward = sum_backward};

mt_tensor *mt_sum(mt_tensor *t, unsigned axes, bool keepdim) {
  int64_t shape[MT_MAX_DIMS];
  mt_reduction_view view;
  if (mt_view_reduction(t, axes, &view) < 0) return NULL;
  const int ndim = mt_reduced_shape(t, axes, keepdim, shape);
  mt_tensor *result = reduced_sum(&view, t->dtype == MT_FLOAT32 ? MT_FLOAT32 : MT_INT32, ndim, shape, 1.0);
  mt_release(view.values);
  const mt_reduction r = mt_reduction_of(t, axes, 1.0);
  return mt_recorded(result, &sum_op, 1, &t, 0, NULL, &r, sizeof r);
}

mt_tensor *mt_mean(mt_tensor *t, unsigned axes, bool keepdim) {
  int64_t shape[MT_MAX_DIMS];
  mt_reduction_view view;
  if (mt_view_reduction(t, axes, &view) < 0) return NULL;
  const int ndim = mt_reduced_shape(t, axes, keepdim, shape);
  const double factor = view.n > 0 ? 1.0 / (double)view.n : NAN;
  mt_tensor *result = reduced_sum(&view, MT_FLOAT32, ndim, shape, factor);
  mt_release(view.values);
  const mt_reduction r = mt_reduction_of(t, axes, factor);
  return mt_recorded(result, &mean_op, 1, &t, 0, NULL, &r, sizeof r);
}

mt_tensor *mt_sum_to_shape(mt_tensor *t, int ndim, const int64_t *shape) {
  unsigned axes = 0;
  const int missing = t->ndim - ndim;
  for (int i = 0; i < t->ndim; i++)
    if (i < missing || (shape[i - missing] == 1 && t->shape[i] != 1)) axes |= 1u << i;
  if (axes == 0) return mt_retain(t);
  mt_reduction_view view;
  if (mt_view_reduction(t, axes, &view) < 0) return NULL;
  mt_tensor *result = reduced_sum(&view, MT_FLOAT32, ndim, shape, 1.0);
  mt_release(view.values);
  return result;
}

/* ---- expand: sums are its gradient, and it is theirs ---- */

typedef struct {
  int ndim;
  int64_t size[MT_MAX_DIMS]; /* of what is repeated */
} repetition;

static int expand_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const repetition *r = node->context;
  grads[0] = mt_sum_to_shape(grad_output, r->ndim, r->size);
  return grads[0] ? 0 : -1;
}

static const mt_op expand_op = {.name = "expand", .backward = expand_backward};

mt_tensor *mt_expand(mt_tensor *t, int ndim, const int64_t *shape) {
  int64_t own[MT_MAX_DIMS], strides[MT_MAX_DIMS];
  const int missing = ndim - t->ndim;
  bool fits = missing >= 0;
  mt_strides(t->ndim, t->shape, own);
  for (int i = 0; i < ndim && fits; i++) {
    const int64_t size = i < missing ? 1 : t->shape[i - missing];
    fits = size == 1 || size == shape[i];
    strides[i] = size == 1 ? 0 : own[i - missing];
  }
  if (!fits) {
    char from[MT_SHAPE_TEXT], to[MT_SHAPE_TEXT];
    return mt_fail_null(MT_ERROR_ARGUMENT, "expand: shape is %s, expected one that the tensor's shape %s broadcasts to",
                        mt_shape_text(ndim, shape, to), mt_shape_text(t->ndim, t->shape, from));
  }
  repetition r = {.ndim = t->ndim};
  memcpy(r.size, t->shape, sizeof r.size);
  return mt_recorded(mt_strided_copy(t, ndim, shape, strides), &expand_op, 1, &t, 0, NULL, &r, sizeof r);
}
