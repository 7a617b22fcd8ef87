/* The object is walked breadth first, each container once: it may contain itself. Every container with names is a node;
 * those that hold tensors are the candidates. */
#include "io/torch_choose.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "io/json.h"
#include "io/torch_tree.h"

#define MAX_LISTED 6
#define MAX_DEPTH 32
#define NONE SIZE_MAX

#define fail_choice(s, format, ...) mt_fail(MT_ERROR_FORMAT, "load: '%s': " format, (s)->o->path, __VA_ARGS__)

static const char *const weight_names[] = {
    "state_dict", "model_state_dict", "model_state", "model_weights", "net_state_dict", "model",   "net",
    "network",    "module",           "weights",     "params",        "state",          "student", "online_model",
};
static const char *const average_names[] = {
    "state_dict_ema",
    "model_state_dict_ema",
    "ema_state_dict",
    "ema_model_state_dict",
    "model_ema",
    "ema_model",
    "net_ema",
    "params_ema",
    "ema",
    "average_model",
    "averaged_model",
    "teacher",
};
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

typedef enum { KNOWN, KNOWN_AVERAGE, UNKNOWN } standing;

typedef struct {
  const mt_pickle_value *value;
  size_t parent;              /* index of a node; NONE for the root */
  const mt_pickle_value *key; /* in a dict; NULL: an item of a list, or the root */
  size_t position;            /* in a list, from 1 on */
  int depth;
  bool averaged; /* some name on the way here is one for averaged weights */
  standing standing;
  size_t name; /* index in the list of its standing */
  bool opaque; /* a module, an optimiser: not looked into */
  size_t n_tensors;
  bool weighty; /* a tensor of floats, more than one: no mere counter */
} node;

typedef struct {
  const mt_torch_objects *o;
  node *nodes;
  size_t count, capacity;
} search;

/* ---- texts ---- */

typedef struct {
  char text[1024];
  size_t used;
} line;

