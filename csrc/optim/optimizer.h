/* Optimisers over a fixed list of parameters.
 *
 * A step is one parallel pass over all of them: the parameters are cut into pieces once, when the optimiser is made,
 * and every element is updated on its own, so the result does not depend on the number of threads. A parameter without
 * a gradient is left as it is, with its state. NaN gradients make NaN parameters: nothing is hidden. */
#ifndef MT_OPTIM_OPTIMIZER_H
#define MT_OPTIM_OPTIMIZER_H

#include "core/tensor.h"

#define MT_OPTIMIZER_STATES 2 /* at most this many state tensors for each parameter */

typedef struct mt_optimizer mt_optimizer;

/* One parameter in one step. */
typedef struct {
  float *param;
  const float *grad;
  float *state[MT_OPTIMIZER_STATES];
  double bias_correction[MT_OPTIMIZER_STATES]; /* Adam's, from the number of steps */
} mt_optimizer_item;

typedef struct {
  const char *name;                             /* "sgd" */
  const char *state_names[MT_OPTIMIZER_STATES]; /* NULL: fewer */
  bool counts_steps;                            /* the number of steps is part of the state */
  void (*prepare)(const mt_optimizer *o, int64_t step, mt_optimizer_item *item); /* may be NULL */
  void (*update)(const mt_optimizer *o, const mt_optimizer_item *item, int64_t begin, int64_t end);
} mt_optimizer_class;

struct mt_optimizer {
  const mt_optimizer_class *cls;
  double lr;
  void *options; /* the class's own, plain bytes */
  int count;
  mt_tensor **params;
  mt_tensor **states[MT_OPTIMIZER_STATES]; /* per parameter; NULL until its first step */
  int64_t *steps;                          /* per parameter */
  mt_optimizer_item *items;
  int64_t n_pieces;
  struct mt_optimizer_piece *pieces;
};

typedef struct {
  double lr, momentum, weight_decay;
  bool nesterov;
} mt_sgd_options;

typedef struct {
  double lr, beta1, beta2, eps, weight_decay;
} mt_adam_options;

/* params: float32 leaves that require gradients, each once. NULL with an error otherwise, or when there is none. */
mt_optimizer *mt_sgd_new(mt_tensor *const *params, int count, const mt_sgd_options *options);
mt_optimizer *mt_adam_new(mt_tensor *const *params, int count, const mt_adam_options *options);
void mt_optimizer_free(mt_optimizer *o);

int mt_optimizer_step(mt_optimizer *o); /* on an error nothing has been changed */
void mt_optimizer_zero_grad(mt_optimizer *o);
/* Copies values into a state tensor; `name` is for the error message. */
int mt_optimizer_check_state(const mt_optimizer *o, int param, const mt_tensor *values, const char *name);
int mt_optimizer_set_state(mt_optimizer *o, int state, int param, const mt_tensor *values);
/* Forgets every state tensor and step count. */
void mt_optimizer_reset(mt_optimizer *o);

/* For the classes: the part of construction that they share. */
mt_optimizer *mt_optimizer_new(const mt_optimizer_class *cls, mt_tensor *const *params, int count, double lr,
                               const void *options, size_t options_size);

#endif
