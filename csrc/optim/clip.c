#include "optim/clip.h"

#include <math.h>
#include <stdlib.h>

#include "core/memory.h"
#include "core/threads.h"

#define PIECE 8192       /* values summed by one call */
#define PARALLEL_FROM 16 /* pieces */

static mt_tensor *grad_of(const mt_tensor *p) { return p->requires_grad ? p->grad : NULL; }

/* ---- the norm ---- */

typedef struct {
  double power;   /* INFINITY: the largest */
  double largest; /* what values are divided by first, so that no power of a finite one overflows */
} norm_rule;

/* NaN stays. */
static double larger(double a, double b) { return b > a || b != b ? b : a; }

static double largest_of(const float *g, int64_t n) {
  double largest = 0.0;
  for (int64_t i = 0; i < n; i++) largest = larger(largest, fabs((double)g[i]));
  return largest;
}

static double powers_of(const norm_rule *rule, const float *g, int64_t n) {
  double sums[4] = {0.0}; /* four at a time hide the latency of the additions */
  if (rule->power == 2.0) {
    for (int64_t i = 0; i < n; i++) sums[i & 3] += (double)g[i] * (double)g[i];
  } else if (rule->power == 1.0) {
    for (int64_t i = 0; i < n; i++) sums[i & 3] += fabs((double)g[i]);
  } else {
    for (int64_t i = 0; i < n; i++) sums[i & 3] += pow(fabs((double)g[i]) / rule->largest, rule->power);
  }
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

typedef struct {
  const norm_rule *rule;
  const mt_tensor *g;
  double *partial;
} norm_work;

static void norm_range(const void *context, int64_t begin, int64_t end) {
  const norm_work *w = context;
  for (int64_t i = begin; i < end; i++) {
    const int64_t left = w->g->count - i * PIECE, n = left < PIECE ? left : PIECE;
    const float *values = mt_f32(w->g) + i * PIECE;
    w->partial[i] = isinf(w->rule->power) ? largest_of(values, n) : powers_of(w->rule, values, n);
  }
}

/* partial[i] receives the sum of powers (or the largest value) of piece i of g. */
static void norm_pieces(const norm_rule *rule, const mt_tensor *g, double *partial) {
  const int64_t pieces = (g->count + PIECE - 1) / PIECE;
  mt_parallel(pieces, mt_chunk(pieces, 1, PARALLEL_FROM), norm_range, &(norm_work){rule, g, partial});
}

static int64_t most_pieces(mt_tensor *const *params, int count) {
  int64_t most = 0;
  for (int p = 0; p < count; p++) {
    const mt_tensor *g = grad_of(params[p]);
    if (g && g->count > most) most = g->count;
  }
  return (most + PIECE - 1) / PIECE;
}

static double gather(const norm_rule *rule, mt_tensor *const *params, int count, double *partial) {
  double total = 0.0;
  for (int p = 0; p < count; p++) {
    const mt_tensor *g = grad_of(params[p]);
    if (!g) continue;
    norm_pieces(rule, g, partial);
    for (int64_t i = 0; i < (g->count + PIECE - 1) / PIECE; i++)
      total = isinf(rule->power) ? larger(total, partial[i]) : total + partial[i];
  }
  return total;
}

int mt_grad_norm(mt_tensor *const *params, int count, double norm_type, double *norm) {
  double *partial = mt_alloc((size_t)most_pieces(params, count) * sizeof *partial);
  if (!partial) return -1;
  norm_rule rule = {.power = norm_type, .largest = 1.0};
  const bool scales = norm_type != 2.0 && norm_type != 1.0;
  if (scales) rule.largest = gather(&(norm_rule){.power = INFINITY}, params, count, partial);
  if (isinf(norm_type) || (scales && (rule.largest == 0.0 || !isfinite(rule.largest)))) {
    *norm = rule.largest;
  } else {
    const double sum = gather(&rule, params, count, partial);
    *norm = norm_type == 2.0 ? sqrt(sum) : norm_type == 1.0 ? sum : rule.largest * pow(sum, 1.0 / norm_type);
  }
  mt_free(partial);
  return 0;
}

int mt_first_nonfinite_grad(mt_tensor *const *params, int count) {
  for (int p = 0; p < count; p++) {
    const mt_tensor *g = grad_of(params[p]);
    for (int64_t i = 0; g && i < g->count; i++)
      if (!isfinite(mt_f32(g)[i])) return p;
  }
  return -1;
}

/* ---- clipping ---- */

/* Each value times `factor`, or held between -factor and factor. */
typedef struct {
  float *values;
  float factor;
} clipping;

static void scale_range(const void *context, int64_t begin, int64_t end) {
  const clipping *c = context;
  for (int64_t i = begin; i < end; i++) c->values[i] *= c->factor;
}

static void clip_range(const void *context, int64_t begin, int64_t end) {
  const clipping *c = context;
  const float high = c->factor, low = -high;
  for (int64_t i = begin; i < end; i++) {
    const float raised = c->values[i] < low ? low : c->values[i];
    c->values[i] = raised > high ? high : raised;
  }
}

void mt_scale_grads(mt_tensor *const *params, int count, double max_norm, double norm) {
  const float factor = (float)(max_norm / (norm + 1e-6));
  if (factor >= 1.0f) return;
  for (int p = 0; p < count; p++) {
    mt_tensor *g = grad_of(params[p]);
    if (!g) continue;
    mt_parallel(g->count, mt_chunk(g->count, 1, PARALLEL_FROM * PIECE), scale_range, &(clipping){mt_f32(g), factor});
    mt_touch(g);
  }
}

void mt_clip_grad_value(mt_tensor *const *params, int count, double limit) {
  for (int p = 0; p < count; p++) {
    mt_tensor *g = grad_of(params[p]);
    if (!g) continue;
    mt_parallel(g->count, mt_chunk(g->count, 1, PARALLEL_FROM * PIECE), clip_range,
                &(clipping){mt_f32(g), (float)limit});
    mt_touch(g);
  }
}
