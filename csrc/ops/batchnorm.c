/* Batch norm. With P = the values of a channel, x^ = (z - mean) * invstd and g = the output's gradient where the ReLU
 * let it through:
 *
 *   forward   y = relu(z * scale + shift + residual),  scale = weight * invstd,  shift = bias - mean * scale
 *   backward  grad_bias = sum g,  grad_weight = sum g x^,  grad_residual = g,
 *             grad_z = scale * (g - sum g / P - x^ * sum(g x^) / P)       (evaluation: scale * g)
 *
 * Forward keeps z and five floats per channel; the ReLU's mask is recomputed from z, or read from the output where a
 * residual was added. Sums run over blocks that do not depend on the number of threads, in float within a block and
 * in double over blocks, so that every thread count gives the same bits. */
#include "ops/batchnorm.h"

#include <math.h>

#include "autograd/tape.h"
#include "core/memory.h"
#include "core/threads.h"
#include "kernels/kernels.h"
#include "ops/batchnorm_internal.h"

#define BLOCK_FLOATS ((int64_t)8 << 10)
#define PARALLEL_FROM ((int64_t)1 << 15) /* values */

/* Rows of the saved statistics {STATISTICS,C}. */
enum { SCALE, SHIFT, MEAN, INVSTD, STATISTICS };

/* ---- checks ---- */

static int check_channels(int64_t channels, const mt_tensor *t, const char *name) {
  if (mt_expect_dtype(t, MT_FLOAT32, "batch_norm", name) < 0) return -1;
  return mt_expect_shape(t, 1, &channels, "batch_norm", name);
}

int mt_batch_norm_check(int ndim, const int64_t *shape, const mt_tensor *weight, const mt_tensor *bias,
                        const mt_tensor *running_mean, const mt_tensor *running_var, const mt_batch_norm_params *p) {
  char text[MT_SHAPE_TEXT];
  if (ndim < 2)
    return mt_fail(MT_ERROR_ARGUMENT, "batch_norm: input has shape %s, expected {...,C} with at least 2 axes",
                   mt_shape_text(ndim, shape, text));
  const int64_t channels = shape[ndim - 1];
  if (check_channels(channels, weight, "weight") < 0 || check_channels(channels, bias, "bias") < 0 ||
      check_channels(channels, running_mean, "running_mean") < 0 ||
      check_channels(channels, running_var, "running_var") < 0)
    return -1;
  int64_t values = 1;
  for (int i = 0; i < ndim - 1; i++) values *= shape[i];
  if (p->training && values < 2)
    return mt_fail(MT_ERROR_ARGUMENT,
                   "batch_norm: input has shape %s, expected more than 1 value per channel when training",
                   mt_shape_text(ndim, shape, text));
  if (!(p->eps >= 0)) return mt_fail(MT_ERROR_ARGUMENT, "batch_norm: eps is %g, expected >= 0", (double)p->eps);
  if (!p->residual) return 0;
  if (mt_expect_dtype(p->residual, MT_FLOAT32, "batch_norm", "residual") < 0) return -1;
  return mt_expect_shape(p->residual, ndim, shape, "batch_norm", "residual");
}

/* ---- blocks of pixels ---- */

typedef struct {
  int64_t pixels, channels, per_block, blocks;
  int threads;
} block_plan;

static block_plan plan_blocks(const mt_tensor *input) {
  block_plan plan = {.channels = input->shape[input->ndim - 1]};
  plan.pixels = plan.channels > 0 ? input->count / plan.channels : 0;
  plan.per_block = plan.channels < BLOCK_FLOATS / 16 ? BLOCK_FLOATS / (plan.channels + 1) : 16;
  plan.blocks = (plan.pixels + plan.per_block - 1) / plan.per_block;
  plan.threads = input->count < PARALLEL_FROM ? 1 : mt_num_threads();
  return plan;
}

static int64_t block_pixels(const void *context, int64_t block) {
  const block_plan *plan = context;
  const int64_t left = plan->pixels - block * plan->per_block;
  return left < plan->per_block ? left : plan->per_block;
}

/* Runs body for every block b, whose first value is `at` and which has `count` pixels; a thread's blocks are
 * neighbours. */
