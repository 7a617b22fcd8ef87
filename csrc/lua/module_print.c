/* print(model): the tree as PyTorch prints it, with the number of parameters of every layer that has its own, and
 * whether they are frozen. */
#include <stdio.h>
#include <string.h>

#include "lua/module.h"

#define INDENT 2
#define LINE_SIZE 512

static int64_t own_parameters(const mt_module *m) {
  int64_t total = 0;
  for (int i = 0; i < m->n_slots; i++)
    if (!m->slots[i].is_buffer) total += m->slots[i].tensor->count;
  return total;
}

/* 148946 as "148,946". */
static const char *grouped(int64_t n, char text[32]) {
  char digits[32];
  const int length = snprintf(digits, sizeof digits, "%lld", (long long)n);
  int used = 0;
  for (int i = 0; i < length; i++) {
    if (i > 0 && (length - i) % 3 == 0) text[used++] = ',';
    text[used++] = digits[i];
  }
  text[used] = '\0';
  return text;
}

/* "    (0): Conv2d(3, 16, kernel 3x3)"; a module with children leaves the bracket open. Returns the length. */
static int first_line(const mt_module *m, const char *name, int depth, char line[LINE_SIZE]) {
  char details[256] = "";
  if (m->cls->describe) m->cls->describe(m, details, sizeof details);
  const int indent = depth * INDENT;
  if (!name) return snprintf(line, LINE_SIZE, "%s(%s%s", m->cls->name, details, m->n_children ? "" : ")");
  return snprintf(line, LINE_SIZE, "%*s(%s): %s(%s%s", indent, "", name, m->cls->name, details,
                  m->n_children ? "" : ")");
}

static void measure(const mt_module *m, const char *name, int depth, int *widest) {
  char line[LINE_SIZE];
  const int length = first_line(m, name, depth, line);
  if (own_parameters(m) > 0 && length > *widest) *widest = length;
  for (int i = 0; i < m->n_children; i++) measure(m->children[i].module, m->children[i].name, depth + 1, widest);
}

/* What keeps a layer's own parameters from being trained as usual, if anything. */
static const char *restraint(const mt_module *m) {
  bool trained = false;
  for (int i = 0; i < m->n_slots; i++)
    trained = trained || (!m->slots[i].is_buffer && m->slots[i].tensor->requires_grad);
  if (m->frozen) return trained ? "  evaluation only" : "  frozen";
  return trained ? "" : "  no gradients";
}

static void add_count(luaL_Buffer *text, int used, int column, const mt_module *m) {
  char number[32], padded[LINE_SIZE];
  snprintf(padded, sizeof padded, "%*s%12s%s", column > used ? column - used : 0, "",
           grouped(own_parameters(m), number), restraint(m));
  luaL_addstring(text, padded);
}

static void add_tree(luaL_Buffer *text, const mt_module *m, const char *name, int depth, int column) {
  char line[LINE_SIZE];
  const int length = first_line(m, name, depth, line);
  luaL_addstring(text, line);
  if (own_parameters(m) > 0) add_count(text, length, column, m);
  luaL_addchar(text, '\n');
  if (m->n_children == 0) return;
  for (int i = 0; i < m->n_children; i++) add_tree(text, m->children[i].module, m->children[i].name, depth + 1, column);
  snprintf(line, sizeof line, "%*s)\n", depth * INDENT, "");
  luaL_addstring(text, line);
}

/* How many numbers the parameters of the module at 1 have, each counted once; *untrained: those without gradients. */
static int64_t count_parameters(lua_State *L, int64_t *untrained) {
  int64_t total = *untrained = 0;
  lua_getfield(L, 1, "parameters");
  lua_pushvalue(L, 1);
  lua_call(L, 1, 1);
  for (lua_Integer i = 1, n = (lua_Integer)lua_rawlen(L, -1); i <= n; i++) {
    lua_rawgeti(L, -1, i);
    const mt_tensor *t = mtl_check_tensor(L, -1);
    total += t->count;
    if (!t->requires_grad) *untrained += t->count;
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return total;
}

int mtl_module_tostring(lua_State *L) {
  const mt_module *m = mtl_check_tree(L, 1);
  luaL_Buffer text;
  char number[32];
  int column = 0;
  int64_t untrained;
  const int64_t total = count_parameters(L, &untrained);
  measure(m, NULL, 0, &column);
  luaL_buffinit(L, &text);
  add_tree(&text, m, NULL, 0, column);
  luaL_addstring(&text, grouped(total, number));
  luaL_addstring(&text, total == 1 ? " parameter" : " parameters");
  if (untrained > 0) {
    luaL_addstring(&text, ", ");
    luaL_addstring(&text, grouped(untrained, number));
    luaL_addstring(&text, " of them without gradients");
  }
  luaL_pushresult(&text);
  return 1;
}
