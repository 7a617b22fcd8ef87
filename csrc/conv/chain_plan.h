/* The sizes of a chain, worked out once: shared by chain.c (forward), chain_evaluate.c and
 * chain_backward.c. */
#ifndef MT_CONV_CHAIN_PLAN_H
#define MT_CONV_CHAIN_PLAN_H

#include "autograd/tape.h"
#include "conv/chain.h"
#include "conv/packing.h"
#include "kernels/pool.h"

typedef struct {
  int64_t in_h, in_w, in_c; /* the stage's input, after the previous stage's pooling */
  int64_t padding[2];
  int64_t out_h, out_w, out_c; /* the convolution's output */
  int64_t pool, pooled_h, pooled_w;
  bool relu;
  float limit;
  int block_stages; /* as in mt_conv_stage */
  mt_conv conv;
} mt_stage_plan;

typedef struct {
  int count;
  int64_t images;
  bool has_residual;
  bool adds_input; /* the residual is the chain's own input: their gradients are one */
  bool recomputes; /* the last convolution's output is not kept: backward makes it again */
  int first;       /* the way back ends here: the first stage from whose parameters on gradients are wanted, 0 where the
                      chain's input wants one; count: no stage */
  mt_stage_plan stages[MT_CHAIN_MAX_STAGES];
} mt_chain_plan;

/* The order of the node's inputs and of its saved tensors. */
enum { MT_CHAIN_INPUT, MT_CHAIN_RESIDUAL, MT_CHAIN_STAGES };
enum { MT_STAGE_WEIGHT, MT_STAGE_BIAS, MT_STAGE_GAMMA, MT_STAGE_BETA, MT_STAGE_INPUTS };
enum { MT_SAVED_INPUT, MT_SAVED_OUTPUT, MT_SAVED_STAGES };
enum { MT_SAVED_Z, MT_SAVED_STATISTICS, MT_SAVED_WEIGHT, MT_SAVED_MAXIMA, MT_STAGE_SAVED };

static inline int64_t mt_stage_in_count(const mt_stage_plan *s) { return s->in_h * s->in_w * s->in_c; }
static inline int64_t mt_stage_out_count(const mt_stage_plan *s) { return s->out_h * s->out_w * s->out_c; }
static inline int64_t mt_stage_pooled_count(const mt_stage_plan *s) { return s->pooled_h * s->pooled_w * s->out_c; }

/* Whether stage s works on a padded copy of its input, or on the chain's input as it stands. */
static inline bool mt_stage_copies(const mt_chain_plan *plan, int s) {
  const mt_stage_plan *p = &plan->stages[s];
  return s > 0 || p->conv.in_h != p->in_h || p->conv.in_w != p->in_w;
}
/* Floats of one such copy. */
static inline int64_t mt_stage_copy_count(const mt_chain_plan *plan, int s) {
  return mt_stage_copies(plan, s) ? mt_conv_in_count(&plan->stages[s].conv) : 0;
}
/* From one image of the stage's (padded) input to the next. */
static inline int64_t mt_stage_in_step(const mt_chain_plan *plan, int s) {
  const mt_stage_plan *p = &plan->stages[s];
  return mt_stage_copies(plan, s) ? mt_conv_in_count(&p->conv) : mt_stage_in_count(p);
}

/* Where the stage's input itself begins in its padded image. */
static inline int64_t mt_stage_inside(const mt_stage_plan *s) {
  return (s->padding[0] * s->conv.in_w + s->padding[1]) * s->in_c;
}

/* Whether the way back needs stage s's convolution output and statistics: for stage s itself or to make the input of
 * the one behind it. */
static inline bool mt_stage_is_kept(const mt_chain_plan *plan, int s) {
  return plan->first < plan->count && s >= plan->first - 1;
}

/* Threads that share the batch. */
int mt_chain_threads(const mt_chain_plan *plan);

/* How many images a thread takes at a time: as many as suit the convolution, but no more than its share. */
int64_t mt_chain_lot(const mt_chain_plan *plan, int64_t suitable);

/* The stage's normalisation and ReLU of one image (residual: NULL where there is none), and its pooling; index: of the
 * maxima, where they are wanted (kernels/pool.h). */
void mt_stage_activate(const mt_stage_plan *p, const float *z, const float *statistics, const float *residual,
                       float *out, int64_t out_row);
void mt_stage_pool(const mt_stage_plan *p, const float *activation, float *out, int64_t out_row, void *index);
mt_pool_shape mt_stage_pool_shape(const mt_stage_plan *p);

/* The plan for stage s alone, and for the normalisation before it: where the convolution sees pixels one by one, every
 * image is cut into several of fewer rows, so that what lies between two kernels stays in a core's own cache. */
mt_chain_plan mt_chain_cut(const mt_chain_plan *plan, int s);

/* Image n's part of the maxima that a stage's pooling noted, (N,pooled_h,pooled_w,C) of bytes or int32; NULL passes. */
static inline void *mt_stage_maxima(const mt_tensor *maxima, int64_t n) {
  return maxima ? (char *)maxima->data + (size_t)(n * (maxima->count / maxima->shape[0])) * mt_dtype_size(maxima->dtype)
                : NULL;
}

/* Stage s's input for one image: padded where the stage pads (the border must be zero already). `before` is the image
 * of the previous stage's convolution output (or, for the first stage, of the chain's input); statistics are the
 * previous stage's. Where that one pools, `activation` receives its activation and `index` (if not NULL) its maxima.
 * Returns where the (padded) input lies: in `padded`, or `before` itself where nothing has to be done. */
const float *mt_stage_input(const mt_chain_plan *plan, int s, const float *before, const float *statistics,
                            float *padded, float *activation, void *index);

mt_tensor *mt_chain_new_output(const mt_chain_plan *plan);

mt_tensor *mt_chain_evaluate(const mt_chain_plan *plan, const mt_tensor *input, const mt_conv_stage *stages,
                             const mt_tensor *residual);
int mt_chain_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads);

#endif