static void add_text(line *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add_text(line *l, const char *format, ...) {
  va_list args;
  va_start(args, format);
  const int n = vsnprintf(l->text + l->used, sizeof l->text - l->used, format, args);
  va_end(args);
  if (n > 0) l->used += (size_t)n < sizeof l->text - l->used ? (size_t)n : sizeof l->text - l->used - 1;
}

/* "state_dict" for one level, "a.b" for more; "" for the root. False when it is too long. */
static bool path_of(const search *s, size_t index, char path[MT_TORCH_PATH]) {
  char digits[24];
  const node *n = &s->nodes[index];
  path[0] = '\0';
  if (n->parent == NONE) return true;
  if (!path_of(s, n->parent, path)) return false;
  size_t length = strlen(path), size = 0;
  const mt_pickle_value position = {.kind = MT_PICKLE_INTEGER, .integer = (int64_t)n->position};
  const char *name = mt_torch_key(n->key ? n->key : &position, digits, &size);
  if (length + size + 2 > MT_TORCH_PATH) return false;
  if (length > 0) path[length++] = '.';
  memcpy(path + length, name, size);
  path[length + size] = '\0';
  return true;
}

static void add_candidate(line *l, const search *s, size_t index) {
  char path[MT_TORCH_PATH];
  const node *n = &s->nodes[index];
  const char *plural = n->n_tensors == 1 ? "" : "s";
  path_of(s, index, path);
  add_text(l, "'%s' (%s%zu tensor%s)", path, n->parent == NONE ? "the top level, " : "", n->n_tensors, plural);
}

/* ---- the walk ---- */

static bool has_items(const mt_pickle_value *v) {
  return v->kind == MT_PICKLE_DICT || v->kind == MT_PICKLE_INSTANCE || v->kind == MT_PICKLE_LIST ||
         v->kind == MT_PICKLE_TUPLE;
}

/* Lists of numbers, of which there may be many, are no nodes. */
static bool is_of_interest(const mt_pickle_value *v) {
  if (!has_items(v) || v->items->seen) return false;
  if (v->kind == MT_PICKLE_DICT || v->kind == MT_PICKLE_INSTANCE) return true;
  for (size_t i = 0; i < v->items->count; i++)
    if (has_items(&v->items->values[i])) return true;
  v->items->seen = true;
  return false;
}

static size_t index_in(const char *const names[], size_t count, const mt_pickle_value *key) {
  size_t i = 0;
  while (i < count && !(key && mt_pickle_is_text(key, names[i]))) i++;
  return i;
}

static void set_standing(node *n) {
  const size_t weight = index_in(weight_names, COUNT(weight_names), n->key);
  const size_t average = index_in(average_names, COUNT(average_names), n->key);
  n->averaged = n->averaged || average < COUNT(average_names);
  n->name = average < COUNT(average_names) ? average : weight;
  n->standing = average == COUNT(average_names) && weight == COUNT(weight_names) ? UNKNOWN
                : n->averaged                                                    ? KNOWN_AVERAGE
                                                                                 : KNOWN;
}

static int add_node(search *s, node n) {
  if (s->count == s->capacity) {
    const size_t capacity = s->capacity ? 2 * s->capacity : 16;
    node *nodes = realloc(s->nodes, capacity * sizeof *nodes);
    if (!nodes) return mt_fail(MT_ERROR_MEMORY, "out of memory: load '%s'", s->o->path);
    s->nodes = nodes;
    s->capacity = capacity;
  }
  if (has_items(n.value)) n.value->items->seen = true;
  set_standing(&n);
  s->nodes[s->count++] = n;
  return 0;
}

/* key: NULL for an item of a list. */
static int add_child(search *s, size_t parent, const mt_pickle_value *value, const mt_pickle_value *key,
                     size_t position) {
  char digits[24];
  size_t size;
  const node *p = &s->nodes[parent];
  if (p->depth == MAX_DEPTH || (key && !mt_torch_key(key, digits, &size)) || !is_of_interest(value)) return 0;
  return add_node(s, (node){.value = value,
                            .parent = parent,
                            .key = key,
                            .position = position,
                            .depth = p->depth + 1,
                            .averaged = p->averaged});
}

static int count_tensor(void *context, const char *name, const mt_torch_tensor *t) {
  node *n = context;
  (void)name;
  n->n_tensors++;
  n->weighty = n->weighty || (t->format && t->format->dtype == MT_FLOAT32 && t->count > 1);
  return 0;
}

static bool is_optimizer(const mt_pickle_value *value) {
  return mt_torch_find(value, "param_groups") && mt_torch_find(value, "state");
}

static int look_into(search *s, size_t index) {
  const mt_pickle_items *parts[MT_TORCH_PARTS];
  const mt_pickle_value *value = s->nodes[index].value;
  if (value->kind == MT_PICKLE_LIST || value->kind == MT_PICKLE_TUPLE) {
    for (size_t i = 0; i < value->items->count; i++)
      if (add_child(s, index, &value->items->values[i], NULL, i + 1) < 0) return -1;
    return 0;
  }
  const bool is_module = mt_torch_is_module(value);
  s->nodes[index].opaque = is_module || is_optimizer(value);
  if (is_module) return mt_torch_walk_module(s->o, value, count_tensor, &s->nodes[index]);
  if (s->nodes[index].opaque) return 0;
  const int count = mt_torch_parts(value, parts);
  for (int p = 0; p < count; p++) {
    for (size_t i = 0; i < parts[p]->count; i += 2) {
      const mt_pickle_value *key = &parts[p]->values[i];
      const mt_torch_tensor *t = mt_torch_tensor_of(s->o, key + 1);
      if (t) count_tensor(&s->nodes[index], NULL, t);
      if (!t && add_child(s, index, key + 1, key, 0) < 0) return -1;
    }
  }
  return 0;
}

static int walk(search *s, const mt_pickle_value *root) {
  int status = add_node(s, (node){.value = root, .parent = NONE});
  for (size_t i = 0; status == 0 && i < s->count; i++) status = look_into(s, i);
  return status;
}

/* ---- the rule ---- */

static bool is_better(const node *a, const node *b) {
  if (a->standing != b->standing) return a->standing < b->standing;
  if (a->standing == UNKNOWN && a->n_tensors != b->n_tensors) return a->n_tensors > b->n_tensors;
  if (a->depth != b->depth) return a->depth < b->depth;
  return a->standing != UNKNOWN && a->name < b->name;
}

/* NONE where nothing holds tensors. */
static size_t best_of(const search *s) {
  size_t best = NONE;
  for (size_t i = 0; i < s->count; i++)
    if (s->nodes[i].n_tensors > 0 && (best == NONE || is_better(&s->nodes[i], &s->nodes[best]))) best = i;
  return best;
}

/* Lists the candidates but for one, those that are mere counters left out. Returns how many there are. */
static size_t list_candidates(line *l, const search *s, size_t except) {
  size_t count = 0;
  for (size_t i = 0; i < s->count; i++) {
    if (i == except || !s->nodes[i].weighty) continue;
    if (count++ >= MAX_LISTED) continue;
    if (count > 1) add_text(l, ", ");
    add_candidate(l, s, i);
  }
  if (count > MAX_LISTED) add_text(l, " and %zu more", count - MAX_LISTED);
  return count;
}

static int say_choice(const search *s, size_t best, mt_weights *out) {
  line taken = {0}, others = {0};
  add_candidate(&taken, s, best);
  if (list_candidates(&others, s, best) == 0) return 0;
  return mt_weights_add_notice(out, "load: '%s': took %s; also there: %s (option 'key' chooses)", s->o->path,
                               taken.text, others.text);
}

/* What there is instead of tensors. */
static int fail_without_tensors(const search *s) {
  const mt_pickle_value *root = s->nodes[0].value;
  const mt_pickle_items *parts[MT_TORCH_PARTS];
  line l = {0};
  size_t listed = 0;
  if (mt_torch_tensor_of(s->o, root)) return fail_choice(s, "%s", "it holds a tensor without a name");
  if (is_optimizer(root)) return fail_choice(s, "%s", "it holds the state of an optimiser, not of a model");
  add_text(&l, "%s", mt_pickle_kind_name(root->kind));
  if (root->kind == MT_PICKLE_INSTANCE && root->items->values[MT_PICKLE_CALLEE].kind == MT_PICKLE_CLASS)
    add_text(&l, " of %s", root->items->values[MT_PICKLE_CALLEE].text);
  const int count = mt_torch_parts(root, parts);
  for (int p = 0; p < count; p++) {
    for (size_t i = 0; i < parts[p]->count; i += 2) {
      const mt_pickle_value *key = &parts[p]->values[i];
      if (key->kind != MT_PICKLE_STRING || ++listed > MAX_LISTED) continue;
      add_text(&l, "%s'%.*s'", listed == 1 ? " with " : ", ", key->size < 64 ? (int)key->size : 64, key->text);
    }
  }
  if (listed > MAX_LISTED) add_text(&l, " and %zu more", listed - MAX_LISTED);
  return fail_choice(s, "it holds no named tensors: it is %s", l.text);
}

/* ---- the option key ---- */

/* The entry of a value whose name is the longest beginning of the path up to a dot or its end; *used: its length. */
static const mt_pickle_value *step_in(const mt_pickle_value *value, const char *path, size_t *used) {
  const mt_pickle_items *parts[MT_TORCH_PARTS];
  const mt_pickle_value *found = NULL;
  const int count = mt_torch_parts(value, parts);
  *used = 0;
  for (int p = 0; p < count; p++) {
    for (size_t i = 0; i < parts[p]->count; i += 2) {
      char digits[24];
      size_t size = 0;
      const char *name = mt_torch_key(&parts[p]->values[i], digits, &size);
      const bool begins = name && strncmp(path, name, size) == 0 && (path[size] == '.' || path[size] == '\0');
      if (!begins || (found && size < *used)) continue;
      found = &parts[p]->values[i + 1];
      *used = size;
    }
  }
  return found;
}

static const mt_pickle_value *item_of(const mt_pickle_value *list, const char *path, size_t *used) {
  char *end;
  const unsigned long long position = path[0] >= '1' && path[0] <= '9' ? strtoull(path, &end, 10) : 0;
  if (position == 0 || position > list->items->count || (*end != '.' && *end != '\0')) return NULL;
  *used = (size_t)(end - path);
  return &list->items->values[position - 1];
}

static const mt_pickle_value *next_on(const mt_pickle_value *value, const char *path, size_t *used) {
  if (value->kind == MT_PICKLE_LIST || value->kind == MT_PICKLE_TUPLE) return item_of(value, path, used);
  const mt_pickle_value *found = step_in(value, path, used);
  return found || !mt_torch_is_module(value) ? found : step_in(mt_torch_find(value, "_modules"), path, used);
}

static bool holds_tensors(const mt_torch_objects *o, const mt_pickle_value *value) {
  const mt_pickle_items *parts[MT_TORCH_PARTS];
  const int count = mt_torch_parts(value, parts);
  for (int p = 0; p < count; p++)
    for (size_t i = 1; i < parts[p]->count; i += 2)
      if (mt_torch_tensor_of(o, &parts[p]->values[i])) return true;
  return mt_torch_is_module(value);
}

/* NULL with an error that lists what can be chosen. */
static const mt_pickle_value *find_key(const search *s, const char *key) {
  const mt_pickle_value *value = s->nodes[0].value;
  const char *rest = key;
  while (value && *rest) {
    size_t used = 0;
    value = next_on(value, rest, &used);
    rest += used;
    rest += *rest == '.';
  }
  if (value && holds_tensors(s->o, value)) return value;
  line l = {0};
  const size_t count = list_candidates(&l, s, NONE);
  fail_choice(s, "option 'key': %s '%s', expected one of: %s", value ? "no tensors under" : "there is no", key,
              count ? l.text : "none, it holds no named tensors");
  return NULL;
}

/* ---- metadata ---- */

/* A number, boolean or string as text, to be freed; NULL with *status 0 for everything else. */
static char *scalar_text(const search *s, const mt_pickle_value *value, int *status) {
  char digits[64], *text;
  if (value->kind == MT_PICKLE_STRING) {
    if (memchr(value->text, '\0', value->size) || !mt_json_is_text(value->text, value->size)) return NULL;
    text = strndup(value->text, value->size);
  } else {
    switch (value->kind) {
      case MT_PICKLE_BOOLEAN:
        strcpy(digits, value->integer ? "true" : "false");
        break;
      case MT_PICKLE_INTEGER:
        snprintf(digits, sizeof digits, "%lld", (long long)value->integer);
        break;
      case MT_PICKLE_NUMBER:
        snprintf(digits, sizeof digits, "%.15g", value->number);
        if (strtod(digits, NULL) != value->number) snprintf(digits, sizeof digits, "%.17g", value->number);
        break;
      default:
        return NULL;
    }
    text = strdup(digits);
  }
  if (!text) *status = mt_fail(MT_ERROR_MEMORY, "out of memory: load '%s'", s->o->path);
  return text;
}

/* `path` has `length` bytes; the key's name goes behind them. */
static int add_scalar(const search *s, char path[MT_TORCH_PATH], size_t length, const mt_pickle_value *key,
                      mt_weights *out) {
  char digits[24];
  size_t size = 0;
  int status = 0;
  const char *name = mt_torch_key(key, digits, &size);
  if (!name || length + size + 2 > MT_TORCH_PATH) return 0;
  char *text = scalar_text(s, key + 1, &status);
  if (!text) return status;
  if (length > 0) path[length++] = '.';
  memcpy(path + length, name, size);
  path[length + size] = '\0';
  status = mt_weights_add_metadata(out, path, text);
  free(text);
  return status;
}

static int add_scalars(const search *s, size_t index, mt_weights *out) {
  char path[MT_TORCH_PATH];
  const mt_pickle_items *parts[MT_TORCH_PARTS];
  const int count = s->nodes[index].opaque ? 0 : mt_torch_parts(s->nodes[index].value, parts);
  if (count == 0 || !path_of(s, index, path)) return 0;
  const size_t length = strlen(path);
  for (int p = 0; p < count; p++)
    for (size_t i = 0; i < parts[p]->count; i += 2)
      if (add_scalar(s, path, length, &parts[p]->values[i], out) < 0) return -1;
  return 0;
}

static int add_metadata(const search *s, mt_weights *out) {
  for (size_t i = 0; i < s->count; i++)
    if (add_scalars(s, i, out) < 0) return -1;
  return 0;
}

/* ---- */

static const mt_pickle_value *choose(search *s, const mt_pickle_value *root, const mt_load_request *request,
                                     mt_weights *out) {
  if (walk(s, root) < 0) return NULL;
  if (request->metadata_only) return add_metadata(s, out) < 0 ? NULL : root;
  if (request->key) return find_key(s, request->key);
  const size_t best = best_of(s);
  if (best != NONE) return say_choice(s, best, out) < 0 ? NULL : s->nodes[best].value;
  const bool is_empty = (root->kind == MT_PICKLE_DICT && root->items->count == 0) || mt_torch_is_module(root);
  if (!is_empty) fail_without_tensors(s);
  return is_empty ? root : NULL;
}

const mt_pickle_value *mt_torch_choose(const mt_torch_objects *o, const mt_pickle_value *root,
                                       const mt_load_request *request, mt_weights *out) {
  search s = {.o = o};
  const mt_pickle_value *chosen = choose(&s, root, request, out);
  free(s.nodes);
  return chosen;
}
