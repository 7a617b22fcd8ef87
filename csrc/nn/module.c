/* Life, names, walks and the forward pass of modules. The recursion here is bounded because a module's height is
 * frozen when it is attached to a parent: whoever is added below later must fit under it. */
#include "nn/module.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A script's forward may call modules of any tree, so nesting is bounded apart from the height. */
#define MAX_NESTING (2 * MT_MODULE_HEIGHT)
#define ROOM 4 /* the height, at least, of a module that may grow where it stands */

static uint64_t revision;

uint64_t mt_module_revision(void) { return revision; }

/* ---- life ---- */

mt_module *mt_module_new(const mt_module_class *cls, size_t state_size) {
  mt_module *m = calloc(1, sizeof *m);
  void *state = calloc(1, state_size + 1);
  if (!m || !state) {
    free(m);
    free(state);
    return mt_fail_null(MT_ERROR_MEMORY, "out of memory: cannot make a %s", cls->name);
  }
  m->refs = 1;
  m->cls = cls;
  m->training = true;
  m->height = 1;
  m->state = state;
  m->state_size = state_size;
  return m;
}

mt_module *mt_module_retain(mt_module *m) {
  m->refs++;
  return m;
}

void mt_module_release(mt_module *m) {
  if (!m || --m->refs > 0) return;
  for (int i = 0; i < m->n_slots; i++) mt_release(m->slots[i].tensor);
  for (int i = 0; i < m->n_children; i++) mt_module_release(m->children[i].module);
  for (int i = 0; i < 2; i++)
    if (m->plans[i]) m->free_plan(m->plans[i]);
  free(m->slots);
  free(m->children);
  free(m->state);
  free(m);
}

/* ---- names ---- */

static mt_slot *find_slot(const mt_module *m, const char *name) {
  for (int i = 0; i < m->n_slots; i++)
    if (strcmp(m->slots[i].name, name) == 0) return &m->slots[i];
  return NULL;
}

static mt_child *find_child(const mt_module *m, const char *name) {
  for (int i = 0; i < m->n_children; i++)
    if (strcmp(m->children[i].name, name) == 0) return &m->children[i];
  return NULL;
}

mt_tensor *mt_module_slot(const mt_module *m, const char *name) {
  const mt_slot *slot = find_slot(m, name);
  return slot ? slot->tensor : NULL;
}

mt_module *mt_module_child(const mt_module *m, const char *name) {
  const mt_child *child = find_child(m, name);
  return child ? child->module : NULL;
}

static int check_name(const mt_module *m, const char *name) {
  const size_t length = strlen(name);
  bool valid = length > 0 && length < MT_NAME_SIZE;
  for (size_t i = 0; valid && i < length; i++) valid = isalnum((unsigned char)name[i]) || name[i] == '_';
  if (!valid)
    return mt_fail(MT_ERROR_ARGUMENT, "%s: name is '%.80s', expected 1 to %d letters, digits or _", m->cls->name, name,
                   MT_NAME_SIZE - 1);
  if (find_slot(m, name) || find_child(m, name))
    return mt_fail(MT_ERROR_ARGUMENT, "%s: name '%s' is used twice", m->cls->name, name);
  return 0;
}

/* ---- composition ---- */

/* Room for one more item; NULL leaves the old array as it was. */
static void *grown(void *items, int count, size_t item_size, const char *class_name) {
  void *larger = realloc(items, ((size_t)count + 1) * item_size);
  if (!larger) mt_fail(MT_ERROR_MEMORY, "out of memory: cannot add to a %s", class_name);
  return larger;
}

int mt_module_add_slot(mt_module *m, const char *name, mt_tensor *tensor, mt_layout layout, bool is_buffer) {
  if (!tensor) return -1;
  mt_slot *slots = check_name(m, name) < 0 ? NULL : grown(m->slots, m->n_slots, sizeof *slots, m->cls->name);
  if (!slots) {
    mt_release(tensor);
    return -1;
  }
  m->slots = slots;
  mt_slot *slot = &slots[m->n_slots++];
  *slot = (mt_slot){.tensor = tensor, .layout = layout, .is_buffer = is_buffer};
  snprintf(slot->name, sizeof slot->name, "%s", name);
  if (!is_buffer) tensor->requires_grad = tensor->is_parameter = true;
  return 0;
}

static bool contains(const mt_module *tree, const mt_module *m) {
  if (tree == m) return true;
  for (int i = 0; i < tree->n_children; i++)
    if (contains(tree->children[i].module, m)) return true;
  return false;
}

/* Whether child may stand below m; if so, their heights allow for it. A child that grows gets room, as far as there is
 * any. */
static int check_fits(mt_module *m, mt_module *child) {
  const int most = m->attached ? m->height - 1 : MT_MODULE_HEIGHT - 1;
  const int wanted = child->grows && !child->attached && child->height < ROOM ? ROOM : child->height;
  if (contains(child, m)) return mt_fail(MT_ERROR_ARGUMENT, "%s: a module cannot stand inside itself", m->cls->name);
  if (child->height >= MT_MODULE_HEIGHT)
    return mt_fail(MT_ERROR_ARGUMENT, "%s: modules are nested %d deep, expected at most %d", m->cls->name,
                   child->height + 1, MT_MODULE_HEIGHT);
  if (child->height > most)
    return mt_fail(MT_ERROR_ARGUMENT,
                   "%s: the new child is %d levels deep, expected at most %d below a module that already has a parent",
                   m->cls->name, child->height, most);
  child->height = wanted < most ? wanted : most;
  if (m->height <= child->height) m->height = child->height + 1;
  return 0;
}

