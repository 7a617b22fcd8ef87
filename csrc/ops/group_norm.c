/* One operation for all: the input is (samples, pixels, channels), and each sample's group of channels over all pixels
 * has a mean and a variance. A layer norm is that with one pixel and one group. Samples are shared out among the
 * threads; the gradients of weight and bias are summed by pieces of the batch that its shape decides, so that every sum
 * runs in one order. */
#include "ops/group_norm.h"

#include <math.h>
#include <string.h>

#include "autograd/tape.h"
#include "core/memory.h"
#include "core/minmax.h"
#include "core/threads.h"
#include "kernels/kernels.h"

#define PARALLEL_FROM ((int64_t)1 << 14) /* values */
#define CHANNEL_BLOCK 4096               /* channels that a thread sums at a time */
#define PIECES 32                        /* of the rows, at most */
#define PIECE_ROWS 16                    /* at least */

typedef struct {
  int64_t samples, pixels, channels, groups;
} layout;

static int64_t group_size(const layout *l) { return l->channels / l->groups; }

/* A sample is one group in one pixel, as layer norm has it: kernels do it. */
static bool is_row(const layout *l) { return l->pixels == 1 && l->groups == 1; }

/* Calls BODY(i, c) for the elements of a group: i from the sample's beginning, c the channel. */
#define EACH_IN_GROUP(l, group, BODY)                                                 \
  for (int64_t p = 0; p < (l)->pixels; p++)                                           \
    for (int64_t c = (group)*group_size(l); c < ((group) + 1) * group_size(l); c++) { \
      const int64_t i = p * (l)->channels + c;                                        \
      BODY;                                                                           \
    }

/* ---- forward ---- */

/* What backward needs of a group. */
typedef struct {
  float mean, rstd;
} moments;

static moments moments_of(const layout *l, const float *sample, int64_t group, double eps) {
  const double count = (double)(l->pixels * group_size(l));
  if (is_row(l)) {
    const double mean = mt_kernels->sum_row(sample, l->channels) / count;
    return (moments){(float)mean,
                     (float)(1.0 / sqrt(mt_kernels->squares_row(sample, l->channels, mean) / count + eps))};
  }
  double sum = 0.0, squares = 0.0;
  EACH_IN_GROUP(l, group, sum += (double)sample[i]);
  const double mean = sum / count;
  EACH_IN_GROUP(l, group, const double d = (double)sample[i] - mean; squares += d * d);
  return (moments){(float)mean, (float)(1.0 / sqrt(squares / count + eps))};
}

static void forward_sample(const layout *l, const float *x, const float *weight, const float *bias, double eps,
                           moments *stats, float *y) {
  for (int64_t g = 0; g < l->groups; g++) {
    const moments m = stats[g] = moments_of(l, x, g, eps);
    if (is_row(l)) {
      mt_kernels->layer_norm(y, x, weight, bias, l->channels, m.mean, m.rstd);
      return;
    }
    EACH_IN_GROUP(l, g, const float normal = (x[i] - m.mean) * m.rstd;
                  y[i] = normal * (weight ? weight[c] : 1.0f) + (bias ? bias[c] : 0.0f));
  }
}

/* ---- backward ---- */

/* With n the normalised values and g = dy weight: dx = rstd (g - mean(g) - n mean(g n)). */
static void backward_sample(const layout *l, const float *x, const float *weight, const moments *stats, const float *dy,
                            float *dx) {
  const double count = (double)(l->pixels * group_size(l));
  for (int64_t group = 0; group < l->groups; group++) {
    const moments m = stats[group];
    if (is_row(l)) {
      mt_kernels->layer_norm_backward(dx, x, dy, weight, l->channels, m.mean, m.rstd);
      return;
    }
    double sum = 0.0, product = 0.0;
    EACH_IN_GROUP(l, group, const double g = (double)dy[i] * (weight ? (double)weight[c] : 1.0); sum += g;
                  product += g * (double)((x[i] - m.mean) * m.rstd));
    const float mean_g = (float)(sum / count), mean_gn = (float)(product / count);
    EACH_IN_GROUP(l, group, const float g = dy[i] * (weight ? weight[c] : 1.0f);
                  dx[i] = m.rstd * (g - mean_g - (x[i] - m.mean) * m.rstd * mean_gn));
  }
}

