/* Optimisers over groups of parameters, each with options of its own.
 *
 * A step is one parallel pass over all of them: the parameters are cut into pieces when a group is added, and every
 * element is updated on its own, so the result does not depend on the number of threads. A parameter that is frozen
 * (does not require gradients) or has no gradient is left as it is, with its state. NaN gradients make NaN parameters:
 * nothing is hidden. */
#ifndef MT_OPTIM_OPTIMIZER_H
#define MT_OPTIM_OPTIMIZER_H

#include "core/tensor.h"

#define MT_OPTIMIZER_STATES 3 /* at most this many state tensors for each parameter */

typedef struct mt_optimizer mt_optimizer;

typedef struct {
  double lr;     /* of the next step */
  double own_lr; /* while the optimiser has its first rate; negative: the optimiser's, always */
  void *options; /* the class's own, plain bytes */
  int n_states;  /* of the class's state tensors, as many as these options need */
} mt_optimizer_group;

/* One parameter in one step. */
typedef struct {
  const mt_optimizer_group *group;
  float *param;
  const float *grad;
  float *state[MT_OPTIMIZER_STATES];
  int64_t step;              /* 1 for the parameter's first */
  double bias_correction[2]; /* Adam's, from the number of steps */
} mt_optimizer_item;

typedef struct {
  const char *name; /* "sgd" */
  size_t options_size;
  const char *state_names[MT_OPTIMIZER_STATES]; /* NULL: fewer */
  bool counts_steps;                            /* the number of steps is part of the state */
  int (*check)(const void *options);            /* -1 with an error where options contradict each other; may be NULL */
  int (*n_states)(const void *options);
  void (*prepare)(mt_optimizer_item *item); /* may be NULL */
  void (*update)(const mt_optimizer_item *item, int64_t begin, int64_t end);
} mt_optimizer_class;

struct mt_optimizer {
  const mt_optimizer_class *cls;
  double lr, first_lr;
  int n_groups, count;
  mt_optimizer_group *groups;
  /* Of each parameter, group after group: */
  mt_tensor **params;
  int *group_of;
  mt_tensor **states[MT_OPTIMIZER_STATES]; /* NULL until its first step */
  int64_t *steps;                          /* taken; only whether there were any counts where counts_steps is false */
  mt_optimizer_item *items;
  int64_t n_pieces;
  struct mt_optimizer_piece *pieces;
};

typedef struct {
  double momentum, weight_decay, dampening;
  bool nesterov, maximize;
} mt_sgd_options;

/* Adam's and AdamW's. */
typedef struct {
  double beta1, beta2; /* in this order, one after the other: the binding reads both */
  double eps, weight_decay;
  bool amsgrad, maximize;
} mt_adam_options;

extern const mt_optimizer_class mt_sgd_class, mt_adam_class, mt_adamw_class;

mt_optimizer *mt_optimizer_new(const mt_optimizer_class *cls, double lr);
void mt_optimizer_free(mt_optimizer *o);
/* params: one or more float32 leaves that require gradients (or modules' parameters, which may be frozen), each in one
 * group only; `where` is what error messages call the list. own_lr: negative to follow the optimiser's rate. On an
 * error nothing has been changed. */
int mt_optimizer_add_group(mt_optimizer *o, mt_tensor *const *params, int count, double own_lr, const void *options,
                           const char *where);

/* -1 with an error where a tensor stands twice in the list; op and where are for its message. */
int mt_expect_distinct(mt_tensor *const *params, int count, const char *op, const char *where);

/* The rate of every group that has none of its own; the others keep their ratio to it. */
void mt_optimizer_set_lr(mt_optimizer *o, double lr);
int mt_optimizer_step(mt_optimizer *o); /* on an error nothing has been changed */
void mt_optimizer_zero_grad(mt_optimizer *o);
/* Whether values can be a parameter's state; `name` is for the error message / makes them its state, taking over the
 * reference. */
int mt_optimizer_check_state(const mt_optimizer *o, int param, const mt_tensor *values, const char *name);
void mt_optimizer_take_state(mt_optimizer *o, int state, int param, mt_tensor *values);
/* Forgets every state tensor and step count. */
void mt_optimizer_reset(mt_optimizer *o);

/* adam.c, for adamw.c too: elements [begin, end) by Adam's rule, `decay` times the parameter added to the gradient. */
void mt_adam_prepare(mt_optimizer_item *item);
int mt_adam_n_states(const void *options);
void mt_adam_descend(const mt_optimizer_item *item, float decay, int64_t begin, int64_t end);

#endif
