/* Reverse-mode automatic differentiation.
 *
 * An operation that ran on tensors needing gradients leaves a node behind: what to call on the way
 * back, where its inputs came from, and the values it saved. Nodes have one output. They hold no
 * tensor that the backward pass does not need, and never the output tensor itself (a saved output
 * is an alias of its storage), so there are no cycles and reference counts free everything.
 *
 * backward() visits nodes in decreasing sequence number, which is a topological order because a
 * node is always younger than its inputs, and frees each node's saved values right after use. */
#ifndef MT_AUTOGRAD_TAPE_H
#define MT_AUTOGRAD_TAPE_H

#include "core/tensor.h"

typedef struct mt_node mt_node;

typedef struct {
  const char *name;
  /* Fills grad_inputs[i] with a new reference for every i where node->needs[i]; others stay NULL.
   * grad_output has the output's shape and must not be written. Returns 0, or -1 on error (the
   * caller releases what was filled in). */
  int (*backward)(mt_node *node, mt_tensor *grad_output, mt_tensor **grad_inputs);
  /* Releases what the context holds beyond plain bytes; may be NULL. */
  void (*destroy)(void *context);
  /* For an op that is counted: gives back the node's reference to it, last of all, since messages about a spent node
   * still name it; may be NULL. */
  void (*release)(const void *op);
} mt_op;

struct mt_node {
  int refs;
  uint64_t sequence;
  const mt_op *op;
  int n_inputs;
  mt_node **input_nodes;    /* the node that made input i, or NULL */
  mt_tensor **input_leaves; /* the leaf that input i is, or NULL */
  bool *needs;              /* whether input i wants a gradient */
  int n_saved;
  mt_tensor **saved; /* detached; entries may be NULL */
  uint64_t *saved_versions;
  void *context;   /* a copy of the bytes given to mt_recorded */
  mt_tensor *grad; /* gradient of the output, gathered during backward */
  bool counted;    /* its leaves' uses were */
  bool spent;      /* backward ran, and what it needed was freed: saved values, context and edges */
};

typedef enum {
  MT_GRAD_ON,          /* record everything that needs gradients */
  MT_GRAD_ACTIVATIONS, /* treat parameters as constants: gradients of activations only (CAM) */
  MT_GRAD_OFF
} mt_grad_mode;

mt_grad_mode mt_grad_mode_get(void);
void mt_grad_mode_set(mt_grad_mode mode);

/* Whether an operation on t must be recorded in the current mode. */
bool mt_needs_grad(const mt_tensor *t);

/* Ends an operation: if any input needs a gradient, records a node on `output`; returns output.
 * On error releases output and the context's contents, and returns NULL. NULL output passes through.
 * Saved tensors may be inputs, the output, or buffers made for the purpose (whose only reference the
 * caller still drops itself); NULL entries are allowed. The context's bytes are copied. When nothing
 * needs a gradient, op->destroy is called on the context at once. */
mt_tensor *mt_recorded(mt_tensor *output, const mt_op *op, int n_inputs, mt_tensor *const *inputs, int n_saved,
                       mt_tensor *const *saved, const void *context, size_t context_size);

/* From a scalar (grad_output NULL means 1) or any tensor with a grad_output of its shape. Gradients
 * are added to the `grad` of every leaf reached. The graph can be walked once; its saved values are freed. */
int mt_backward(mt_tensor *root, mt_tensor *grad_output);

/* From now on backward calls complete(context, leaf) as soon as nothing of the graph can add to the leaf's gradient any
 * more (but for leaves that no gradient reaches). NULL: no longer. */
void mt_watch_leaves(void (*complete)(void *context, mt_tensor *leaf), void *context);

#endif
