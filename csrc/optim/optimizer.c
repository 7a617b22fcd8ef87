/* What the optimisers share: the groups of parameters, their state, and the pass over all of them. */
#include "optim/optimizer.h"

#include <stdlib.h>
#include <string.h>

#include "core/threads.h"

#define PIECE 8192      /* elements: small enough to share out, large enough to amortise the call */
#define PARALLEL_FROM 4 /* pieces */

typedef struct mt_optimizer_piece {
  int param;
  int64_t begin, end;
} piece;

/* ---- life ---- */

mt_optimizer *mt_optimizer_new(const mt_optimizer_class *cls, double lr) {
  mt_optimizer *o = calloc(1, sizeof *o);
  if (!o) return mt_fail_null(MT_ERROR_MEMORY, "out of memory: cannot make an optimiser");
  o->cls = cls;
  o->lr = o->first_lr = lr;
  return o;
}

void mt_optimizer_reset(mt_optimizer *o) {
  for (int i = 0; i < o->count; i++) {
    for (int s = 0; s < MT_OPTIMIZER_STATES; s++) {
      mt_release(o->states[s][i]);
      o->states[s][i] = NULL;
    }
    o->steps[i] = 0;
  }
}

void mt_optimizer_free(mt_optimizer *o) {
  if (!o) return;
  mt_optimizer_reset(o);
  for (int i = 0; i < o->count; i++) mt_release(o->params[i]);
  for (int g = 0; g < o->n_groups; g++) free(o->groups[g].options);
  for (int s = 0; s < MT_OPTIMIZER_STATES; s++) free(o->states[s]);
  free(o->groups);
  free(o->params);
  free(o->group_of);
  free(o->steps);
  free(o->items);
  free(o->pieces);
  free(o);
}

/* ---- groups ---- */

static int check_param(const mt_optimizer *o, mt_tensor *const *params, int i, const char *where) {
  const char *name = o->cls->name;
  const mt_tensor *p = params[i];
  if (p->dtype != MT_FLOAT32)
    return mt_fail(MT_ERROR_ARGUMENT, "%s: %s[%d] is %s, expected float32", name, where, i + 1,
                   mt_dtype_name(p->dtype));
  if (p->node)
    return mt_fail(MT_ERROR_ARGUMENT, "%s: %s[%d] is the result of an operation, expected a leaf", name, where, i + 1);
  if (!p->requires_grad && !p->is_parameter)
    return mt_fail(MT_ERROR_ARGUMENT, "%s: %s[%d] does not require gradients", name, where, i + 1);
  for (int j = 0; j < o->count; j++)
    if (o->params[j] == p)
      return mt_fail(MT_ERROR_ARGUMENT, "%s: %s[%d] is in group %d already", name, where, i + 1, o->group_of[j] + 1);
  return 0;
}

int mt_expect_distinct(mt_tensor *const *params, int count, const char *op, const char *where) {
  for (int i = 0; i < count; i++)
    for (int j = 0; j < i; j++)
      if (params[j] == params[i])
        return mt_fail(MT_ERROR_ARGUMENT, "%s: %s[%d] and %s[%d] are the same tensor", op, where, j + 1, where, i + 1);
  return 0;
}

static int check_group(const mt_optimizer *o, mt_tensor *const *params, int count, double own_lr, const void *options,
                       const char *where) {
  const char *name = o->cls->name;
  if (count < 1) return mt_fail(MT_ERROR_ARGUMENT, "%s: %s is empty, expected at least one tensor", name, where);
  if (own_lr > 0.0 && o->lr == 0.0)
    return mt_fail(MT_ERROR_ARGUMENT,
                   "%s: lr is 0, expected more, because group %d has a rate of its own (%g) and keeps its ratio to lr",
                   name, o->n_groups + 1, own_lr);
  for (int i = 0; i < count; i++)
    if (check_param(o, params, i, where) < 0) return -1;
  if (mt_expect_distinct(params, count, name, where) < 0) return -1;
  return o->cls->check ? o->cls->check(options) : 0;
}

static int64_t pieces_of(const mt_tensor *p) { return (p->count + PIECE - 1) / PIECE; }

/* Cuts parameter i; returns the place after its pieces. */
static piece *cut_into_pieces(const mt_tensor *p, int i, piece *next) {
  for (int64_t begin = 0; begin < p->count; begin += PIECE)
    *next++ = (piece){.param = i, .begin = begin, .end = begin + PIECE < p->count ? begin + PIECE : p->count};
  return next;
}

/* The array with room for `count` items; where memory runs out, as it was. */
static void *grown(void *array, size_t count, size_t size, bool *complete) {
  void *larger = realloc(array, (count + 1) * size);
  *complete = *complete && larger;
  return larger ? larger : array;
}

