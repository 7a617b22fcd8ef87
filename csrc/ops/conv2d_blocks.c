#include "ops/conv2d_blocks.h"

#include <string.h>

#include "core/memory.h"
#include "core/threads.h"
#include "kernels/kernels.h"
#include "ops/block_conv_back.h"

/* With fewer tiles in all, the matrix products are too narrow to be faster. */
#define MIN_TILES 4

static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }

bool mt_conv2d_blocks_plan(const int64_t input[4], const int64_t weight[4], const mt_conv2d_params *p,
                           mt_block_conv *plan) {
  int64_t padded[2], out[2];
  for (int i = 0; i < 2; i++) {
    padded[i] = input[1 + i] + 2 * p->padding[i];
    if (p->padding[i] >= weight[i] || padded[i] < weight[i] || p->surplus[i] != 0) return false;
    out[i] = (padded[i] - weight[i]) / p->stride[i] + 1;
  }
  *plan = mt_block_conv_plan(weight, p->stride, padded, input[3], out, weight[3]);
  return plan->winograd && input[0] * plan->tiles >= MIN_TILES;
}

static int threads_for(int64_t images) { return (int)min64(images, mt_num_threads()); }

/* `rows` x `count` floats into the middle of a padded image whose border is zero. */
static void place(const float *image, int64_t rows, int64_t count, float *padded, int64_t row) {
  mt_kernels->stage_copy(image, rows, count, count, padded, row);
}

/* ---- forward ---- */

typedef struct {
  const mt_block_conv *plan;
  const mt_correlation *c;
  const float *weights;
  float *scratch; /* scratch_count of each worker */
  int64_t scratch_count;
  int64_t group; /* images at a time */
} forward_pass;

static void forward_groups(const void *context, int64_t begin, int64_t end) {
  const forward_pass *f = context;
  const mt_correlation *c = f->c;
  const int64_t in_count = c->in_size[0] * c->in_size[1] * c->in_channels, row = f->plan->in_w * c->in_channels;
  const int64_t padded_count = mt_block_conv_in_count(f->plan),
                inside = -c->origin[0] * row - c->origin[1] * c->in_channels;
  float *padded = f->scratch + mt_worker() * f->scratch_count;
  if (mt_worker_begins()) memset(padded, 0, (size_t)(f->group * padded_count) * sizeof(float));
  for (int64_t first = begin * f->group; first < min64(end * f->group, c->images); first += f->group) {
    const int64_t images = min64(c->images - first, f->group);
    for (int64_t i = 0; i < images; i++)
      place(c->input + (first + i) * in_count, c->in_size[0], c->in_size[1] * c->in_channels,
            padded + i * padded_count + inside, row);
    const mt_block_conv_call call = {.images = images,
                                     .in = padded,
                                     .in_image = padded_count,
                                     .weights = f->weights,
                                     .bias = c->bias,
                                     .residual = c->residual ? c->residual + first * c->out_image : NULL,
                                     .residual_row = c->out_row,
                                     .residual_image = c->out_image,
                                     .relu = c->relu,
                                     .out = c->output + first * c->out_image,
                                     .out_row = c->out_row,
                                     .out_image = c->out_image,
                                     .scratch = padded + mt_block_conv_rounded(f->group * padded_count)};
    mt_block_conv_run(f->plan, &call);
  }
}

int mt_conv2d_blocks_forward(const mt_block_conv *plan, const mt_correlation *c, const float *weight) {
  const int64_t threads = threads_for(c->images);
  forward_pass f = {.plan = plan, .c = c, .group = min64(plan->group, (c->images + threads - 1) / threads)};
  f.scratch_count = mt_block_conv_rounded(f.group * mt_block_conv_in_count(plan)) +
                    mt_block_conv_rounded(mt_block_conv_scratch_floats(plan));
  float *weights = mt_alloc((size_t)mt_block_conv_weight_floats(plan) * sizeof(float));
  f.scratch = weights ? mt_alloc((size_t)(threads * f.scratch_count) * sizeof(float)) : NULL;
  const bool ready = f.scratch && mt_block_conv_prepare(plan, weight, false, weights) == 0;
  f.weights = weights;
  if (ready) mt_parallel((c->images + f.group - 1) / f.group, 1, forward_groups, &f);
  mt_free(weights);
  mt_free(f.scratch);
  return ready ? 0 : -1;
}

/* ---- backward ---- */

typedef struct {
  const mt_block_conv *plan;
  mt_block_conv_back back;
  const mt_conv2d_params *params;
  const float *input, *grad_output; /* input: NULL where no gradient of the weights is wanted */
  float *grad_input;                /* NULL: not wanted */
  int64_t images, group;
  float *weights; /* prepared for the way back */
  float *sums;    /* threads x sum_floats */
  float *scratch; /* threads x scratch_count: padded inputs, padded gradients, the convolutions' own */
  int64_t scratch_count;
  int threads;
} backward_pass;