/* Adds dy n to products and dy to sums, for the channels [begin, end) of the row's. */
static void add_grouped_row(const layout *l, const float *x, const moments *of_sample, const float *dy, int64_t begin,
                            int64_t end, double *products, double *sums) {
  for (int64_t c = begin; c < end; c++) {
    const moments m = of_sample[c / group_size(l)];
    products[c] += (double)(dy[c] * (x[c] - m.mean) * m.rstd);
    sums[c] += (double)dy[c];
  }
}

/* The same for a few rows, that is samples' pixels, from the given one on. */
static void add_rows(const layout *l, const float *x, const moments *stats, const float *dy, int64_t row, int rows,
                     int64_t begin, int64_t end, double *products, double *sums) {
  const int64_t at = row * l->channels;
  float mean[MT_LAYER_NORM_ROWS], rstd[MT_LAYER_NORM_ROWS];
  for (int i = 0; i < rows; i++) {
    const moments *of_sample = stats + (row + i) / l->pixels * l->groups;
    mean[i] = of_sample->mean;
    rstd[i] = of_sample->rstd;
    if (l->groups > 1)
      add_grouped_row(l, x + at + i * l->channels, of_sample, dy + at + i * l->channels, begin, end, products, sums);
  }
  if (l->groups == 1)
    mt_kernels->layer_norm_sums(products + begin, sums + begin, x + at + begin, dy + at + begin, rows, l->channels,
                                end - begin, mean, rstd);
}

typedef struct {
  layout l;
  int weight_ndim;
  int64_t weight_shape[MT_MAX_DIMS];
} norm_context;

enum { INPUT, WEIGHT, BIAS, INPUTS };
enum { SAVED_INPUT, SAVED_WEIGHT, SAVED_STATS, SAVED };

/* Forward: y from x; backward: dx from x and dy, or dweight and dbias. */
typedef struct {
  const layout *l;
  const float *x, *weight, *bias, *dy;
  double eps;
  moments *stats;
  float *y, *dx, *dweight, *dbias;
  /* Sums over rows: of each piece of piece_rows, `channels` products and then as many sums. */
  double *partial;
  int64_t piece_rows, pieces, blocks;
} norm_work;

static void forward_samples(const void *context, int64_t begin, int64_t end) {
  const norm_work *w = context;
  const int64_t size = w->l->pixels * w->l->channels;
  for (int64_t n = begin; n < end; n++)
    forward_sample(w->l, w->x + n * size, w->weight, w->bias, w->eps, w->stats + n * w->l->groups, w->y + n * size);
}

static void backward_samples(const void *context, int64_t begin, int64_t end) {
  const norm_work *w = context;
  const int64_t size = w->l->pixels * w->l->channels;
  for (int64_t n = begin; n < end; n++)
    backward_sample(w->l, w->x + n * size, w->weight, w->stats + n * w->l->groups, w->dy + n * size, w->dx + n * size);
}

/* Whether a row's part in dx is computed when its part in the sums is: it is in cache then. */
static bool is_one_pass(const norm_work *w) { return w->dx && is_row(w->l) && w->blocks == 1; }

static void sum_piece(const norm_work *w, int64_t piece, int64_t block) {
  const layout *l = w->l;
  const int64_t begin = block * CHANNEL_BLOCK, end = mt_min64(begin + CHANNEL_BLOCK, l->channels);
  const int64_t last = mt_min64((piece + 1) * w->piece_rows, l->samples * l->pixels);
  double *products = w->partial + 2 * piece * l->channels, *sums = products + l->channels;
  memset(products + begin, 0, (size_t)(end - begin) * sizeof *products);
  memset(sums + begin, 0, (size_t)(end - begin) * sizeof *sums);
  for (int64_t row = piece * w->piece_rows; row < last; row += MT_LAYER_NORM_ROWS) {
    const int rows = (int)mt_min64(last - row, MT_LAYER_NORM_ROWS);
    if (is_one_pass(w)) backward_samples(w, row, row + rows);
    add_rows(l, w->x, w->stats, w->dy, row, rows, begin, end, products, sums);
  }
}

static void sum_pieces(const void *context, int64_t begin, int64_t end) {
  const norm_work *w = context;
  for (int64_t i = begin; i < end; i++) sum_piece(w, i / w->blocks, i % w->blocks);
}

