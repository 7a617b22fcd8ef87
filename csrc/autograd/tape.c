#include "autograd/tape.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "core/threads.h"
#include "kernels/kernels.h"

#define ADD_CHUNK 32768 /* elements of a gradient sum that a thread takes at a time */

static mt_grad_mode grad_mode = MT_GRAD_ON;
static uint64_t next_sequence = 1;

mt_grad_mode mt_grad_mode_get(void) { return grad_mode; }

void mt_grad_mode_set(mt_grad_mode mode) { grad_mode = mode; }

bool mt_needs_grad(const mt_tensor *t) {
  if (!t || !t->requires_grad || grad_mode == MT_GRAD_OFF) return false;
  return !(grad_mode == MT_GRAD_ACTIVATIONS && t->is_parameter);
}

/* ---- nodes ---- */

static size_t aligned(size_t bytes) { return (bytes + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1); }

/* One block: the node, its context, and its arrays from the widest elements to the narrowest. */
static mt_node *node_new(const mt_op *op, int n_inputs, int n_saved, const void *context, size_t context_size) {
  const size_t inputs = (size_t)n_inputs, saved = (size_t)n_saved;
  const size_t context_at = aligned(sizeof(mt_node)), arrays_at = context_at + aligned(context_size);
  char *block = calloc(1, arrays_at + inputs * (sizeof(mt_node *) + sizeof(mt_tensor *) + sizeof(bool)) +
                              saved * (sizeof(mt_tensor *) + sizeof(uint64_t)));
  if (!block) return NULL;
  mt_node *node = (mt_node *)block;
  *node = (mt_node){.refs = 1, .sequence = next_sequence++, .op = op, .n_inputs = n_inputs, .n_saved = n_saved};
  node->input_nodes = (mt_node **)(block + arrays_at);
  node->input_leaves = (mt_tensor **)(node->input_nodes + inputs);
  node->saved = node->input_leaves + inputs;
  node->saved_versions = (uint64_t *)(node->saved + saved);
  node->needs = (bool *)(node->saved_versions + saved);
  if (context_size) node->context = memcpy(block + context_at, context, context_size);
  return node;
}

static void node_drop_saved(mt_node *node) {
  for (int i = 0; i < node->n_saved; i++) {
    mt_release(node->saved[i]);
    node->saved[i] = NULL;
  }
}

static void node_drop_context(mt_node *node) {
  if (node->context && node->op->destroy) node->op->destroy(node->context);
  node->context = NULL;
}

/* Frees the node itself; its edges are the caller's business. */
static void node_free(mt_node *node) {
  node_drop_saved(node);
  node_drop_context(node);
  mt_release(node->grad);
  if (node->op->release) node->op->release(node->op);
  free(node);
}

/* Iterative: a graph may be a chain of millions of nodes, too deep for the C stack. The list of nodes
 * whose last reference is gone is threaded through `sequence`, which a dying node no longer needs. */
static void node_release(mt_node *node) {
  mt_node *dying = NULL;
  if (--node->refs > 0) return;
  node->sequence = 0;
  dying = node;
  while (dying) {
    mt_node *current = dying;
    dying = (mt_node *)(uintptr_t)current->sequence;
    for (int i = 0; i < current->n_inputs; i++) {
      mt_node *input = current->input_nodes[i];
      mt_release(current->input_leaves[i]);
      if (input && --input->refs == 0) {
        input->sequence = (uint64_t)(uintptr_t)dying;
        dying = input;
      }
    }
    node_free(current);
  }
}

/* What lies before a node that was walked is of no more use, even if a script keeps the result. */
static void node_drop_edges(mt_node *node) {
  for (int i = 0; i < node->n_inputs; i++) {
    mt_release(node->input_leaves[i]);
    node->input_leaves[i] = NULL;
    if (node->input_nodes[i]) node_release(node->input_nodes[i]);
    node->input_nodes[i] = NULL;
  }
}

static void discard_context(const mt_op *op, const void *context, size_t context_size) {
  if (context_size && op->destroy) op->destroy((void *)(uintptr_t)context);
  if (op->release) op->release(op);
}

static void node_connect(mt_node *node, mt_tensor *const *inputs) {
  for (int i = 0; i < node->n_inputs; i++) {
    mt_tensor *input = inputs[i];
    if (!mt_needs_grad(input)) continue;
    node->needs[i] = true;
    if (input->node) {
      input->node->refs++;
      node->input_nodes[i] = input->node;
    } else {
      node->input_leaves[i] = mt_retain(input);
    }
  }
}

static int node_save(mt_node *node, mt_tensor *const *saved) {
  for (int i = 0; i < node->n_saved; i++) {
    if (!saved[i]) continue;
    node->saved[i] = mt_tensor_detach(saved[i]);
    if (!node->saved[i]) return -1;
    node->saved_versions[i] = saved[i]->storage->version;
  }
  return 0;
}

