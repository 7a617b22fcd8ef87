/* Batch norm; the mathematics is in conv/statistics.h. Forward keeps z and the statistics; the ReLU's mask is made
 * again from z, or read from the output where a residual was added. Sums run over pieces (some pixels) that do not
 * depend on the number of threads, in float within a piece and in double over pieces, so that every thread count gives
 * the same bits. */
#include "ops/batchnorm.h"

#include <string.h>

#include "autograd/tape.h"
#include "conv/statistics.h"
#include "core/batch.h"
#include "core/memory.h"
#include "core/threads.h"
#include "kernels/kernels.h"

#define PIECE_FLOATS ((int64_t)8 << 10)
#define PARALLEL_FROM ((int64_t)1 << 14) /* values */

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

/* ---- pieces ---- */

typedef struct {
  int64_t pixels, channels, per_piece, pieces;
} piece_plan;

static piece_plan plan_pieces(const mt_tensor *input) {
  piece_plan plan = {.channels = input->shape[input->ndim - 1]};
  plan.pixels = plan.channels > 0 ? input->count / plan.channels : 0;
  plan.per_piece = plan.channels < PIECE_FLOATS / 16 ? PIECE_FLOATS / (plan.channels + 1) : 16;
  plan.pieces = (plan.pixels + plan.per_piece - 1) / plan.per_piece;
  return plan;
}

/* One walk over the pieces; which fields are set depends on the body. */
typedef struct {
  const piece_plan *plan;
  const float *z, *y, *grad_y, *residual, *statistics, *factors;
  bool relu;
  float *out;
  float *sums; /* of each piece, 2 x channels */
} pass;

/* body(p, piece, at, pixels) is called for every piece, which has `pixels` pixels from value `at` on. */
typedef void pass_body(const pass *p, int64_t piece, int64_t at, int64_t pixels);

typedef struct {
  const pass *pass;
  pass_body *body;
} pass_run;

static void run_pieces(const void *context, int64_t begin, int64_t end) {
  const pass_run *run = context;
  const piece_plan *plan = run->pass->plan;
  for (int64_t i = begin; i < end; i++) {
    const int64_t first = i * plan->per_piece, left = plan->pixels - first;
    run->body(run->pass, i, first * plan->channels, left < plan->per_piece ? left : plan->per_piece);
  }
}

static void run_pass(const pass *p, pass_body *body) {
  const piece_plan *plan = p->plan;
  mt_parallel(plan->pieces, mt_chunk(plan->pieces, plan->per_piece * plan->channels, PARALLEL_FROM), run_pieces,
              &(pass_run){p, body});
}

static const float *row(const pass *p, int which) { return p->statistics + which * p->plan->channels; }

/* ---- forward ---- */

static void moments_body(const pass *p, int64_t piece, int64_t at, int64_t pixels) {
  const int64_t channels = p->plan->channels;
  float *mean = p->sums + piece * 2 * channels;
  mt_kernels->norm_moments(p->z + at, pixels, channels, mean, mean + channels);
}

static int batch_statistics(const piece_plan *plan, const mt_tensor *input, const mt_norm *norm, float *statistics) {
  float *values = mt_alloc((size_t)(plan->pieces * 2 * plan->channels) * sizeof(float));
  if (!values) return -1;
  run_pass(&(pass){.plan = plan, .z = mt_f32(input), .sums = values}, moments_body);
  const mt_moments moments = {values, plan->per_piece, plan->pixels};
  const int status = mt_batch_statistics(norm, &moments, statistics);
  mt_free(values);
  return status;
}

static void normalise_body(const pass *p, int64_t piece, int64_t at, int64_t pixels) {
  (void)piece;
  const mt_norm_image image = {.z = p->z + at,
                               .scale = row(p, MT_STAT_SCALE),
                               .shift = row(p, MT_STAT_SHIFT),
                               .residual = p->residual ? p->residual + at : NULL,
                               .relu = p->relu,
                               .rows = 1,
                               .width = pixels,
                               .channels = p->plan->channels};
  mt_kernels->norm_forward(&image, p->out + at, pixels * p->plan->channels);
}

/* ---- backward ---- */

typedef struct {
  bool training, relu;
} norm_context;

enum { INPUT, WEIGHT, BIAS, RESIDUAL, INPUTS };
enum { SAVED_INPUT, SAVED_STATISTICS, SAVED_OUTPUT, SAVED };

static mt_norm_grad_image grad_image(const pass *p, int64_t at, int64_t pixels) {
  return (mt_norm_grad_image){.grad = p->grad_y + at,
                              .z = p->z + at,
                              .mask = p->y ? p->y + at : NULL,
                              .scale = row(p, MT_STAT_SCALE),
                              .shift = row(p, MT_STAT_SHIFT),
                              .mean = row(p, MT_STAT_MEAN),
                              .relu = p->relu,
                              .rows = 1,
                              .width = pixels,
                              .channels = p->plan->channels};
}

static void sums_body(const pass *p, int64_t piece, int64_t at, int64_t pixels) {
  const mt_norm_grad_image image = grad_image(p, at, pixels);
  float *sums = p->sums + piece * 2 * p->plan->channels;
  mt_kernels->norm_grad_sums(&image, sums, sums + p->plan->channels);
}

/* As mt_norm_factors wants them. */
static int backward_sums(pass walk, double *sums) {
  const int64_t pieces = walk.plan->pieces, count = 2 * walk.plan->channels;
  walk.sums = mt_alloc((size_t)(pieces * count) * sizeof(float));
  if (!walk.sums) return -1;
  run_pass(&walk, sums_body);
  for (int64_t i = 0; i < pieces * count; i++) sums[i % count] += (double)walk.sums[i];
  mt_free(walk.sums);
  return 0;
}