static void backward_group(const backward_pass *b, int64_t first, int64_t images, float *padded, float *grads,
                           float *conv, float *sums) {
  const mt_block_conv *p = b->plan;
  const int64_t row = p->in_w * p->in_c, grad_row = b->back.grad_w * p->out_c;
  const int64_t padded_count = mt_block_conv_in_count(p), grad_count = mt_block_conv_back_count(&b->back);
  const int64_t in_count = b->back.in_h * b->back.in_w * p->in_c, out_count = p->out_h * p->out_w * p->out_c;
  const int64_t inside = b->params->padding[0] * row + b->params->padding[1] * p->in_c;
  const int64_t border = b->back.border[0] * grad_row + b->back.border[1] * p->out_c;
  for (int64_t i = 0; i < images; i++) {
    place(b->grad_output + (first + i) * out_count, p->out_h, p->out_w * p->out_c, grads + i * grad_count + border,
          grad_row);
    if (b->input)
      place(b->input + (first + i) * in_count, b->back.in_h, b->back.in_w * p->in_c, padded + i * padded_count + inside,
            row);
  }
  if (b->input)
    mt_block_conv_weight_grad(p, images, padded, padded_count, grads + border, grad_row, grad_count, sums, conv);
  if (b->grad_input)
    mt_block_conv_back_run(&b->back, images, grads, b->weights, b->grad_input + first * in_count, conv);
}

static void backward_share(const backward_pass *b, int thread) {
  const int64_t padded_floats = mt_block_conv_rounded(b->group * mt_block_conv_in_count(b->plan));
  const int64_t grad_floats = mt_block_conv_rounded(b->group * mt_block_conv_back_count(&b->back));
  const int64_t sum_floats = mt_block_conv_sum_floats(b->plan);
  float *padded = b->scratch + thread * b->scratch_count, *grads = padded + padded_floats, *conv = grads + grad_floats;
  float *sums = b->sums ? b->sums + thread * sum_floats : NULL;
  memset(padded, 0, (size_t)(padded_floats + grad_floats) * sizeof(float));
  if (sums) memset(sums, 0, (size_t)sum_floats * sizeof(float));
  const int64_t end = b->images * (thread + 1) / b->threads;
  for (int64_t first = b->images * thread / b->threads; first < end; first += b->group)
    backward_group(b, first, min64(end - first, b->group), padded, grads, conv, sums);
}

static void backward_shares(const void *context, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; t++) backward_share(context, (int)t);
}

static int prepare_backward(backward_pass *b, const mt_tensor *weight) {
  b->group = max64(b->plan->group, mt_block_conv_back_group(&b->back));
  const int64_t conv = max64(mt_block_conv_scratch_floats(b->plan), mt_block_conv_back_scratch_floats(&b->back));
  b->scratch_count = mt_block_conv_rounded(b->group * mt_block_conv_in_count(b->plan)) +
                     mt_block_conv_rounded(b->group * mt_block_conv_back_count(&b->back)) + mt_block_conv_rounded(conv);
  b->scratch = mt_alloc((size_t)(b->threads * b->scratch_count) * sizeof(float));
  if (!b->scratch) return -1;
  if (b->input) {
    b->sums = mt_alloc((size_t)(b->threads * mt_block_conv_sum_floats(b->plan)) * sizeof(float));
    if (!b->sums) return -1;
  }
  if (!b->grad_input) return 0;
  b->weights = mt_alloc((size_t)mt_block_conv_back_weight_floats(&b->back) * sizeof(float));
  return b->weights ? mt_block_conv_back_prepare(&b->back, mt_f32(weight), b->weights) : -1;
}

int mt_conv2d_blocks_backward(const mt_block_conv *plan, const mt_conv2d_params *p, const mt_tensor *input,
                              const mt_tensor *weight, const mt_tensor *grad_output, mt_tensor *grad_input,
                              mt_tensor *grad_weight) {
  if (!grad_input && !grad_weight) return 0;
  const int64_t *shape = grad_input ? grad_input->shape : input->shape;
  backward_pass b = {.plan = plan,
                     .back = mt_block_conv_back_plan(plan, shape + 1, p->padding, grad_input != NULL),
                     .params = p,
                     .input = grad_weight ? mt_f32(input) : NULL,
                     .grad_output = mt_f32(grad_output),
                     .grad_input = grad_input ? mt_f32(grad_input) : NULL,
                     .images = shape[0],
                     .threads = threads_for(shape[0])};
  int status = prepare_backward(&b, weight);
  if (status == 0) {
    mt_parallel(b.threads, 1, backward_shares, &b);
    if (grad_weight) status = mt_block_conv_weight_result(plan, b.sums, b.threads, mt_f32(grad_weight));
  }
  mt_free(b.weights);
  mt_free(b.sums);
  mt_free(b.scratch);
  return status;
}
