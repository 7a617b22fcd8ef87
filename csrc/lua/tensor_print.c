/* tostring(tensor): a line saying what it is, then the values in columns. Only the values that are shown are looked at,
 * so a huge tensor prints as fast as a small one. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lua/tensor.h"

#define ELIDE_FROM 1000 /* elements: beyond, long axes show their ends only */
#define EDGE 3          /* elements shown at each end */
#define LINE_WIDTH 100

typedef enum { INTEGERS, WHOLE, FIXED, SCIENTIFIC } number_style;

typedef struct {
  const mt_tensor *t;
  luaL_Buffer *out;
  number_style style;
  int width;
  bool elided;
} printer;

static void format_number(const printer *p, int64_t at, char text[32]) {
  if (p->t->dtype != MT_FLOAT32) {
    snprintf(text, 32, "%d", p->t->dtype == MT_UINT8 ? mt_u8(p->t)[at] : mt_i32(p->t)[at]);
    return;
  }
  const double value = mt_f32(p->t)[at];
  if (isnan(value))
    snprintf(text, 32, "nan");
  else if (isinf(value))
    snprintf(text, 32, value > 0 ? "inf" : "-inf");
  else
    snprintf(text, 32, p->style == WHOLE ? "%.0f." : p->style == FIXED ? "%.4f" : "%.4e", value);
}

/* ---- which elements are shown ---- */

static bool skips(const printer *p, int64_t i, int64_t n) { return p->elided && i == EDGE && n > 2 * EDGE; }

typedef struct {
  double largest, smallest; /* magnitudes of finite values other than 0 */
  bool whole;
  size_t width;
} survey;

static void survey_magnitudes(const printer *p, int64_t at, survey *s) {
  const double value = fabs(mt_f32(p->t)[at]);
  if (!isfinite(value) || value == 0.0) return;
  s->largest = value > s->largest ? value : s->largest;
  s->smallest = value < s->smallest ? value : s->smallest;
  s->whole = s->whole && value == floor(value);
}

static void survey_width(const printer *p, int64_t at, survey *s) {
  char text[32];
  format_number(p, at, text);
  if (strlen(text) > s->width) s->width = strlen(text);
}

typedef void (*survey_element)(const printer *p, int64_t at, survey *s);

static void survey_shown(const printer *p, int axis, int64_t at, int64_t count, survey_element visit, survey *s) {
  if (axis == p->t->ndim) {
    visit(p, at, s);
    return;
  }
  const int64_t n = p->t->shape[axis], inner = count / n;
  for (int64_t i = 0; i < n; i++) {
    if (skips(p, i, n)) i = n - EDGE;
    survey_shown(p, axis + 1, at + i * inner, inner, visit, s);
  }
}

static void choose_style(printer *p) {
  survey s = {.smallest = INFINITY, .whole = true};
  if (p->t->dtype == MT_FLOAT32) {
    survey_shown(p, 0, 0, p->t->count, survey_magnitudes, &s);
    const bool wide = s.largest > 0.0 && (s.largest >= 1e8 || s.smallest < 1e-4 || s.largest / s.smallest > 1e5);
    p->style = s.whole ? s.largest >= 1e8 ? SCIENTIFIC : WHOLE : wide ? SCIENTIFIC : FIXED;
  }
  survey_shown(p, 0, 0, p->t->count, survey_width, &s);
  p->width = (int)s.width;
}

/* ---- output ---- */

static void add_indent(const printer *p, int axis) {
  luaL_addchar(p->out, '\n');
  for (int i = 0; i < axis; i++) luaL_addchar(p->out, ' ');
}

static void add_number(const printer *p, int64_t at) {
  char text[32];
  format_number(p, at, text);
  for (int pad = p->width - (int)strlen(text); pad > 0; pad--) luaL_addchar(p->out, ' ');
  luaL_addstring(p->out, text);
}

/* The innermost axis, broken into lines. */
static void add_row(const printer *p, int64_t at, int64_t n) {
  const int per_line = (LINE_WIDTH - p->t->ndim) / (p->width + 2) > 0 ? (LINE_WIDTH - p->t->ndim) / (p->width + 2) : 1;
  int on_line = 0;
  for (int64_t i = 0; i < n; i++) {
    if (i > 0) luaL_addchar(p->out, ',');
    if (on_line++ == per_line) {
      add_indent(p, p->t->ndim);
      on_line = 1;
    } else if (i > 0) {
      luaL_addchar(p->out, ' ');
    }
    if (skips(p, i, n)) {
      luaL_addstring(p->out, "..., ");
      i = n - EDGE;
    }
    add_number(p, at + i);
  }
}

static void add_axis(const printer *p, int axis, int64_t at, int64_t count) {
  const int64_t n = p->t->shape[axis], inner = count / n;
  luaL_addchar(p->out, '{');
  if (axis == p->t->ndim - 1) {
    add_row(p, at, n);
  } else {
    for (int64_t i = 0; i < n; i++) {
      if (i > 0) luaL_addchar(p->out, ',');
      if (skips(p, i, n)) {
        add_indent(p, axis + 1);
        luaL_addstring(p->out, "...,");
        i = n - EDGE;
      }
      if (i > 0) add_indent(p, axis + 1);
      add_axis(p, axis + 1, at + i * inner, inner);
    }
  }
  luaL_addchar(p->out, '}');
}

static void add_values(printer *p) {
  if (p->t->count == 0) {
    luaL_addstring(p->out, ", empty");
    return;
  }
  choose_style(p);
  if (p->t->ndim == 0) {
    p->width = 0;
    luaL_addstring(p->out, ": ");
    add_number(p, 0);
  } else {
    luaL_addchar(p->out, '\n');
    add_axis(p, 0, 0, p->t->count);
  }
}

int mtl_tensor_tostring(lua_State *L) {
  const mt_tensor *t = mtl_check_tensor(L, 1);
  char shape[MT_SHAPE_TEXT];
  luaL_Buffer out;
  luaL_buffinit(L, &out);
  luaL_addstring(&out, mt_dtype_name(t->dtype));
  luaL_addchar(&out, ' ');
  luaL_addstring(&out, mt_shape_text(t->ndim, t->shape, shape));
  if (t->requires_grad) luaL_addstring(&out, ", requires_grad");
  printer p = {.t = t, .out = &out, .style = INTEGERS, .elided = t->count > ELIDE_FROM};
  add_values(&p);
  luaL_pushresult(&out);
  return 1;
}