#define EACH_BLOCK(plan, body)                                                                                      \
  _Pragma("omp parallel for num_threads((plan)->threads) schedule(static, 1)") for (int t = 0; t < (plan)->threads; \
                                                                                    t++) {                          \
    for (int64_t b = (plan)->blocks * t / (plan)->threads; b < (plan)->blocks * (t + 1) / (plan)->threads; b++) {   \
      const int64_t at = b * (plan)->per_block * (plan)->channels, count = block_pixels((plan), b);                 \
      body                                                                                                          \
    }                                                                                                               \
  }

/* ---- statistics ---- */

/* Of channel c: the mean, and the sum of squared deviations from it. */
static void combine(const mt_moments *m, int64_t channels, int64_t pixels, int64_t c, double *mean, double *squares) {
  double sum = 0, deviations = 0;
  for (int64_t b = 0; b < m->blocks; b++) {
    const float *block = m->values + b * 3 * channels + c;
    sum += (double)block[0] * (double)m->pixels(m->context, b) + (double)block[channels];
  }
  *mean = sum / (double)pixels;
  for (int64_t b = 0; b < m->blocks; b++) {
    const float *block = m->values + b * 3 * channels + c;
    const double n = (double)m->pixels(m->context, b), from_center = *mean - (double)block[0];
    deviations +=
        (double)block[2 * channels] - 2 * from_center * (double)block[channels] + n * from_center * from_center;
  }
  *squares = deviations < 0 ? 0 : deviations;
}

static void move_towards(float *running, double value, float momentum) {
  *running = (float)((1.0 - (double)momentum) * (double)*running + (double)momentum * value);
}

static void set_channel(float *statistics, int64_t channels, int64_t c, double weight, double bias, double mean,
                        double invstd) {
  statistics[SCALE * channels + c] = (float)(weight * invstd);
  statistics[SHIFT * channels + c] = (float)(bias - mean * weight * invstd);
  statistics[MEAN * channels + c] = (float)mean;
  statistics[INVSTD * channels + c] = (float)invstd;
}

static void batch_statistics(const mt_moments *m, int64_t pixels, const mt_tensor *weight, const mt_tensor *bias,
                             mt_tensor *running_mean, mt_tensor *running_var, const mt_batch_norm_params *p,
                             float *statistics) {
  const int64_t channels = weight->count;
  for (int64_t c = 0; c < channels; c++) {
    double mean, squares;
    combine(m, channels, pixels, c, &mean, &squares);
    const double invstd = 1.0 / sqrt(squares / (double)pixels + (double)p->eps);
    set_channel(statistics, channels, c, mt_f32(weight)[c], mt_f32(bias)[c], mean, invstd);
    move_towards(&mt_f32(running_mean)[c], mean, p->momentum);
    move_towards(&mt_f32(running_var)[c], squares / (double)(pixels - 1), p->momentum);
  }
  mt_touch(running_mean);
  mt_touch(running_var);
}

static void running_statistics(const mt_tensor *weight, const mt_tensor *bias, const mt_tensor *running_mean,
                               const mt_tensor *running_var, float eps, float *statistics) {
  const int64_t channels = weight->count;
  for (int64_t c = 0; c < channels; c++)
    set_channel(statistics, channels, c, mt_f32(weight)[c], mt_f32(bias)[c], mt_f32(running_mean)[c],
                1.0 / sqrt((double)mt_f32(running_var)[c] + (double)eps));
}

void mt_batch_norm_fold(const mt_tensor *weight, const mt_tensor *bias, const mt_tensor *running_mean,
                        const mt_tensor *running_var, float eps, float *scale, float *shift) {
  for (int64_t c = 0; c < weight->count; c++) {
    const double factor = (double)mt_f32(weight)[c] / sqrt((double)mt_f32(running_var)[c] + (double)eps);
    scale[c] = (float)factor;
    shift[c] = (float)((double)mt_f32(bias)[c] - (double)mt_f32(running_mean)[c] * factor);
  }
}

/* ---- forward ---- */