mt_tensor *mt_recorded(mt_tensor *output, const mt_op *op, int n_inputs, mt_tensor *const *inputs, int n_saved,
                       mt_tensor *const *saved, const void *context, size_t context_size) {
  bool needed = false;
  for (int i = 0; output && i < n_inputs; i++) needed = needed || mt_needs_grad(inputs[i]);
  if (!needed) {
    discard_context(op, context, context_size);
    return output;
  }
  mt_node *node = node_new(op, n_inputs, n_saved, context, context_size);
  if (!node) {
    discard_context(op, context, context_size);
    mt_release(output);
    return mt_fail_null(MT_ERROR_MEMORY, "out of memory: cannot record %s for backward", op->name);
  }
  node_connect(node, inputs);
  if (node_save(node, saved) < 0) {
    node_release(node);
    mt_release(output);
    return NULL;
  }
  output->node = node;
  output->release_node = node_release;
  output->requires_grad = true;
  return output;
}

/* ---- backward ---- */

typedef struct {
  mt_node **items;
  size_t count, capacity;
} node_list;

static int list_push(node_list *list, mt_node *node) {
  if (list->count == list->capacity) {
    const size_t capacity = list->capacity ? 2 * list->capacity : 64;
    mt_node **items = realloc(list->items, capacity * sizeof *items);
    if (!items) return mt_fail(MT_ERROR_MEMORY, "out of memory: backward cannot list the graph's operations");
    list->items = items;
    list->capacity = capacity;
  }
  list->items[list->count++] = node;
  return 0;
}

/* A binary heap on sequence numbers: the youngest node comes out first. Every node is pushed once,
 * when its first gradient arrives; by its turn all its gradients have. The heap holds references: a
 * node that was walked lets go of those before it. */
static int heap_push(node_list *heap, mt_node *node) {
  if (list_push(heap, node) < 0) return -1;
  node->refs++;
  size_t i = heap->count - 1;
  while (i > 0) {
    const size_t parent = (i - 1) / 2;
    if (heap->items[parent]->sequence >= heap->items[i]->sequence) break;
    mt_node *swap = heap->items[parent];
    heap->items[parent] = heap->items[i];
    heap->items[i] = swap;
    i = parent;
  }
  return 0;
}

static mt_node *heap_pop(node_list *heap) {
  mt_node *top = heap->items[0];
  heap->items[0] = heap->items[--heap->count];
  for (size_t i = 0;;) {
    size_t largest = i;
    for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < heap->count; child++)
      if (heap->items[child]->sequence > heap->items[largest]->sequence) largest = child;
    if (largest == i) return top;
    mt_node *swap = heap->items[largest];
    heap->items[largest] = heap->items[i];
    heap->items[i] = swap;
    i = largest;
  }
}

typedef struct {
  float *into;
  const float *from;
} addition;

static void add_range(const void *context, int64_t begin, int64_t end) {
  const addition *a = context;
  mt_kernels->add(a->into + begin, a->into + begin, 1, a->from + begin, 1, end - begin);
}

/* *slot += g, taking over the caller's reference to g. */
static int accumulate(mt_tensor **slot, mt_tensor *g) {
  if (!*slot) {
    *slot = g;
    return 0;
  }
  if (!mt_same_shape(*slot, g)) {
    char a[MT_SHAPE_TEXT], b[MT_SHAPE_TEXT];
    mt_fail(MT_ERROR_ARGUMENT, "backward: gradients of shapes %s and %s meet",
            mt_shape_text((*slot)->ndim, (*slot)->shape, a), mt_shape_text(g->ndim, g->shape, b));
    mt_release(g);
    return -1;
  }
  /* Add in place only into a buffer that nobody else can see. */
  mt_tensor *sum = *slot;
  if (sum->refs > 1 || sum->storage->refs > 1) {
    sum = mt_tensor_copy(*slot);
    if (!sum) {
      mt_release(g);
      return -1;
    }
    mt_release(*slot);
    *slot = sum;
  }
  mt_parallel(sum->count, ADD_CHUNK, add_range, &(addition){mt_f32(sum), mt_f32(g)});
  mt_release(g);
  return 0;
}

/* A leaf keeps its gradient beyond the walk, so it must not share it with another leaf. */
static int accumulate_leaf(mt_tensor *leaf, mt_tensor *g) {
  if (!leaf->grad && (g->refs > 1 || g->storage->refs > 1)) {
    mt_tensor *own = mt_tensor_copy(g);
    mt_release(g);
    if (!own) return -1;
    g = own;
  }
  return accumulate(&leaf->grad, g);
}

static int check_saved(const mt_node *node) {
  if (node->spent) {
    return mt_fail(MT_ERROR_ARGUMENT,
                   "backward: the graph through %s was already walked and its values freed; run the forward pass again",
                   node->op->name);
  }
  for (int i = 0; i < node->n_saved; i++) {
    if (node->saved[i] && node->saved[i]->storage->version != node->saved_versions[i])
      return mt_fail(MT_ERROR_ARGUMENT, "backward: a tensor that %s needs was changed in place after the forward pass",
                     node->op->name);
  }
  return 0;
}