static void join_pieces(const void *context, int64_t begin, int64_t end) {
  const norm_work *w = context;
  const int64_t channels = w->l->channels;
  for (int64_t c = begin; c < end; c++) {
    double product = 0.0, sum = 0.0;
    for (int64_t piece = 0; piece < w->pieces; piece++) {
      product += w->partial[2 * piece * channels + c];
      sum += w->partial[(2 * piece + 1) * channels + c];
    }
    if (w->dweight) w->dweight[c] = (float)product;
    if (w->dbias) w->dbias[c] = (float)sum;
  }
}

/* dweight = sum of dy n, dbias = sum of dy; with them dx, if that goes in one pass. */
static int sum_rows(norm_work *w) {
  const int64_t rows = w->l->samples * w->l->pixels, channels = w->l->channels;
  const int64_t even = (rows + PIECES - 1) / PIECES, least = mt_max64(even, PIECE_ROWS);
  w->piece_rows = (least + MT_LAYER_NORM_ROWS - 1) / MT_LAYER_NORM_ROWS * MT_LAYER_NORM_ROWS;
  w->pieces = (rows + w->piece_rows - 1) / w->piece_rows;
  w->partial = mt_alloc((size_t)(2 * w->pieces * channels) * sizeof *w->partial);
  if (!w->partial) return -1;
  const int64_t units = w->pieces * w->blocks;
  mt_parallel(units, rows * channels > PARALLEL_FROM ? 1 : units, sum_pieces, w);
  mt_parallel(channels, w->pieces * channels > PARALLEL_FROM ? CHANNEL_BLOCK / 8 : channels, join_pieces, w);
  mt_free(w->partial);
  return 0;
}

static void over_samples(const norm_work *w, mt_loop_body *body) {
  const layout *l = w->l;
  mt_parallel(l->samples, mt_chunk(l->samples, l->pixels * l->channels, PARALLEL_FROM), body, w);
}

static int norm_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const norm_context *context = node->context;
  const layout *l = &context->l;
  for (int i = 0; i < INPUTS; i++) {
    if (!node->needs[i]) continue;
    grads[i] = i == INPUT ? mt_tensor_like(grad_output)
                          : mt_tensor_new(MT_FLOAT32, context->weight_ndim, context->weight_shape);
    if (!grads[i]) return -1;
  }
  norm_work work = {.l = l,
                    .x = mt_f32(node->saved[SAVED_INPUT]),
                    .weight = node->saved[SAVED_WEIGHT] ? mt_f32(node->saved[SAVED_WEIGHT]) : NULL,
                    .dy = mt_f32(grad_output),
                    .stats = node->saved[SAVED_STATS]->data,
                    .dx = grads[INPUT] ? mt_f32(grads[INPUT]) : NULL,
                    .dweight = grads[WEIGHT] ? mt_f32(grads[WEIGHT]) : NULL,
                    .dbias = grads[BIAS] ? mt_f32(grads[BIAS]) : NULL};
  work.blocks = (l->channels + CHANNEL_BLOCK - 1) / CHANNEL_BLOCK;
  const bool sums = work.dweight || work.dbias;
  if (work.dx && !(sums && is_one_pass(&work))) over_samples(&work, backward_samples);
  return sums ? sum_rows(&work) : 0;
}

/* ---- the operation ---- */

static mt_tensor *normalised(const layout *l, mt_tensor *input, mt_tensor *weight, mt_tensor *bias, double eps,
                             const mt_op *op) {
  mt_tensor *output = mt_tensor_like(input);
  mt_tensor *stats = mt_tensor_new(MT_FLOAT32, 3, (const int64_t[]){l->samples, l->groups, 2});
  if (!output || !stats) {
    mt_release(output);
    mt_release(stats);
    return NULL;
  }
  const norm_work work = {.l = l,
                          .x = mt_f32(input),
                          .weight = weight ? mt_f32(weight) : NULL,
                          .bias = bias ? mt_f32(bias) : NULL,
                          .eps = eps,
                          .stats = stats->data,
                          .y = mt_f32(output)};
  over_samples(&work, forward_samples);
  norm_context context = {.l = *l};
  const mt_tensor *affine = weight ? weight : bias;
  if (affine) {
    context.weight_ndim = affine->ndim;
    memcpy(context.weight_shape, affine->shape, sizeof affine->shape);
  }
  mt_tensor *saved[SAVED] = {[SAVED_INPUT] = input, [SAVED_WEIGHT] = weight, [SAVED_STATS] = stats};
  output = mt_recorded(output, op, INPUTS, (mt_tensor *[INPUTS]){input, weight, bias}, SAVED, saved, &context,
                       sizeof context);
  mt_release(stats);
  return output;
}

