#include "nn/capture.h"

#include <stdlib.h>
#include <string.h>

#include "autograd/tape.h"
#include "nn/plan.h"
#include "ops/reduce.h"

/* ---- the tap on a layer ---- */

static mt_capture *current; /* while its forward pass runs */

static mt_layer_tap *tap_on(const mt_module *m) {
  for (int i = 0; current && i < current->count; i++)
    if (current->taps[i].module == m) return &current->taps[i];
  return NULL;
}

const mt_module *mt_captured_module(int i) { return current && i < current->count ? current->taps[i].module : NULL; }

/* y = x, with a leaf beside x that gets the same gradient. */
static int tap_backward(mt_node *node, mt_tensor *grad_output, mt_tensor **grads) {
  for (int i = 0; i < node->n_inputs; i++)
    if (node->needs[i]) grads[i] = mt_retain(grad_output);
  return 0;
}

static const mt_op tap_op = {.name = "capture", .backward = tap_backward};

/* Notes the value; returns what goes on. */
static mt_tensor *tapped(mt_layer_tap *tap, mt_tensor *output) {
  if (tap->replacement && mt_expect_shape(tap->replacement, output->ndim, output->shape, "capture", "replacement") < 0)
    return NULL;
  mt_tensor *value = tap->value = mt_tensor_detach(tap->replacement ? tap->replacement : output);
  if (!value) return NULL;
  if (!current->gradients || value->dtype != MT_FLOAT32) return mt_retain(value);
  value->requires_grad = true;
  mt_grad_mode_set(MT_GRAD_ACTIVATIONS);
  mt_tensor *inputs[] = {tap->replacement ? NULL : output, value};
  return mt_recorded(mt_tensor_detach(value), &tap_op, 2, inputs, 0, NULL, NULL, 0);
}

mt_tensor *mt_module_finish(mt_module *m, mt_tensor *output) {
  mt_layer_tap *tap = output ? tap_on(m) : NULL;
  if (!tap || tap->runs++ > 0) return output;
  mt_tensor *goes_on = tapped(tap, output);
  mt_release(output);
  return goes_on;
}

/* ---- the modes of a net ---- */

typedef struct {
  mt_module *module;
  bool training;
} mode_record;

typedef struct {
  mode_record *records;
  size_t count, capacity;
} mode_list;

static int record_mode(mt_module *m, const char *path, void *context) {
  mode_list *list = context;
  (void)path;
  if (list->count == list->capacity) {
    const size_t capacity = list->capacity ? 2 * list->capacity : 64;
    mode_record *records = realloc(list->records, capacity * sizeof *records);
    if (!records) return mt_fail(MT_ERROR_MEMORY, "out of memory: capture cannot list the modules");
    list->records = records;
    list->capacity = capacity;
  }
  list->records[list->count++] = (mode_record){mt_module_retain(m), m->training};
  return 0;
}

static void restore_modes(mode_list *list) {
  for (size_t i = 0; i < list->count; i++) {
    list->records[i].module->training = list->records[i].training;
    mt_module_release(list->records[i].module);
  }
  free(list->records);
}

/* ---- the part of a net behind a layer ---- */

static int occurrences(const mt_module *tree, const mt_module *m) {
  int count = tree == m;
  for (int i = 0; i < tree->n_children; i++) count += occurrences(tree->children[i].module, m);
  return count;
}

static int child_with(const mt_module *parent, const mt_module *m) {
  int i = 0;
  while (i < parent->n_children && occurrences(parent->children[i].module, m) == 0) i++;
  return i;
}

/* Whether nothing but Sequentials stand between the tree's root and m, which is in it once: then what the tree makes of
 * m's output follows from that output alone. */
static bool can_go_on_from(const mt_module *tree, const mt_module *m) {
  while (tree != m && tree->cls->kind == MT_KIND_SEQUENTIAL && occurrences(tree, m) == 1)
    tree = tree->children[child_with(tree, m)].module;
  return tree == m;
}

static mt_tensor *go_on_from(mt_module *tree, const mt_module *m, mt_tensor *value) {
  if (tree == m) return mt_retain(value);
  const int i = child_with(tree, m);
  mt_tensor *x = go_on_from(tree->children[i].module, m, value);
  mt_tensor *output = x ? mt_plan_run_after(tree, i, x) : NULL;
  mt_release(x);
  return output;
}

/* The images, one of them repeated where it stands for all of a replacement's values. */
static mt_tensor *repeated(mt_tensor *images, const mt_tensor *replacement) {
  if (images->ndim != 4 || images->shape[0] != 1 || replacement->ndim == 0) return mt_retain(images);
  const int64_t shape[] = {replacement->shape[0], images->shape[1], images->shape[2], images->shape[3]};
  return mt_expand(images, 4, shape);
}

static mt_tensor *run_replaced(mt_layer_tap *tap, mt_module *model, mt_tensor *images) {
  if (can_go_on_from(model, tap->module)) {
    mt_tensor *value = tapped(tap, tap->replacement);
    mt_tensor *output = value ? go_on_from(model, tap->module, value) : NULL;
    tap->runs = 1;
    mt_release(value);
    return output;
  }
  mt_tensor *batch = repeated(images, tap->replacement);
  mt_tensor *output = batch ? mt_module_forward(model, batch) : NULL;
  mt_release(batch);
  return output;
}

/* ---- forward ---- */

void mt_capture_release(mt_capture *capture) {
  for (int i = 0; i < capture->count; i++) {
    mt_release(capture->taps[i].value);
    capture->taps[i].value = NULL;
    capture->taps[i].runs = 0;
  }
}

static mt_tensor *run(mt_capture *capture, mt_module *model, mt_tensor *images) {
  mt_capture *outer = current;
  const mt_grad_mode mode = mt_grad_mode_get();
  current = capture;
  mt_grad_mode_set(capture->gradients && images->requires_grad ? MT_GRAD_ACTIVATIONS : MT_GRAD_OFF);
  mt_tensor *output = capture->count == 1 && capture->taps->replacement ? run_replaced(capture->taps, model, images)
                                                                        : mt_module_forward(model, images);
  mt_grad_mode_set(mode);
  current = outer;
  return output;
}

mt_tensor *mt_capture_forward(mt_capture *capture, mt_module *model, mt_tensor *images) {
  mode_list modes = {0};
  mt_tensor *output = NULL;
  mt_capture_release(capture);
  if (mt_module_walk(model, record_mode, &modes) == 0) {
    mt_module_train(model, false);
    output = run(capture, model, images);
  }
  restore_modes(&modes);
  if (!output) mt_capture_release(capture);
  return output;
}