static void grads_body(const pass *p, int64_t piece, int64_t at, int64_t pixels) {
  (void)piece;
  const mt_norm_grad_image image = grad_image(p, at, pixels);
  const int64_t channels = p->plan->channels;
  mt_kernels->norm_grad(&image, p->factors, p->factors + channels, p->out + at, pixels * channels);
}

static void residual_body(const pass *p, int64_t piece, int64_t at, int64_t pixels) {
  (void)piece;
  mt_kernels->relu_grad(p->grad_y + at, p->y + at, 0, pixels * p->plan->channels, false, p->out + at);
}

static int write_grads(const mt_node *node, pass walk, mt_tensor *grad_output, mt_tensor **grads) {
  if (node->needs[RESIDUAL]) {
    grads[RESIDUAL] = walk.relu ? mt_tensor_like(grad_output) : mt_retain(grad_output);
    if (!grads[RESIDUAL]) return -1;
  }
  if (node->needs[INPUT] && !(grads[INPUT] = mt_tensor_like(grad_output))) return -1;
  if (node->needs[RESIDUAL] && walk.relu) {
    walk.out = mt_f32(grads[RESIDUAL]);
    run_pass(&walk, residual_body);
  }
  if (node->needs[INPUT]) {
    walk.out = mt_f32(grads[INPUT]);
    run_pass(&walk, grads_body);
  }
  return 0;
}

static int fill_channel_grads(const mt_node *node, const float *statistics, const double *sums, int64_t channels,
                              mt_tensor **grads) {
  for (int which = WEIGHT; which <= BIAS; which++)
    if (node->needs[which] && !(grads[which] = mt_tensor_new(MT_FLOAT32, 1, &channels))) return -1;
  mt_norm_grads(statistics, channels, sums, grads[WEIGHT], grads[BIAS]);
  return 0;
}

static int batch_norm_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  const norm_context *context = node->context;
  const piece_plan plan = plan_pieces(grad_output);
  const mt_tensor *output = node->saved[SAVED_OUTPUT];
  const float *statistics = mt_f32(node->saved[SAVED_STATISTICS]);
  const size_t sums_bytes = (size_t)(2 * plan.channels) * sizeof(double);
  double *sums = mt_alloc(sums_bytes + (size_t)(2 * plan.channels) * sizeof(float));
  if (!sums) return -1;
  float *factors = (float *)(sums + 2 * plan.channels);
  const pass walk = {.plan = &plan,
                     .z = mt_f32(node->saved[SAVED_INPUT]),
                     .y = output ? mt_f32(output) : NULL,
                     .grad_y = mt_f32(grad_output),
                     .statistics = statistics,
                     .factors = factors,
                     .relu = context->relu};
  int status = 0;
  memset(sums, 0, sums_bytes);
  memset(factors, 0, (size_t)(2 * plan.channels) * sizeof(float));
  if (node->needs[WEIGHT] || node->needs[BIAS] || (context->training && node->needs[INPUT]))
    status = backward_sums(walk, sums);
  if (status == 0) status = fill_channel_grads(node, statistics, sums, plan.channels, grads);
  if (status == 0 && context->training && plan.pixels > 0)
    status = mt_norm_factors(statistics, plan.channels, sums, plan.pixels, factors);
  if (status == 0) status = write_grads(node, walk, grad_output, grads);
  mt_free(sums);
  return status;
}

static const mt_op batch_norm_op = {.name = "batch_norm", .backward = batch_norm_backward};

/* ---- the operation ---- */

static int statistics_of(const piece_plan *plan, const mt_tensor *input, const mt_norm *norm, bool training,
                         float *statistics) {
  if (training) return batch_statistics(plan, input, norm, statistics);
  mt_running_statistics(norm, statistics);
  return 0;
}

mt_tensor *mt_batch_norm(mt_tensor *input, mt_tensor *weight, mt_tensor *bias, mt_tensor *running_mean,
                         mt_tensor *running_var, mt_batch_norm_params p) {
  if (mt_expect_dtype(input, MT_FLOAT32, "batch_norm", "input") < 0 ||
      mt_batch_norm_check(input->ndim, input->shape, weight, bias, running_mean, running_var, &p) < 0)
    return NULL;
  const mt_norm norm = {weight, bias, running_mean, running_var, p.momentum, p.eps};
  const piece_plan plan = plan_pieces(input);
  mt_tensor *statistics = mt_tensor_new(MT_FLOAT32, 2, (const int64_t[2]){MT_STAT_ROWS, plan.channels});
  mt_tensor *output = statistics ? mt_tensor_like(input) : NULL;
  /* All memory first: nothing may fail once the running statistics have moved. */
  if (!output || statistics_of(&plan, input, &norm, p.training, mt_f32(statistics)) < 0) {
    mt_release(statistics);
    mt_release(output);
    return NULL;
  }
  const pass walk = {.plan = &plan,
                     .z = mt_f32(input),
                     .residual = p.residual ? mt_f32(p.residual) : NULL,
                     .statistics = mt_f32(statistics),
                     .relu = p.relu,
                     .out = mt_f32(output)};
  run_pass(&walk, normalise_body);
  const norm_context context = {p.training, p.relu};
  mt_tensor *saved[SAVED] = {input, statistics, p.relu && p.residual ? output : NULL};
  output = mt_recorded(output, &batch_norm_op, INPUTS, (mt_tensor *[INPUTS]){input, weight, bias, p.residual}, SAVED,
                       saved, &context, sizeof context);
  mt_release(statistics);
  return output;
}
