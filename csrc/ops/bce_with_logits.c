/* With s(x) = log(1 + exp(-x)), v = weight and q = pos_weight:
 *
 *   loss = v ((1 - t) x + (1 + (q - 1) t) s(x)),
 *   d loss / d x = v ((1 - t) - (1 + (q - 1) t) sigmoid(-x)),    d loss / d t = v ((q - 1) s(x) - x) */
#include "ops/bce_with_logits.h"

#include <math.h>

#include "autograd/tape.h"
#include "ops/walk.h"

enum { INPUT_LOGITS, INPUT_TARGETS, INPUT_COUNT };
enum { SAVED_LOGITS, SAVED_TARGETS, SAVED_WEIGHT, SAVED_POS_WEIGHT, SAVED_COUNT };
enum { DENSE, WEIGHT, POS_WEIGHT }; /* operands of the walk; DENSE: everything of the logits' shape */

/* s(x), without overflow. */
static inline float softplus_of_minus(float x) { return log1pf(expf(-fabsf(x))) + (x < 0.0f ? -x : 0.0f); }

static inline float sigmoid_of_minus(float x) {
  const float e = expf(-fabsf(x));
  return x < 0.0f ? 1.0f / (1.0f + e) : e / (1.0f + e);
}

typedef struct {
  const float *x, *t, *weight, *pos_weight;
  float *losses;
  const float *dy;
  float *dx, *dt; /* NULL where not wanted */
} bce_rows;

static void forward_row(const void *context, int64_t n, const int64_t *offset, const int64_t *stride) {
  const bce_rows *r = context;
  for (int64_t i = 0; i < n; i++) {
    const float x = r->x[offset[DENSE] + i], t = r->t[offset[DENSE] + i];
    const float v = r->weight[offset[WEIGHT] + i * stride[WEIGHT]];
    const float q = r->pos_weight[offset[POS_WEIGHT] + i * stride[POS_WEIGHT]];
    r->losses[offset[DENSE] + i] = v * ((1.0f - t) * x + (1.0f + (q - 1.0f) * t) * softplus_of_minus(x));
  }
}

static void backward_row(const void *context, int64_t n, const int64_t *offset, const int64_t *stride) {
  const bce_rows *r = context;
  for (int64_t i = 0; i < n; i++) {
    const int64_t at = offset[DENSE] + i;
    const float x = r->x[at], t = r->t[at], q = r->pos_weight[offset[POS_WEIGHT] + i * stride[POS_WEIGHT]];
    const float scale = r->weight[offset[WEIGHT] + i * stride[WEIGHT]] * r->dy[at];
    if (r->dx) r->dx[at] = scale * ((1.0f - t) - (1.0f + (q - 1.0f) * t) * sigmoid_of_minus(x));
    if (r->dt) r->dt[at] = scale * ((q - 1.0f) * softplus_of_minus(x) - x);
  }
}

static const float one = 1.0f;

/* Adds a weight to the walk, 1 everywhere for NULL; returns its values. */
static const float *walk_weight(mt_walk *walk, const mt_tensor *weight) {
  static const int64_t repeats[MT_MAX_DIMS] = {0};
  if (!weight) {
    mt_walk_add_strides(walk, repeats);
    return &one;
  }
  mt_walk_add(walk, weight);
  return mt_f32(weight);
}

static void run(bce_rows rows, const mt_tensor *logits, const mt_tensor *weight, const mt_tensor *pos_weight,
                mt_row row) {
  mt_walk walk = mt_walk_over(logits->ndim, logits->shape);
  mt_walk_add(&walk, logits);
  rows.weight = walk_weight(&walk, weight);
  rows.pos_weight = walk_weight(&walk, pos_weight);
  mt_walk_run(&walk, row, &rows);
}

static int bce_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  mt_tensor *const *saved = node->saved;
  for (int i = 0; i < INPUT_COUNT; i++)
    if (node->needs[i] && !(grads[i] = mt_tensor_like(grad_output))) return -1;
  const bce_rows rows = {.x = mt_f32(saved[SAVED_LOGITS]),
                         .t = mt_f32(saved[SAVED_TARGETS]),
                         .dy = mt_f32(grad_output),
                         .dx = grads[INPUT_LOGITS] ? mt_f32(grads[INPUT_LOGITS]) : NULL,
                         .dt = grads[INPUT_TARGETS] ? mt_f32(grads[INPUT_TARGETS]) : NULL};
  run(rows, saved[SAVED_LOGITS], saved[SAVED_WEIGHT], saved[SAVED_POS_WEIGHT], backward_row);
  return 0;
}

static const mt_op bce_op = {.name = "bce_with_logits", .backward = bce_backward};

/* A constant that broadcasts to the logits. */
static int check_weight(const mt_tensor *logits, const mt_tensor *weight, const char *name) {
  char text[MT_SHAPE_TEXT], expected[MT_SHAPE_TEXT];
  if (!weight) return 0;
  if (mt_expect_dtype(weight, MT_FLOAT32, "bce_with_logits", name) < 0) return -1;
  if (weight->requires_grad)
    return mt_fail(MT_ERROR_ARGUMENT, "bce_with_logits: %s requires gradients, expected a constant", name);
  bool fits = weight->ndim <= logits->ndim;
  for (int i = 1; fits && i <= weight->ndim; i++) {
    const int64_t size = weight->shape[weight->ndim - i];
    fits = size == 1 || size == logits->shape[logits->ndim - i];
  }
  if (fits) return 0;
  return mt_fail(MT_ERROR_ARGUMENT, "bce_with_logits: %s has shape %s, expected one that broadcasts to %s", name,
                 mt_shape_text(weight->ndim, weight->shape, text),
                 mt_shape_text(logits->ndim, logits->shape, expected));
}

mt_tensor *mt_bce_with_logits(mt_tensor *logits, mt_tensor *targets, mt_tensor *weight, mt_tensor *pos_weight,
                              mt_reduction reduction) {
  if (mt_expect_dtype(logits, MT_FLOAT32, "bce_with_logits", "logits") < 0 ||
      mt_expect_dtype(targets, MT_FLOAT32, "bce_with_logits", "targets") < 0 ||
      mt_expect_shape(targets, logits->ndim, logits->shape, "bce_with_logits", "targets") < 0 ||
      check_weight(logits, weight, "weight") < 0 || check_weight(logits, pos_weight, "pos_weight") < 0)
    return NULL;
  mt_tensor *losses = mt_tensor_like(logits);
  if (!losses) return NULL;
  run((bce_rows){.x = mt_f32(logits), .t = mt_f32(targets), .losses = mt_f32(losses)}, logits, weight, pos_weight,
      forward_row);
  mt_tensor *inputs[INPUT_COUNT] = {logits, targets};
  mt_tensor *saved[SAVED_COUNT] = {logits, targets, weight, pos_weight};
  return mt_reduce_losses(mt_recorded(losses, &bce_op, INPUT_COUNT, inputs, SAVED_COUNT, saved, NULL, 0), reduction);
}
