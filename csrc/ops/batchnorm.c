/* Batch norm. With P = the values of a channel, x^ = (z - mean) * invstd and g = the output's gradient where the ReLU
 * let it through:
 *
 *   forward   y = relu(z * scale + shift + residual),  scale = weight * invstd,  shift = bias - mean * scale
 *   backward  grad_bias = sum g,  grad_weight = sum g x^,  grad_residual = g,
 *             grad_z = scale * (g - sum g / P - x^ * sum(g x^) / P)       (evaluation: scale * g)
 *
 * Forward keeps z and four floats per channel; the ReLU's mask is recomputed from z, or read from the output where a
 * residual was added. Sums run over blocks that do not depend on the number of threads, in float within a block and
 * in double over blocks, so that every thread count gives the same bits. */
#include "ops/batchnorm.h"

#include <math.h>

#include "autograd/tape.h"
#include "core/batch.h"
#include "core/memory.h"
#include "core/threads.h"
#include "kernels/kernels.h"
#include "ops/batchnorm_internal.h"

#define BLOCK_FLOATS ((int64_t)8 << 10)
#define PARALLEL_FROM ((int64_t)1 << 14) /* values */

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
  if (p->training && values < 2 && !mt_batch_sum())
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
} block_plan;

static block_plan plan_blocks(const mt_tensor *input) {
  block_plan plan = {.channels = input->shape[input->ndim - 1]};
  plan.pixels = plan.channels > 0 ? input->count / plan.channels : 0;
  plan.per_block = plan.channels < BLOCK_FLOATS / 16 ? BLOCK_FLOATS / (plan.channels + 1) : 16;
  plan.blocks = (plan.pixels + plan.per_block - 1) / plan.per_block;
  return plan;
}

static int64_t block_pixels(const void *context, int64_t block) {
  const block_plan *plan = context;
  const int64_t left = plan->pixels - block * plan->per_block;
  return left < plan->per_block ? left : plan->per_block;
}

/* One walk over the blocks; which fields are set depends on the body. */
typedef struct {
  const block_plan *plan;
  mt_norm_channels channels;
  const float *z, *y, *grad_y, *residual;
  float *out, *grad_residual;
  float *sums; /* of each block */
} pass;

/* body(p, b, at, pixels) is called for every block b, which has `pixels` pixels from value `at` on. */
typedef void pass_body(const pass *p, int64_t block, int64_t at, int64_t pixels);

typedef struct {
  const pass *pass;
  pass_body *body;
} pass_run;

static void run_blocks(const void *context, int64_t begin, int64_t end) {
  const pass_run *run = context;
  const block_plan *plan = run->pass->plan;
  for (int64_t b = begin; b < end; b++)
    run->body(run->pass, b, b * plan->per_block * plan->channels, block_pixels(plan, b));
}