static int gather_moments(const block_plan *plan, const float *z, mt_moments *m) {
  const int64_t channels = plan->channels;
  *m = (mt_moments){.blocks = plan->blocks, .pixels = block_pixels, .context = plan};
  m->values = mt_alloc((size_t)(plan->blocks * 3 * channels) * sizeof(float));
  if (!m->values) return -1;
  EACH_BLOCK(plan, mt_kernels->channel_moments(z + at, count, channels, m->values + b * 3 * channels);)
  return 0;
}

static mt_norm_channels channels_of(const mt_tensor *statistics, bool relu) {
  const int64_t channels = statistics->shape[1];
  const float *s = mt_f32(statistics);
  return (mt_norm_channels){
      .scale = s + SCALE * channels, .shift = s + SHIFT * channels, .mean = s + MEAN * channels, .relu = relu};
}

static mt_tensor *normalise(const block_plan *plan, const mt_tensor *input, const mt_tensor *statistics,
                            const mt_batch_norm_params *p) {
  mt_tensor *output = mt_tensor_like(input);
  if (!output) return NULL;
  const mt_norm_channels c = channels_of(statistics, p->relu);
  const float *z = mt_f32(input), *residual = p->residual ? mt_f32(p->residual) : NULL;
  float *y = mt_f32(output);
  EACH_BLOCK(plan,
             mt_kernels->norm_forward(&c, z + at, residual ? residual + at : NULL, count, plan->channels, y + at);)
  return output;
}

/* ---- backward ---- */

typedef struct {
  bool training, relu;
} norm_context;

enum { INPUT, WEIGHT, BIAS, RESIDUAL, INPUTS };
enum { SAVED_INPUT, SAVED_STATISTICS, SAVED_OUTPUT, SAVED };

/* Per channel, the sums of g and of g * (z - mean), as doubles in sums[0..C) and sums[C..2C). */
static int backward_sums(const block_plan *plan, const mt_norm_channels *c, const float *z, const float *y,
                         const float *g, double *sums) {
  const int64_t channels = plan->channels;
  float *parts = mt_alloc((size_t)(plan->blocks * 2 * channels) * sizeof(float));
  if (!parts) return -1;
  EACH_BLOCK(plan, float *part = parts + b * 2 * channels; mt_kernels->norm_backward_sums(
      c, z + at, y ? y + at : NULL, g + at, count, channels, part, part + channels);)
  for (int64_t i = 0; i < 2 * channels; i++) sums[i] = 0;
  for (int64_t b = 0; b < plan->blocks; b++)
    for (int64_t i = 0; i < 2 * channels; i++) sums[i] += (double)parts[b * 2 * channels + i];
  mt_free(parts);
  return 0;
}

/* grad_z = g * scale + (z - mean) * slope + offset */
static void fill_coefficients(const mt_norm_channels *c, const float *invstd, const double *sums, int64_t pixels,
                              int64_t channels, bool training, float *slope, float *offset) {
  for (int64_t i = 0; i < channels; i++) {
    const double factor = training ? (double)c->scale[i] / (double)pixels : 0;
    slope[i] = training ? (float)(-factor * (double)invstd[i] * (double)invstd[i] * sums[channels + i]) : 0.0f;
    offset[i] = training ? (float)(-factor * sums[i]) : 0.0f;
  }
}

static int write_grads(const mt_node *node, const block_plan *plan, const mt_norm_channels *c, const float *z,
                       const float *y, mt_tensor *grad_output, mt_tensor **grads) {
  if (node->needs[RESIDUAL]) {
    grads[RESIDUAL] = c->relu ? mt_tensor_like(grad_output) : mt_retain(grad_output);
    if (!grads[RESIDUAL]) return -1;
  }
  if (node->needs[INPUT] && !(grads[INPUT] = mt_tensor_like(grad_output))) return -1;
  float *grad_z = grads[INPUT] ? mt_f32(grads[INPUT]) : NULL;
  float *grad_residual = grads[RESIDUAL] && c->relu ? mt_f32(grads[RESIDUAL]) : NULL;
  if (!grad_z && !grad_residual) return 0;
  const float *g = mt_f32(grad_output);
  EACH_BLOCK(plan, mt_kernels->norm_backward(c, z + at, y ? y + at : NULL, g + at, count, plan->channels,
                                             grad_z ? grad_z + at : NULL, grad_residual ? grad_residual + at : NULL);)
  return 0;
}

