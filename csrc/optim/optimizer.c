/* What the optimisers share: the list of parameters, their state, and the pass over all of them. */
#include "optim/optimizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/threads.h"

#define PIECE 8192      /* elements: small enough to share out, large enough to amortise the call */
#define PARALLEL_FROM 4 /* pieces */

typedef struct mt_optimizer_piece {
  int param;
  int64_t begin, end;
} piece;

/* ---- construction ---- */

static int check_param(const mt_optimizer_class *cls, mt_tensor *const *params, int i) {
  const mt_tensor *p = params[i];
  if (p->dtype != MT_FLOAT32)
    return mt_fail(MT_ERROR_ARGUMENT, "%s: params[%d] is %s, expected float32", cls->name, i + 1,
                   mt_dtype_name(p->dtype));
  if (p->node)
    return mt_fail(MT_ERROR_ARGUMENT, "%s: params[%d] is the result of an operation, expected a leaf", cls->name,
                   i + 1);
  if (!p->requires_grad)
    return mt_fail(MT_ERROR_ARGUMENT, "%s: params[%d] does not require gradients", cls->name, i + 1);
  for (int j = 0; j < i; j++)
    if (params[j] == p)
      return mt_fail(MT_ERROR_ARGUMENT, "%s: params[%d] and params[%d] are the same tensor", cls->name, j + 1, i + 1);
  return 0;
}

static int64_t pieces_of(const mt_tensor *p) { return (p->count + PIECE - 1) / PIECE; }

static void cut_into_pieces(mt_optimizer *o) {
  piece *next = o->pieces;
  for (int i = 0; i < o->count; i++) {
    const int64_t count = o->params[i]->count;
    for (int64_t begin = 0; begin < count; begin += PIECE)
      *next++ = (piece){.param = i, .begin = begin, .end = begin + PIECE < count ? begin + PIECE : count};
  }
}

static bool allocate(mt_optimizer *o, size_t options_size) {
  const size_t count = (size_t)o->count;
  o->options = malloc(options_size + 1);
  o->params = calloc(count, sizeof *o->params);
  o->steps = calloc(count, sizeof *o->steps);
  o->items = calloc(count, sizeof *o->items);
  o->pieces = calloc((size_t)o->n_pieces + 1, sizeof *o->pieces);
  bool complete = o->options && o->params && o->steps && o->items && o->pieces;
  for (int s = 0; s < MT_OPTIMIZER_STATES; s++) {
    o->states[s] = calloc(count, sizeof *o->states[s]);
    complete = complete && o->states[s];
  }
  return complete;
}

mt_optimizer *mt_optimizer_new(const mt_optimizer_class *cls, mt_tensor *const *params, int count, double lr,
                               const void *options, size_t options_size) {
  if (count < 1) return mt_fail_null(MT_ERROR_ARGUMENT, "%s: params is empty, expected at least one tensor", cls->name);
  for (int i = 0; i < count; i++)
    if (check_param(cls, params, i) < 0) return NULL;
  mt_optimizer *o = calloc(1, sizeof *o);
  if (!o) return mt_fail_null(MT_ERROR_MEMORY, "out of memory: cannot make an optimiser");
  o->cls = cls;
  o->lr = lr;
  o->count = count;
  for (int i = 0; i < count; i++) o->n_pieces += pieces_of(params[i]);
  if (!allocate(o, options_size)) {
    mt_optimizer_free(o);
    return mt_fail_null(MT_ERROR_MEMORY, "out of memory: cannot make an optimiser");
  }
  memcpy(o->options, options, options_size);
  for (int i = 0; i < count; i++) o->params[i] = mt_retain(params[i]);
  cut_into_pieces(o);
  return o;
}

void mt_optimizer_reset(mt_optimizer *o) {
  for (int i = 0; i < o->count; i++) {
    for (int s = 0; s < MT_OPTIMIZER_STATES; s++) {
      if (o->states[s]) mt_release(o->states[s][i]);
      if (o->states[s]) o->states[s][i] = NULL;
    }
    if (o->steps) o->steps[i] = 0;
  }
}

void mt_optimizer_free(mt_optimizer *o) {
  if (!o) return;
  mt_optimizer_reset(o);
  for (int i = 0; o->params && i < o->count; i++) mt_release(o->params[i]);
  for (int s = 0; s < MT_OPTIMIZER_STATES; s++) free(o->states[s]);
  free(o->options);
  free(o->params);
  free(o->steps);
  free(o->items);
  free(o->pieces);
  free(o);
}

/* ---- state ---- */

int mt_optimizer_check_state(const mt_optimizer *o, int param, const mt_tensor *values, const char *name) {
  const mt_tensor *p = o->params[param];
  if (mt_expect_dtype(values, MT_FLOAT32, o->cls->name, name) < 0) return -1;
  return mt_expect_shape(values, p->ndim, p->shape, o->cls->name, name);
}

int mt_optimizer_set_state(mt_optimizer *o, int state, int param, const mt_tensor *values) {
  mt_tensor *copy = mt_tensor_copy(values);
  if (!copy) return -1;
  mt_release(o->states[state][param]);
  o->states[state][param] = copy;
  return 0;
}

/* ---- the step ---- */

/* State starts as zeros, which for momentum equals starting from the first gradient. */
static int ensure_states(mt_optimizer *o, int param) {
  const mt_tensor *p = o->params[param];
  for (int s = 0; s < MT_OPTIMIZER_STATES && o->cls->state_names[s]; s++) {
    if (o->states[s][param]) continue;
    o->states[s][param] = mt_tensor_zeros(MT_FLOAT32, p->ndim, p->shape);
    if (!o->states[s][param]) return -1;
  }
  return 0;
}

/* item->grad stays NULL for a parameter without a gradient. */
static void prepare_item(mt_optimizer *o, int param) {
  mt_optimizer_item *item = &o->items[param];
  mt_tensor *p = o->params[param];
  *item = (mt_optimizer_item){0};
  if (!p->grad) return;
  item->param = mt_f32(p);
  item->grad = mt_f32(p->grad);
  for (int s = 0; s < MT_OPTIMIZER_STATES; s++)
    item->state[s] = o->states[s][param] ? mt_f32(o->states[s][param]) : NULL;
  o->steps[param]++;
  if (o->cls->prepare) o->cls->prepare(o, o->steps[param], item);
  mt_touch(p);
}

static void update_pieces(const void *context, int64_t begin, int64_t end) {
  const mt_optimizer *o = context;
  for (int64_t n = begin; n < end; n++) {
    const piece *work = &o->pieces[n];
    const mt_optimizer_item *item = &o->items[work->param];
    if (item->grad) o->cls->update(o, item, work->begin, work->end);
  }
}

int mt_optimizer_step(mt_optimizer *o) {
  for (int i = 0; i < o->count; i++)
    if (o->params[i]->grad && ensure_states(o, i) < 0) return -1;
  for (int i = 0; i < o->count; i++) prepare_item(o, i);
  mt_parallel(o->n_pieces, mt_chunk(o->n_pieces, 1, PARALLEL_FROM), update_pieces, o);
  return 0;
}

void mt_optimizer_zero_grad(mt_optimizer *o) {
  for (int i = 0; i < o->count; i++) {
    mt_release(o->params[i]->grad);
    o->params[i]->grad = NULL;
  }
}