/* Hands the gradients of one node's inputs on; takes over the references in grads. */
static int distribute(mt_node *node, mt_tensor **grads, node_list *heap) {
  int status = 0;
  for (int i = 0; i < node->n_inputs; i++) {
    if (!grads[i]) continue;
    if (status < 0 || !node->needs[i]) {
      mt_release(grads[i]);
    } else if (node->input_leaves[i]) {
      status = accumulate_leaf(node->input_leaves[i], grads[i]);
    } else {
      mt_node *input = node->input_nodes[i];
      if (!input->grad) status = heap_push(heap, input);
      if (status == 0)
        status = accumulate(&input->grad, grads[i]);
      else
        mt_release(grads[i]);
    }
  }
  return status;
}

/* ---- leaves that somebody watches ---- */

static struct {
  void (*complete)(void *context, mt_tensor *leaf);
  void *context;
} watcher;

void mt_watch_leaves(void (*complete)(void *context, mt_tensor *leaf), void *context) {
  watcher.complete = complete;
  watcher.context = context;
}

static int count_later(mt_node *node, node_list *nodes) {
  if (node->counted) return 0;
  node->counted = true;
  return list_push(nodes, node);
}

/* How often each leaf is an input in the graph that ends with `root`. */
static int count_uses(mt_node *root) {
  node_list nodes = {0};
  int status = count_later(root, &nodes);
  while (status == 0 && nodes.count > 0) {
    const mt_node *node = nodes.items[--nodes.count];
    for (int i = 0; status == 0 && i < node->n_inputs; i++) {
      if (node->input_leaves[i]) node->input_leaves[i]->uses++;
      if (node->input_nodes[i]) status = count_later(node->input_nodes[i], &nodes);
    }
  }
  free(nodes.items);
  return status;
}

/* After a node's gradients were handed on. */
static void count_down(const mt_node *node) {
  for (int i = 0; i < node->n_inputs; i++) {
    mt_tensor *leaf = node->input_leaves[i];
    if (leaf && --leaf->uses == 0 && watcher.complete) watcher.complete(watcher.context, leaf);
  }
}

static int visit(mt_node *node, node_list *heap) {
  if (check_saved(node) < 0) return -1;
  mt_tensor *on_stack[4] = {NULL};
  mt_tensor **grads = on_stack;
  if (node->n_inputs > 4) {
    grads = calloc((size_t)node->n_inputs, sizeof *grads);
    if (!grads) return mt_fail(MT_ERROR_MEMORY, "out of memory: backward of %s", node->op->name);
  }
  mt_tensor *grad_output = node->grad;
  node->grad = NULL;
  int status = node->op->backward(node, grad_output, grads);
  mt_release(grad_output);
  if (status == 0) {
    node->spent = true;
    node_drop_saved(node);
    status = distribute(node, grads, heap);
    if (status == 0 && node->counted) count_down(node);
    node_drop_edges(node);
    node_drop_context(node);
  } else {
    for (int i = 0; i < node->n_inputs; i++) mt_release(grads[i]);
  }
  if (grads != on_stack) free(grads);
  return status;
}

int mt_backward(mt_tensor *root, mt_tensor *grad_output) {
  char text[MT_SHAPE_TEXT];
  if (!root->requires_grad)
    return mt_fail(MT_ERROR_ARGUMENT,
                   "backward: the tensor does not require gradients (nothing was recorded on the way to it)");
  mt_tensor *seed = NULL;
  if (grad_output) {
    if (mt_expect_dtype(grad_output, MT_FLOAT32, "backward", "gradient") < 0 ||
        mt_expect_shape(grad_output, root->ndim, root->shape, "backward", "gradient") < 0)
      return -1;
    seed = mt_tensor_detach(grad_output); /* shared, so nothing writes to it, and a leaf takes a copy */
  } else if (root->count == 1) {
    seed = mt_tensor_full(MT_FLOAT32, root->ndim, root->shape, 1.0);
  } else {
    return mt_fail(MT_ERROR_ARGUMENT, "backward: a tensor of shape %s is not a scalar; give a gradient of its shape",
                   mt_shape_text(root->ndim, root->shape, text));
  }
  if (!seed) return -1;
  if (!root->node) return accumulate_leaf(root, seed);
  if (root->node->grad) {
    mt_release(seed);
    return mt_fail(MT_ERROR_ARGUMENT, "backward: the graph through %s is being walked already", root->node->op->name);
  }

  if (watcher.complete && count_uses(root->node) < 0) {
    mt_release(seed);
    return -1;
  }
  const mt_grad_mode mode = grad_mode;
  grad_mode = MT_GRAD_OFF; /* backward functions may use operations; nothing of theirs is recorded */
  node_list heap = {0};
  mt_retain(root); /* a backward function may be a script's, which can let go of it */
  int status = heap_push(&heap, root->node);
  if (status == 0)
    root->node->grad = seed;
  else
    mt_release(seed);
  while (status == 0 && heap.count > 0) {
    mt_node *node = heap_pop(&heap);
    status = visit(node, &heap);
    node_release(node);
  }
  for (size_t i = 0; i < heap.count; i++) { /* after an error: gradients that found no taker */
    mt_release(heap.items[i]->grad);
    heap.items[i]->grad = NULL;
    node_release(heap.items[i]);
  }
  free(heap.items);
  grad_mode = mode;
  mt_release(root);
  return status;
}