static bool grow_all(mt_optimizer *o, int params, int64_t n_pieces) {
  const size_t n = (size_t)params;
  bool complete = true;
  o->groups = grown(o->groups, (size_t)o->n_groups + 1, sizeof *o->groups, &complete);
  o->params = grown(o->params, n, sizeof *o->params, &complete);
  o->group_of = grown(o->group_of, n, sizeof *o->group_of, &complete);
  o->steps = grown(o->steps, n, sizeof *o->steps, &complete);
  o->items = grown(o->items, n, sizeof *o->items, &complete);
  o->pieces = grown(o->pieces, (size_t)n_pieces, sizeof *o->pieces, &complete);
  for (int s = 0; s < MT_OPTIMIZER_STATES; s++) o->states[s] = grown(o->states[s], n, sizeof *o->states[s], &complete);
  return complete;
}

int mt_optimizer_add_group(mt_optimizer *o, mt_tensor *const *params, int count, double own_lr, const void *options,
                           const char *where) {
  if (check_group(o, params, count, own_lr, options, where) < 0) return -1;
  int64_t n_pieces = o->n_pieces;
  for (int i = 0; i < count; i++) n_pieces += pieces_of(params[i]);
  void *own_options = malloc(o->cls->options_size);
  if (!own_options || !grow_all(o, o->count + count, n_pieces)) {
    free(own_options);
    return mt_fail(MT_ERROR_MEMORY, "out of memory: cannot make an optimiser");
  }
  memcpy(own_options, options, o->cls->options_size);
  o->groups[o->n_groups] =
      (mt_optimizer_group){.own_lr = own_lr, .options = own_options, .n_states = o->cls->n_states(options)};
  piece *next = o->pieces + o->n_pieces;
  for (int i = 0; i < count; i++) {
    const int at = o->count + i;
    o->params[at] = mt_retain(params[i]);
    o->group_of[at] = o->n_groups;
    o->steps[at] = 0;
    for (int s = 0; s < MT_OPTIMIZER_STATES; s++) o->states[s][at] = NULL;
    next = cut_into_pieces(params[i], at, next);
  }
  o->n_pieces = n_pieces;
  o->count += count;
  o->n_groups++;
  mt_optimizer_set_lr(o, o->lr);
  return 0;
}

void mt_optimizer_set_lr(mt_optimizer *o, double lr) {
  o->lr = lr;
  for (int g = 0; g < o->n_groups; g++) {
    mt_optimizer_group *group = &o->groups[g];
    group->lr = group->own_lr < 0.0 ? lr : group->own_lr == 0.0 ? 0.0 : group->own_lr * (lr / o->first_lr);
  }
}

/* ---- state ---- */

int mt_optimizer_check_state(const mt_optimizer *o, int param, const mt_tensor *values, const char *name) {
  const mt_tensor *p = o->params[param];
  if (mt_expect_dtype(values, MT_FLOAT32, o->cls->name, name) < 0) return -1;
  return mt_expect_shape(values, p->ndim, p->shape, o->cls->name, name);
}

void mt_optimizer_take_state(mt_optimizer *o, int state, int param, mt_tensor *values) {
  mt_release(o->states[state][param]);
  o->states[state][param] = values;
  if (o->steps[param] == 0) o->steps[param] = 1;
}

/* ---- the step ---- */

static bool is_due(const mt_tensor *p) { return p->requires_grad && p->grad; }

/* State starts as zeros. */
static int ensure_states(mt_optimizer *o, int param) {
  const mt_tensor *p = o->params[param];
  for (int s = 0; s < o->groups[o->group_of[param]].n_states; s++) {
    if (o->states[s][param]) continue;
    o->states[s][param] = mt_tensor_zeros(MT_FLOAT32, p->ndim, p->shape);
    if (!o->states[s][param]) return -1;
  }
  return 0;
}

/* item->grad stays NULL for a parameter that is left alone. */
static void prepare_item(mt_optimizer *o, int param) {
  mt_optimizer_item *item = &o->items[param];
  mt_tensor *p = o->params[param];
  *item = (mt_optimizer_item){0};
  if (!is_due(p)) return;
  item->group = &o->groups[o->group_of[param]];
  item->param = mt_f32(p);
  item->grad = mt_f32(p->grad);
  for (int s = 0; s < item->group->n_states; s++) item->state[s] = mt_f32(o->states[s][param]);
  item->step = ++o->steps[param];
  if (o->cls->prepare) o->cls->prepare(item);
  mt_touch(p);
}

static void update_pieces(const void *context, int64_t begin, int64_t end) {
  const mt_optimizer *o = context;
  for (int64_t n = begin; n < end; n++) {
    const piece *work = &o->pieces[n];
    const mt_optimizer_item *item = &o->items[work->param];
    if (item->grad) o->cls->update(item, work->begin, work->end);
  }
}

int mt_optimizer_step(mt_optimizer *o) {
  for (int i = 0; i < o->count; i++)
    if (is_due(o->params[i]) && ensure_states(o, i) < 0) return -1;
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
