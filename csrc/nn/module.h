/* Modules: layers and their composition into nets.
 *
 * A module has parameters and buffers (named slots), children (named modules), and a class that says how it
 * runs and prints. Names compose with dots exactly as in PyTorch. Trees own their children by reference count;
 * a module may stand in several places of a tree (weight sharing), but never inside itself, and no tree is
 * deeper than MT_MODULE_HEIGHT, so walking one by recursion is safe. */
#ifndef MT_NN_MODULE_H
#define MT_NN_MODULE_H

#include "core/tensor.h"

#define MT_NAME_SIZE 64
#define MT_PATH_SIZE 512
#define MT_MODULE_HEIGHT 64

typedef struct mt_module mt_module;

/* What the planner (nn/plan.h) looks into; every other class just runs. */
typedef enum {
  MT_KIND_OTHER,
  MT_KIND_CONV2D,
  MT_KIND_BATCH_NORM1D,
  MT_KIND_BATCH_NORM2D,
  MT_KIND_RELU,
  MT_KIND_RELU6,
  MT_KIND_MAX_POOL2D,
  MT_KIND_SEQUENTIAL,
  MT_KIND_RESIDUAL
} mt_module_kind;

typedef struct {
  const char *name; /* "Conv2d" */
  mt_module_kind kind;
  /* A new reference, or NULL with an error. */
  mt_tensor *(*forward)(mt_module *self, mt_tensor *input);
  /* "3, 16, kernel 3x3, stride 1" for print; may be NULL. */
  void (*describe)(const mt_module *self, char *text, size_t size);
} mt_module_class;

/* How a slot's values are ordered in memory, as against in files and state dicts. */
typedef enum {
  MT_LAYOUT_SAME,
  MT_LAYOUT_CONV, /* memory kH,kW,I,O; files O,I,kH,kW (I: of one group) */
  MT_LAYOUT_IMAGE /* memory H,W,C; files C,H,W */
} mt_layout;

typedef struct {
  char name[MT_NAME_SIZE];
  mt_tensor *tensor;
  mt_layout layout;
  bool is_buffer; /* running statistics: saved, but not trained */
} mt_slot;

typedef struct {
  char name[MT_NAME_SIZE];
  mt_module *module;
} mt_child;

struct mt_module {
  int refs;
  const mt_module_class *cls;
  bool training; /* as train and eval set it; mt_module_is_training says how it runs */
  bool frozen;   /* freeze.c */
  bool attached; /* stands in a tree: its height can no longer grow */
  bool grows;    /* may get children there: its height allows for a few levels more than there are */
  int height;    /* at least 1 for a leaf, more than that of every child */
  int n_slots, n_children;
  mt_slot *slots;
  mt_child *children;
  void *state; /* the class's hyper-parameters, plain bytes; freed with the module */
  size_t state_size;
  void *plans[2]; /* of a container that ran (nn/plan.c): without and with captures */
  void (*free_plan)(void *plan);
};

/* ---- life ---- */
mt_module *mt_module_new(const mt_module_class *cls, size_t state_size); /* state zeroed; training */
mt_module *mt_module_retain(mt_module *m);
void mt_module_release(mt_module *m); /* NULL is allowed */
/* Takes over the reference to tensor, also on error; a NULL tensor is the error of whoever made it, passed on. */
int mt_module_add_slot(mt_module *m, const char *name, mt_tensor *tensor, mt_layout layout, bool is_buffer);
/* Keeps its own reference to child. Names: letters, digits, _ (no dots), unique among children and slots. */
int mt_module_add_child(mt_module *m, const char *name, mt_module *child);
/* Puts another module in the place of the child `name`. */
int mt_module_replace_child(mt_module *m, const char *name, mt_module *child);
mt_tensor *mt_module_slot(const mt_module *m, const char *name); /* borrowed; NULL when absent, no error */
mt_module *mt_module_child(const mt_module *m, const char *name);
/* The same class, hyper-parameters, mode and copies of the slots; no children. */
mt_module *mt_module_copy_bare(const mt_module *m);

/* ---- use ---- */
mt_tensor *mt_module_forward(mt_module *m, mt_tensor *input);
void mt_module_train(mt_module *m, bool training); /* the whole tree */
/* Whether m runs as in training: a frozen module never does. */
static inline bool mt_module_is_training(const mt_module *m) { return m->training && !m->frozen; }
/* "backbone.12" from root; "" is root itself. Borrowed; NULL with an error that lists the names at the failing level.
 */
mt_module *mt_module_find(mt_module *root, const char *path);

/* Calls visit for every module of the tree, parents first, with its dotted path. A non-zero result stops and is
 * returned. A path longer than MT_PATH_SIZE is an error. */
int mt_module_walk(mt_module *root, int (*visit)(mt_module *m, const char *path, void *context), void *context);
/* The same for every slot: path is "backbone.0.weight". Shared modules are visited at each place. */
int mt_module_walk_slots(mt_module *root, int (*visit)(mt_slot *slot, const char *path, void *context), void *context);

/* ---- freezing (freeze.c), each over the whole tree below m ---- */
/* Whether gradients of the parameters are wanted; false also drops those that are there. */
void mt_module_require_grad(mt_module *m, bool wanted);
bool mt_module_requires_grad(const mt_module *m); /* any parameter */
/* Frozen: parameters require no gradients, and every module runs as in evaluation, whatever mt_module_train sets. */
void mt_module_freeze(mt_module *m, bool frozen);

/* ---- slots in files ---- */
/* The shape of a slot's values in file order; returns the number of axes. */
int mt_slot_file_shape(const mt_slot *slot, int64_t shape[MT_MAX_DIMS]);
/* A slot's values (or gradient, same layout) in file order, as a new tensor / the reverse, into the slot's tensor. */
mt_tensor *mt_slot_to_file_order(const mt_slot *slot, const mt_tensor *values);
int mt_slot_from_file_order(mt_slot *slot, const mt_tensor *file_values, const char *path);

/* Counts the changes of any tree: while it stays the same, every module has the children that it had. */
uint64_t mt_module_revision(void);

/* ---- capture (nn/capture.h), as code sees it that runs several modules as one operation ----
 * The i-th module whose own output is asked for (it must not vanish inside); NULL: there are no more. And the end of
 * its forward pass, which takes over and returns references; NULL passes. */
const mt_module *mt_captured_module(int i);
mt_tensor *mt_module_finish(mt_module *m, mt_tensor *output);

#endif
