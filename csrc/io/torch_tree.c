/* A module keeps its tensors in three dicts among its attributes: _parameters, _buffers and, for its parts, _modules.
 * That is all that its state_dict() looks at, so nothing has to be run. */
#include "io/torch_tree.h"

#include <stdio.h>
#include <string.h>

#include "core/error.h"

#define MAX_DEPTH 64
#define MAX_WORK ((size_t)1 << 22) /* entries looked at, those of a module that stands in several places at each */

int mt_torch_parts(const mt_pickle_value *value, const mt_pickle_items *parts[MT_TORCH_PARTS]) {
  int count = 0;
  if (value->kind == MT_PICKLE_DICT) parts[count++] = value->items;
  if (value->kind != MT_PICKLE_INSTANCE) return count;
  const mt_pickle_value *state = &value->items->values[MT_PICKLE_STATE];
  const mt_pickle_value *entries = &value->items->values[MT_PICKLE_ENTRIES];
  if (entries->kind == MT_PICKLE_DICT) parts[count++] = entries->items;
  if (state->kind == MT_PICKLE_DICT) parts[count++] = state->items;
  if (state->kind != MT_PICKLE_TUPLE || state->items->count != 2) return count;
  for (int i = 0; i < 2; i++) /* attributes, and those in slots */
    if (state->items->values[i].kind == MT_PICKLE_DICT && count < MT_TORCH_PARTS)
      parts[count++] = state->items->values[i].items;
  return count;
}

const mt_pickle_value *mt_torch_find(const mt_pickle_value *value, const char *name) {
  const mt_pickle_items *parts[MT_TORCH_PARTS];
  const int count = mt_torch_parts(value, parts);
  for (int p = 0; p < count; p++)
    for (size_t i = parts[p]->count; i >= 2; i -= 2)
      if (mt_pickle_is_text(&parts[p]->values[i - 2], name)) return &parts[p]->values[i - 1];
  return NULL;
}

const char *mt_torch_key(const mt_pickle_value *key, char digits[24], size_t *size) {
  if (key->kind == MT_PICKLE_INTEGER) {
    *size = (size_t)snprintf(digits, 24, "%lld", (long long)key->integer);
    return digits;
  }
  if (key->kind != MT_PICKLE_STRING || memchr(key->text, '\0', key->size)) return NULL;
  *size = key->size;
  return key->text;
}

/* ---- modules ---- */

static const mt_pickle_value *find_dict(const mt_pickle_value *value, const char *name) {
  const mt_pickle_value *found = mt_torch_find(value, name);
  return found && found->kind == MT_PICKLE_DICT ? found : NULL;
}

bool mt_torch_is_module(const mt_pickle_value *value) {
  return value->kind == MT_PICKLE_INSTANCE && find_dict(value, "_modules") && find_dict(value, "_parameters");
}

typedef struct {
  const mt_torch_objects *o;
  int (*visit)(void *context, const char *name, const mt_torch_tensor *t);
  void *context;
  char path[MT_TORCH_PATH]; /* of the module at hand, with a dot at its end */
  size_t work;
} module_walk;

/* The path with one more name; -1 with an error when it is too long. Names that are none are passed over: 0. */
static int extend_path(module_walk *w, size_t length, const mt_pickle_value *key, const char *end) {
  char digits[24];
  size_t size = 0;
  const char *name = mt_torch_key(key, digits, &size);
  if (!name) return 0;
  if (length + size + 2 > sizeof w->path)
    return mt_fail(MT_ERROR_FORMAT, "load: '%s': a name in a module has more than %d bytes", w->o->path, MT_TORCH_PATH);
  memcpy(w->path + length, name, size);
  strcpy(w->path + length + size, end);
  return 1;
}

static bool is_listed(const mt_pickle_value *list, const mt_pickle_value *key) {
  if (!list || list->kind != MT_PICKLE_LIST) return false;
  for (size_t i = 0; i < list->items->count; i++) {
    const mt_pickle_value *v = &list->items->values[i];
    if (v->kind == MT_PICKLE_STRING && v->size == key->size && memcmp(v->text, key->text, v->size) == 0) return true;
  }
  return false;
}

/* The tensors of one of the module's own dicts but for those that are listed in `except` (NULL: none). */
static int visit_tensors(module_walk *w, size_t length, const mt_pickle_value *dict, const mt_pickle_value *except) {
  for (size_t i = 0; dict && i < dict->items->count; i += 2) {
    const mt_pickle_value *key = &dict->items->values[i];
    const mt_torch_tensor *t = mt_torch_tensor_of(w->o, key + 1);
    w->work += except && except->kind == MT_PICKLE_LIST ? except->items->count : 1;
    if (!t || (key->kind == MT_PICKLE_STRING && is_listed(except, key))) continue;
    int status = extend_path(w, length, key, "");
    if (status == 1) status = w->visit(w->context, w->path, t);
    if (status != 0) return status;
  }
  return 0;
}

/* Of what is no module there is nothing to visit. */
static int visit_module(module_walk *w, const mt_pickle_value *module, size_t length, int depth) {
  const mt_pickle_items *parts[MT_TORCH_PARTS];
  const int count = mt_torch_parts(module, parts);
  for (int p = 0; p < count; p++) w->work += parts[p]->count;
  if (depth > MAX_DEPTH || ++w->work > MAX_WORK)
    return mt_fail(MT_ERROR_FORMAT, "load: '%s': a module has too many parts, or more than %d levels of them",
                   w->o->path, MAX_DEPTH);
  if (!mt_torch_is_module(module)) return 0;
  int status = visit_tensors(w, length, find_dict(module, "_parameters"), NULL);
  if (status == 0)
    status =
        visit_tensors(w, length, find_dict(module, "_buffers"), mt_torch_find(module, "_non_persistent_buffers_set"));
  const mt_pickle_items *children = find_dict(module, "_modules")->items;
  for (size_t i = 0; status == 0 && i < children->count; i += 2) {
    status = extend_path(w, length, &children->values[i], ".");
    if (status == 1) status = visit_module(w, &children->values[i + 1], strlen(w->path), depth + 1);
  }
  return status;
}

int mt_torch_walk_module(const mt_torch_objects *o, const mt_pickle_value *module,
                         int (*visit)(void *context, const char *name, const mt_torch_tensor *t), void *context) {
  module_walk w = {.o = o, .visit = visit, .context = context};
  return visit_module(&w, module, 0, 1);
}
