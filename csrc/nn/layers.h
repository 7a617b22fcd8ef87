/* The layers, and how neighbours run as one operation. Constructors check their arguments and return a new module or
 * NULL with an error; parameters start as PyTorch's defaults do, drawn from the default generator. */
#ifndef MT_NN_LAYERS_H
#define MT_NN_LAYERS_H

#include "nn/module.h"
#include "ops/conv2d.h"
#include "ops/pool.h"
#include "ops/zero_pad.h"

/* ---- conv.c: x {N,H,W,inputs} -> {N,OH,OW,outputs} ---- */
typedef struct {
  int64_t kernel[2];
  mt_conv2d_params params;
  bool same; /* padding and surplus follow from each input (mt_conv2d_pad_same) */
} mt_conv2d_window;
mt_module *mt_conv2d_new(int64_t inputs, int64_t outputs, mt_conv2d_window window, bool bias);

/* ---- norm.c: x {N,C} (1d) or {N,H,W,C} (2d) ---- */
mt_module *mt_batch_norm1d_new(int64_t channels, double eps, double momentum);
mt_module *mt_batch_norm2d_new(int64_t channels, double eps, double momentum);

/* ---- group_norm.c. tracks: running statistics, used in evaluation ---- */
mt_module *mt_layer_norm_new(int ndim, const int64_t *shape, double eps, bool weight, bool bias); /* x {...,shape} */
mt_module *mt_group_norm_new(int64_t groups, int64_t channels, double eps, bool affine);          /* x {N,...,C} */
mt_module *mt_instance_norm2d_new(int64_t channels, double eps, double momentum, bool affine, bool tracks);

/* ---- linear.c: x {...,inputs} -> {...,outputs} ---- */
mt_module *mt_linear_new(int64_t inputs, int64_t outputs, bool bias);

/* ---- embedding.c: x {...} int32, 1..rows -> {...,width}; padding: a row without gradient, 0 for none ---- */
mt_module *mt_embedding_new(int64_t rows, int64_t width, int64_t padding);

/* ---- pooling.c ---- */
mt_module *mt_max_pool2d_new(mt_pool2d_params params);
mt_module *mt_avg_pool2d_new(mt_pool2d_params params);
mt_module *mt_global_avg_pool_new(void);                      /* {N,H,W,C} -> {N,C} */
mt_module *mt_adaptive_avg_pool2d_new(const int64_t size[2]); /* 0: the input's own size */
mt_module *mt_adaptive_max_pool2d_new(const int64_t size[2]);

/* ---- activations.c; axis: 1, 2, ... or -1, -2, ... from the end ---- */
mt_module *mt_relu6_new(void);
mt_module *mt_sigmoid_new(void);
mt_module *mt_tanh_new(void);
mt_module *mt_silu_new(void);
mt_module *mt_gelu_new(bool by_tanh);
mt_module *mt_softplus_new(double beta, double threshold);
mt_module *mt_leaky_relu_new(double slope);
mt_module *mt_softmax_new(int axis);
mt_module *mt_log_softmax_new(int axis);

/* ---- simple.c ---- */
mt_module *mt_relu_new(void);
mt_module *mt_flatten_new(void); /* {N,H,W,C} -> {N,C*H*W} */
mt_module *mt_identity_new(void);
mt_module *mt_dropout_new(double p);
mt_module *mt_zero_pad2d_new(mt_sides sides); /* {N,H,W,C} */

/* ---- dropout2d.c: x {N,H,W,C}, whole channels, or {N,C} ---- */
mt_module *mt_dropout2d_new(double p);

/* ---- shortcut.c: x {N,H,W,inputs} -> {N,ceil(H/stride),ceil(W/stride),outputs}, no parameters ---- */
mt_module *mt_shortcut_new(int64_t inputs, int64_t outputs, int64_t stride);

/* ---- containers: empty at first; children are added with mt_module_add_child ---- */
mt_module *mt_sequential_new(void);    /* sequential.c */
mt_module *mt_residual_new(bool relu); /* residual.c */
/* container.c: names without a forward of their own */
typedef enum { MT_MODULE_LIST, MT_MODULE_DICT, MT_PARAMETER_LIST, MT_PARAMETER_DICT } mt_container_kind;
mt_module *mt_container_new(mt_container_kind kind);
bool mt_is_container(const mt_module *m);
#define MT_RESIDUAL_SHORTCUT "downsample" /* the child that makes the shortcut; the identity where it is missing */

/* ---- what runs together with its neighbours (nn/plan.h). relu: one follows; residual: added before it, may be NULL */
static inline bool mt_residual_has_relu(const mt_module *m) { return *(const bool *)m->state; }
/* The window of a MaxPool2d whose square windows lie side by side, unpadded; 0 for every other module. */
int64_t mt_max_pool2d_tile(const mt_module *m);
mt_tensor *mt_conv2d_run(mt_module *conv, mt_tensor *input, bool relu);
mt_tensor *mt_batch_norm_run(mt_module *norm, mt_tensor *input, mt_tensor *residual, bool relu);
mt_tensor *mt_conv2d_batch_norm_run(mt_module *conv, mt_module *norm, mt_tensor *input, mt_tensor *residual, bool relu);

/* ---- initialisation ---- */
/* Uniform in +-1/sqrt(fan_in): PyTorch's default for the weights and biases of convolutions and linear layers
 * (kaiming_uniform with a = sqrt 5). Returns t; NULL passes. */
mt_tensor *mt_init_fan_in(mt_tensor *t, int64_t fan_in);

#endif