int mt_module_add_child(mt_module *m, const char *name, mt_module *child) {
  if (check_name(m, name) < 0 || check_fits(m, child) < 0) return -1;
  mt_child *children = grown(m->children, m->n_children, sizeof *children, m->cls->name);
  if (!children) return -1;
  m->children = children;
  mt_child *place = &children[m->n_children++];
  snprintf(place->name, sizeof place->name, "%s", name);
  place->module = mt_module_retain(child);
  child->attached = true;
  revision++;
  return 0;
}

int mt_module_replace_child(mt_module *m, const char *name, mt_module *child) {
  mt_child *place = find_child(m, name);
  if (!place) return mt_fail(MT_ERROR_ARGUMENT, "%s: no child is called '%.80s'", m->cls->name, name);
  if (check_fits(m, child) < 0) return -1;
  mt_module *old = place->module;
  place->module = mt_module_retain(child);
  child->attached = true;
  revision++;
  mt_module_release(old);
  return 0;
}

mt_module *mt_module_copy_bare(const mt_module *m) {
  mt_module *copy = mt_module_new(m->cls, m->state_size);
  if (!copy) return NULL;
  memcpy(copy->state, m->state, m->state_size);
  copy->training = m->training;
  copy->grows = m->grows;
  copy->frozen = m->frozen;
  for (int i = 0; i < m->n_slots; i++) {
    const mt_slot *slot = &m->slots[i];
    if (mt_module_add_slot(copy, slot->name, mt_tensor_copy(slot->tensor), slot->layout, slot->is_buffer) < 0) {
      mt_module_release(copy);
      return NULL;
    }
    copy->slots[i].tensor->requires_grad = slot->tensor->requires_grad;
  }
  return copy;
}

/* ---- walks ---- */

/* Appends ".name" (or "name" to an empty path); returns the new length, -1 when it does not fit. */
static int extend_path(char path[MT_PATH_SIZE], int length, const char *name) {
  const int added = snprintf(path + length, (size_t)(MT_PATH_SIZE - length), length ? ".%s" : "%s", name);
  if (added < MT_PATH_SIZE - length) return length + added;
  return mt_fail(MT_ERROR_ARGUMENT, "module: the path %.100s... is longer than %d characters", path, MT_PATH_SIZE - 1);
}

typedef int module_visitor(mt_module *m, const char *path, void *context);

static int walk(mt_module *m, char path[MT_PATH_SIZE], int length, module_visitor *visit, void *context) {
  int result = visit(m, path, context);
  for (int i = 0; result == 0 && i < m->n_children; i++) {
    const int extended = extend_path(path, length, m->children[i].name);
    if (extended < 0) return -1;
    result = walk(m->children[i].module, path, extended, visit, context);
    path[length] = '\0';
  }
  return result;
}

int mt_module_walk(mt_module *root, int (*visit)(mt_module *m, const char *path, void *context), void *context) {
  char path[MT_PATH_SIZE] = "";
  return walk(root, path, 0, visit, context);
}

typedef struct {
  int (*visit)(mt_slot *slot, const char *path, void *context);
  void *context;
} slot_walk;

static int visit_slots(mt_module *m, const char *module_path, void *context) {
  const slot_walk *w = context;
  char path[MT_PATH_SIZE];
  const int length = snprintf(path, sizeof path, "%s", module_path);
  int result = 0;
  for (int i = 0; result == 0 && i < m->n_slots; i++) {
    if (extend_path(path, length, m->slots[i].name) < 0) return -1;
    result = w->visit(&m->slots[i], path, w->context);
  }
  return result;
}

int mt_module_walk_slots(mt_module *root, int (*visit)(mt_slot *slot, const char *path, void *context), void *context) {
  slot_walk w = {.visit = visit, .context = context};
  return mt_module_walk(root, visit_slots, &w);
}

void mt_module_train(mt_module *m, bool training) {
  m->training = training;
  for (int i = 0; i < m->n_children; i++) mt_module_train(m->children[i].module, training);
}

/* ---- find ---- */

static mt_module *fail_not_found(const mt_module *m, const char *path, const char *name) {
  char names[512] = "no children";
  size_t used = 0;
  for (int i = 0; i < m->n_children && used < sizeof names; i++)
    used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", m->children[i].name);
  return mt_fail_null(MT_ERROR_ARGUMENT, "module '%.200s' not found: no '%s' in this %s, which has %s", path, name,
                      m->cls->name, names);
}

mt_module *mt_module_find(mt_module *root, const char *path) {
  mt_module *m = root;
  const char *rest = path;
  while (*rest) {
    char name[MT_NAME_SIZE];
    const size_t length = strcspn(rest, ".");
    snprintf(name, sizeof name, "%.*s", length < MT_NAME_SIZE ? (int)length : MT_NAME_SIZE - 1, rest);
    mt_child *child = length < MT_NAME_SIZE ? find_child(m, name) : NULL;
    const bool ends_in_dot = rest[length] == '.' && rest[length + 1] == '\0';
    if (!child || ends_in_dot) return fail_not_found(child ? child->module : m, path, child ? "" : name);
    m = child->module;
    rest += length + (rest[length] == '.');
  }
  return m;
}

/* ---- forward ---- */

mt_tensor *mt_module_forward(mt_module *m, mt_tensor *input) {
  static int nesting;
  if (nesting == MAX_NESTING)
    return mt_fail_null(MT_ERROR_ARGUMENT, "%s: forward passes are nested more than %d deep; does one call itself?",
                        m->cls->name, MAX_NESTING);
  nesting++;
  mt_tensor *output = m->cls->forward(m, input);
  nesting--;
  return mt_module_finish(m, output);
}
