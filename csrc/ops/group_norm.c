/* One operation for all: the input is (samples, pixels, channels), and each sample's group of channels over all pixels
 * has a mean and a variance. A layer norm is that with one pixel and one group. Samples are shared out among the
 * threads; the gradients of weight and bias by channels, so that every sum runs in one order. */
#include "ops/group_norm.h"

#include <math.h>
#include <string.h>

#include "autograd/tape.h"
#include "core/threads.h"
#include "kernels/kernels.h"

#define PARALLEL_FROM ((int64_t)1 << 14) /* values */
#define CHANNEL_BLOCK 64                 /* channels that a thread sums at a time */

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

/* dweight = sum of dy n, dbias = sum of dy, for the channels [begin, end), at most CHANNEL_BLOCK of them. */
static void sum_channels(const layout *l, const float *x, const moments *stats, const float *dy, int64_t begin,
                         int64_t end, float *dweight, float *dbias) {
  double products[CHANNEL_BLOCK] = {0}, sums[CHANNEL_BLOCK] = {0};
  for (int64_t row = 0; row < l->samples * l->pixels; row++) {
    const moments *of_sample = stats + row / l->pixels * l->groups;
    const int64_t at = row * l->channels + begin;
    if (l->groups == 1) {
      mt_kernels->layer_norm_sums(products, sums, x + at, dy + at, end - begin, of_sample->mean, of_sample->rstd);
      continue;
    }
    for (int64_t c = begin; c < end; c++) {
      const moments m = of_sample[c / group_size(l)];
      const float g = dy[row * l->channels + c];
      products[c - begin] += (double)(g * (x[row * l->channels + c] - m.mean) * m.rstd);
      sums[c - begin] += (double)g;
    }
  }
  for (int64_t c = begin; c < end; c++) {
    if (dweight) dweight[c] = (float)products[c - begin];
    if (dbias) dbias[c] = (float)sums[c - begin];
  }
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

static void sum_range(const void *context, int64_t begin, int64_t end) {
  const norm_work *w = context;
  for (int64_t c = begin; c < end; c += CHANNEL_BLOCK)
    sum_channels(w->l, w->x, w->stats, w->dy, c, c + CHANNEL_BLOCK < end ? c + CHANNEL_BLOCK : end, w->dweight,
                 w->dbias);
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
  const norm_work work = {.l = l,
                          .x = mt_f32(node->saved[SAVED_INPUT]),
                          .weight = node->saved[SAVED_WEIGHT] ? mt_f32(node->saved[SAVED_WEIGHT]) : NULL,
                          .dy = mt_f32(grad_output),
                          .stats = node->saved[SAVED_STATS]->data,
                          .dx = grads[INPUT] ? mt_f32(grads[INPUT]) : NULL,
                          .dweight = grads[WEIGHT] ? mt_f32(grads[WEIGHT]) : NULL,
                          .dbias = grads[BIAS] ? mt_f32(grads[BIAS]) : NULL};
  if (work.dx) over_samples(&work, backward_samples);
  const bool is_large = l->samples * l->pixels * l->channels > PARALLEL_FROM;
  if (work.dweight || work.dbias) mt_parallel(l->channels, is_large ? CHANNEL_BLOCK : l->channels, sum_range, &work);
  return 0;
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