static void run_pass(const pass *p, pass_body *body) {
  const block_plan *plan = p->plan;
  mt_parallel(plan->blocks, mt_chunk(plan->blocks, plan->per_block * plan->channels, PARALLEL_FROM), run_blocks,
              &(pass_run){p, body});
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

static int batch_statistics(const mt_moments *m, int64_t pixels, const mt_tensor *weight, const mt_tensor *bias,
                            mt_tensor *running_mean, mt_tensor *running_var, const mt_batch_norm_params *p,
                            float *statistics) {
  const int64_t channels = weight->count;
  double *mean = mt_alloc((size_t)(2 * channels) * sizeof *mean);
  if (!mean) return -1;
  double *squares = mean + channels;
  for (int64_t c = 0; c < channels; c++) combine(m, channels, pixels, c, &mean[c], &squares[c]);
  const int status = mt_batch_moments(&pixels, mean, squares, channels);
  for (int64_t c = 0; status == 0 && c < channels; c++) {
    const double invstd = 1.0 / sqrt(squares[c] / (double)pixels + (double)p->eps);
    set_channel(statistics, channels, c, mt_f32(weight)[c], mt_f32(bias)[c], mean[c], invstd);
    move_towards(&mt_f32(running_mean)[c], mean[c], p->momentum);
    move_towards(&mt_f32(running_var)[c], squares[c] / (double)(pixels - 1), p->momentum);
  }
  mt_free(mean);
  mt_touch(running_mean);
  mt_touch(running_var);
  return status;
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

static void moments_body(const pass *p, int64_t block, int64_t at, int64_t pixels) {
  const int64_t channels = p->plan->channels;
  mt_kernels->channel_moments(p->z + at, pixels, channels, p->sums + block * 3 * channels);
}

static int gather_moments(const block_plan *plan, const float *z, mt_moments *m) {
  *m = (mt_moments){.blocks = plan->blocks, .pixels = block_pixels, .context = plan};
  m->values = mt_alloc((size_t)(plan->blocks * 3 * plan->channels) * sizeof(float));
  if (!m->values) return -1;
  run_pass(&(pass){.plan = plan, .z = z, .sums = m->values}, moments_body);
  return 0;
}

static mt_norm_channels channels_of(const mt_tensor *statistics, bool relu) {
  const int64_t channels = statistics->shape[1];
  const float *s = mt_f32(statistics);
  return (mt_norm_channels){
      .scale = s + SCALE * channels, .shift = s + SHIFT * channels, .mean = s + MEAN * channels, .relu = relu};
}

static void normalise_body(const pass *p, int64_t block, int64_t at, int64_t pixels) {
  (void)block;
  mt_kernels->norm_forward(&p->channels, p->z + at, p->residual ? p->residual + at : NULL, pixels, p->plan->channels,
                           p->out + at);
}

static void normalise(const block_plan *plan, const mt_tensor *input, const mt_tensor *statistics,
                      const mt_batch_norm_params *p, mt_tensor *output) {
  const pass walk = {
      .plan = plan,
      .channels = channels_of(statistics, p->relu),
      .z = mt_f32(input),
      .residual = p->residual ? mt_f32(p->residual) : NULL,
      .out = mt_f32(output),
  };
  run_pass(&walk, normalise_body);
}

/* ---- backward ---- */

typedef struct {
  bool training, relu;
} norm_context;

enum { INPUT, WEIGHT, BIAS, RESIDUAL, INPUTS };
enum { SAVED_INPUT, SAVED_STATISTICS, SAVED_OUTPUT, SAVED };

static void sums_body(const pass *p, int64_t block, int64_t at, int64_t pixels) {
  const int64_t channels = p->plan->channels;
  float *sums = p->sums + block * 2 * channels;
  mt_kernels->norm_backward_sums(&p->channels, p->z + at, p->y ? p->y + at : NULL, p->grad_y + at, pixels, channels,
                                 sums, sums + channels);
}

/* Per channel, the sums of g and of g * (z - mean), as doubles in sums[0..C) and sums[C..2C). */
static int backward_sums(pass walk, double *sums) {
  const int64_t blocks = walk.plan->blocks, count = 2 * walk.plan->channels;
  walk.sums = mt_alloc((size_t)(blocks * count) * sizeof(float));
  if (!walk.sums) return -1;
  run_pass(&walk, sums_body);
  for (int64_t i = 0; i < count; i++) sums[i] = 0;
  for (int64_t b = 0; b < blocks; b++)
    for (int64_t i = 0; i < count; i++) sums[i] += (double)walk.sums[b * count + i];
  mt_free(walk.sums);
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

static void grads_body(const pass *p, int64_t block, int64_t at, int64_t pixels) {
  (void)block;
  mt_kernels->norm_backward(&p->channels, p->z + at, p->y ? p->y + at : NULL, p->grad_y + at, pixels, p->plan->channels,
                            p->out ? p->out + at : NULL, p->grad_residual ? p->grad_residual + at : NULL);
}

static int write_grads(const mt_node *node, pass walk, mt_tensor *grad_output, mt_tensor **grads) {
  const bool relu = walk.channels.relu;
  if (node->needs[RESIDUAL]) {
    grads[RESIDUAL] = relu ? mt_tensor_like(grad_output) : mt_retain(grad_output);
    if (!grads[RESIDUAL]) return -1;
  }
  if (node->needs[INPUT] && !(grads[INPUT] = mt_tensor_like(grad_output))) return -1;
  walk.out = grads[INPUT] ? mt_f32(grads[INPUT]) : NULL;
  walk.grad_residual = grads[RESIDUAL] && relu ? mt_f32(grads[RESIDUAL]) : NULL;
  if (walk.out || walk.grad_residual) run_pass(&walk, grads_body);
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
  const float *invstd = mt_f32(statistics) + INVSTD * plan.channels;
  double *sums = mt_alloc((size_t)plan.channels * (2 * sizeof(double) + 2 * sizeof(float)));
  if (!sums) return -1;
  float *slope = (float *)(sums + 2 * plan.channels), *offset = slope + plan.channels;
  pass walk = {
      .plan = &plan,
      .channels = channels_of(statistics, context->relu),
      .z = mt_f32(node->saved[SAVED_INPUT]),
      .y = output ? mt_f32(output) : NULL,
      .grad_y = mt_f32(grad_output),
  };
  const bool wants_sums = node->needs[WEIGHT] || node->needs[BIAS] || (context->training && node->needs[INPUT]);
  int64_t pixels = plan.pixels;
  int status = wants_sums ? backward_sums(walk, sums) : 0;
  if (status == 0) status = fill_channel_grads(node, sums, invstd, plan.channels, grads);
  if (status == 0 && context->training && wants_sums) status = mt_batch_gradient_sums(&pixels, sums, 2 * plan.channels);
  if (status == 0) {
    fill_coefficients(&walk.channels, invstd, sums, pixels, plan.channels, context->training && wants_sums, slope,
                      offset);
    walk.channels.slope = slope;
    walk.channels.offset = offset;
    status = write_grads(node, walk, grad_output, grads);
  }
  mt_free(sums);
  return status;
}

static const mt_op batch_norm_op = {.name = "batch_norm", .backward = batch_norm_backward};

mt_tensor *mt_batch_norm_with(mt_tensor *input, mt_tensor *weight, mt_tensor *bias, mt_tensor *running_mean,
                              mt_tensor *running_var, mt_batch_norm_params p, const mt_moments *moments) {
  const block_plan plan = plan_blocks(input);
  mt_tensor *statistics = mt_tensor_new(MT_FLOAT32, 2, (const int64_t[2]){STATISTICS, plan.channels});
  mt_tensor *output = statistics ? mt_tensor_like(input) : NULL;
  mt_moments own = {0};
  /* All memory first: nothing may fail once the running statistics have moved. */
  if (!output || (p.training && !moments && gather_moments(&plan, mt_f32(input), &own) < 0)) {
    mt_release(statistics);
    mt_release(output);
    return NULL;
  }
  int status = 0;
  if (p.training)
    status = batch_statistics(moments ? moments : &own, plan.pixels, weight, bias, running_mean, running_var, &p,
                              mt_f32(statistics));
  else
    running_statistics(weight, bias, running_mean, running_var, p.eps, mt_f32(statistics));
  mt_free(own.values);
  if (status < 0) {
    mt_release(statistics);
    mt_release(output);
    return NULL;
  }
  normalise(&plan, input, statistics, &p, output);
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