static int fill_channel_grads(const mt_node *node, const double *sums, const float *invstd, int64_t channels,
                              mt_tensor **grads) {
  for (int which = WEIGHT; which <= BIAS; which++)
    if (node->needs[which] && !(grads[which] = mt_tensor_new(MT_FLOAT32, 1, &channels))) return -1;
  for (int64_t i = 0; grads[WEIGHT] && i < channels; i++)
    mt_f32(grads[WEIGHT])[i] = (float)(sums[channels + i] * (double)invstd[i]);
  for (int64_t i = 0; grads[BIAS] && i < channels; i++) mt_f32(grads[BIAS])[i] = (float)sums[i];
  return 0;
}

static int batch_norm_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const norm_context *context = node->context;
  const block_plan plan = plan_blocks(grad_output);
  const mt_tensor *statistics = node->saved[SAVED_STATISTICS], *output = node->saved[SAVED_OUTPUT];
  const float *z = mt_f32(node->saved[SAVED_INPUT]), *y = output ? mt_f32(output) : NULL;
  const float *invstd = mt_f32(statistics) + INVSTD * plan.channels;
  mt_norm_channels c = channels_of(statistics, context->relu);
  double *sums = mt_alloc((size_t)plan.channels * (2 * sizeof(double) + 2 * sizeof(float)));
  if (!sums) return -1;
  float *slope = (float *)(sums + 2 * plan.channels), *offset = slope + plan.channels;
  const bool wants_sums = node->needs[WEIGHT] || node->needs[BIAS] || (context->training && node->needs[INPUT]);
  int status = wants_sums ? backward_sums(&plan, &c, z, y, mt_f32(grad_output), sums) : 0;
  if (status == 0) {
    fill_coefficients(&c, invstd, sums, plan.pixels, plan.channels, context->training && wants_sums, slope, offset);
    c.slope = slope;
    c.offset = offset;
    status = write_grads(node, &plan, &c, z, y, grad_output, grads);
  }
  if (status == 0) status = fill_channel_grads(node, sums, invstd, plan.channels, grads);
  mt_free(sums);
  return status;
}

static const mt_op batch_norm_op = {"batch_norm", batch_norm_backward, NULL};

mt_tensor *mt_batch_norm_with(mt_tensor *input, mt_tensor *weight, mt_tensor *bias, mt_tensor *running_mean,
                              mt_tensor *running_var, mt_batch_norm_params p, const mt_moments *moments) {
  const block_plan plan = plan_blocks(input);
  mt_tensor *statistics = mt_tensor_new(MT_FLOAT32, 2, (const int64_t[2]){STATISTICS, plan.channels});
  mt_moments own = {0};
  if (!statistics || (p.training && !moments && gather_moments(&plan, mt_f32(input), &own) < 0)) {
    mt_release(statistics);
    return NULL;
  }
  if (p.training)
    batch_statistics(moments ? moments : &own, plan.pixels, weight, bias, running_mean, running_var, &p,
                     mt_f32(statistics));
  else
    running_statistics(weight, bias, running_mean, running_var, p.eps, mt_f32(statistics));
  mt_free(own.values);
  mt_tensor *output = normalise(&plan, input, statistics, &p);
  const norm_context context = {p.training, p.relu};
  mt_tensor *saved[SAVED] = {input, statistics, p.relu && p.residual ? output : NULL};
  output = mt_recorded(output, &batch_norm_op, INPUTS, (mt_tensor *[INPUTS]){input, weight, bias, p.residual}, SAVED,
                       saved, &context, sizeof context);
  mt_release(statistics);
  return output;
}

mt_tensor *mt_batch_norm(mt_tensor *input, mt_tensor *weight, mt_tensor *bias, mt_tensor *running_mean,
                         mt_tensor *running_var, mt_batch_norm_params p) {
  if (mt_expect_dtype(input, MT_FLOAT32, "batch_norm", "input") < 0 ||
      mt_batch_norm_check(input->ndim, input->shape, weight, bias, running_mean, running_var, &p) < 0)
    return NULL;
  return mt_batch_norm_with(input, weight, bias, running_mean, running_var, p, NULL);
}