static const mt_op group_op = {.name = "group_norm", .backward = norm_backward};
static const mt_op instance_op = {.name = "instance_norm", .backward = norm_backward};
static const mt_op layer_op = {.name = "layer_norm", .backward = norm_backward};

static int check_affine(const mt_tensor *t, const char *name, int ndim, const int64_t *shape, const char *op) {
  if (!t) return 0;
  return mt_expect_dtype(t, MT_FLOAT32, op, name) < 0 || mt_expect_shape(t, ndim, shape, op, name) < 0 ? -1 : 0;
}

static int64_t product(const int64_t *sizes, int count) {
  int64_t n = 1;
  for (int i = 0; i < count; i++) n *= sizes[i];
  return n;
}

/* (N,...,C), for group and instance norm. */
static int check_channels(const mt_tensor *input, const mt_tensor *weight, const mt_tensor *bias, const char *op,
                          layout *l) {
  char text[MT_SHAPE_TEXT];
  if (mt_expect_dtype(input, MT_FLOAT32, op, "input") < 0) return -1;
  if (input->ndim < 2)
    return mt_fail(MT_ERROR_ARGUMENT, "%s: input has shape %s, expected {N,...,C}", op,
                   mt_shape_text(input->ndim, input->shape, text));
  l->samples = input->shape[0];
  l->channels = input->shape[input->ndim - 1];
  l->pixels = product(input->shape + 1, input->ndim - 2);
  if (check_affine(weight, "weight", 1, &l->channels, op) < 0) return -1;
  return check_affine(bias, "bias", 1, &l->channels, op);
}

mt_tensor *mt_group_norm(mt_tensor *input, int64_t groups, mt_tensor *weight, mt_tensor *bias, double eps) {
  layout l = {.groups = groups};
  if (check_channels(input, weight, bias, "group_norm", &l) < 0) return NULL;
  if (groups < 1 || l.channels % groups != 0)
    return mt_fail_null(MT_ERROR_ARGUMENT,
                        "group_norm: groups is %lld, expected a divisor of the input's %lld channels",
                        (long long)groups, (long long)l.channels);
  return normalised(&l, input, weight, bias, eps, &group_op);
}

mt_tensor *mt_instance_norm(mt_tensor *input, mt_tensor *weight, mt_tensor *bias, double eps) {
  char text[MT_SHAPE_TEXT];
  layout l = {.groups = 1};
  if (check_channels(input, weight, bias, "instance_norm", &l) < 0) return NULL;
  if (l.pixels == 1)
    return mt_fail_null(MT_ERROR_ARGUMENT,
                        "instance_norm: input has shape %s, expected more than one pixel (one alone becomes 0)",
                        mt_shape_text(input->ndim, input->shape, text));
  if (l.channels > 0) l.groups = l.channels;
  return normalised(&l, input, weight, bias, eps, &instance_op);
}

mt_tensor *mt_layer_norm(mt_tensor *input, int ndim, const int64_t *shape, mt_tensor *weight, mt_tensor *bias,
                         double eps) {
  char got[MT_SHAPE_TEXT], wanted[MT_SHAPE_TEXT];
  if (mt_expect_dtype(input, MT_FLOAT32, "layer_norm", "input") < 0) return NULL;
  const int leading = input->ndim - ndim;
  if (leading < 0 || memcmp(input->shape + leading, shape, (size_t)ndim * sizeof *shape) != 0)
    return mt_fail_null(MT_ERROR_ARGUMENT, "layer_norm: input has shape %s, expected it to end in %s",
                        mt_shape_text(input->ndim, input->shape, got), mt_shape_text(ndim, shape, wanted));
  if (check_affine(weight, "weight", ndim, shape, "layer_norm") < 0 ||
      check_affine(bias, "bias", ndim, shape, "layer_norm") < 0)
    return NULL;
  const layout l = {product(input->shape, leading), 1, product(shape, ndim), 1};
  return normalised(&l, input, weight, bias, eps, &layer_op);
}
