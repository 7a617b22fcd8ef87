/* One equation for each masked pixel: (sum of the weights inside the image) x - sum over masked neighbours of w x' =
 * sum over kept neighbours of w x'. The matrix A is symmetric, and positive definite as soon as one pixel of the image
 * is kept, so conjugate gradients solve it; all channels go along together, each with step widths of its own.
 *
 * They are preconditioned with a modified incomplete Cholesky factor (Gustafsson 1978): M = (D + L) D^-1 (D + L'), L
 * the part of A below its diagonal, and D such that the rows of M and A have nearly the same sums. So the number of
 * steps grows only with the square root of a hole's width. */
#include "explain/impute.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "core/memory.h"
#include "core/threads.h"

#define NEIGHBOURS 8
#define LOWER 4 /* of them come before the pixel in row order, the others after it */
#define TOLERANCE 1e-10
#define MODIFIED 0.97 /* share of what the factor leaves out that its diagonal takes over */

typedef struct {
  int y, x;
  double weight;
} neighbour;

static const neighbour neighbours[NEIGHBOURS] = {
    {-1, -1, 1.0 / 12}, {-1, 0, 1.0 / 6},  {-1, 1, 1.0 / 12}, {0, -1, 1.0 / 6},
    {0, 1, 1.0 / 6},    {1, -1, 1.0 / 12}, {1, 0, 1.0 / 6},   {1, 1, 1.0 / 12},
};

/* The system of one image; vectors hold `unknowns` x channels. */
typedef struct {
  int64_t height, width, channels, unknowns;
  double *solution, *residual, *direction, *product;
  double *diagonal, *factor;                         /* unknowns: of A, and D */
  double *norms, *limits, *slopes, *energies, *step; /* channels */
  int32_t *number;                                   /* of a pixel among the unknowns; -1: kept */
  int32_t *pixel;                                    /* of an unknown */
  int32_t (*masked)[NEIGHBOURS];                     /* each unknown's neighbours among the unknowns; -1: none there */
} linear_system;

static size_t scratch_bytes(int64_t pixels, int64_t channels) {
  const size_t doubles = (size_t)(4 * pixels * channels + 2 * pixels + 5 * channels);
  const size_t integers = (size_t)(pixels * (2 + NEIGHBOURS));
  return (doubles * sizeof(double) + integers * sizeof(int32_t) + 63) / 64 * 64; /* no two threads in one cache line */
}

static linear_system system_at(char *block, int64_t height, int64_t width, int64_t channels) {
  const int64_t pixels = height * width;
  linear_system s = {.height = height, .width = width, .channels = channels, .solution = (double *)block};
  s.residual = s.solution + pixels * channels;
  s.direction = s.residual + pixels * channels;
  s.product = s.direction + pixels * channels;
  s.diagonal = s.product + pixels * channels;
  s.factor = s.diagonal + pixels;
  s.norms = s.factor + pixels;
  s.limits = s.norms + channels;
  s.slopes = s.limits + channels;
  s.energies = s.slopes + channels;
  s.step = s.energies + channels;
  s.number = (int32_t *)(s.step + channels);
  s.pixel = s.number + pixels;
  s.masked = (int32_t(*)[NEIGHBOURS])(s.pixel + pixels);
  return s;
}

/* ---- the equations ---- */

static void number_unknowns(linear_system *s, const uint8_t *keep) {
  s->unknowns = 0;
  for (int64_t p = 0; p < s->height * s->width; p++) {
    s->number[p] = keep[p] ? -1 : (int32_t)s->unknowns;
    if (!keep[p]) s->pixel[s->unknowns++] = (int32_t)p;
  }
}

/* Row u of the matrix; its right side goes into the residual. */
static void set_equation(linear_system *s, const float *image, int64_t u) {
  const int64_t y = s->pixel[u] / s->width, x = s->pixel[u] % s->width, channels = s->channels;
  double *right = s->residual + u * channels;
  s->diagonal[u] = 0.0;
  memset(right, 0, (size_t)channels * sizeof *right);
  for (int k = 0; k < NEIGHBOURS; k++) {
    const int64_t ny = y + neighbours[k].y, nx = x + neighbours[k].x, p = ny * s->width + nx;
    s->masked[u][k] = -1;
    if (ny < 0 || ny >= s->height || nx < 0 || nx >= s->width) continue;
    s->diagonal[u] += neighbours[k].weight;
    s->masked[u][k] = s->number[p];
    for (int64_t c = 0; s->number[p] < 0 && c < channels; c++)
      right[c] += neighbours[k].weight * (double)image[p * channels + c];
  }
}

/* D of the preconditioner, from the first unknown to the last. */
static void set_factor(const linear_system *s) {
  for (int64_t u = 0; u < s->unknowns; u++) {
    double d = s->diagonal[u];
    for (int k = 0; k < LOWER; k++) {
      const int32_t before = s->masked[u][k];
      if (before < 0) continue;
      double later = 0.0; /* the weights of what comes after `before`, but for u */
      for (int j = LOWER; j < NEIGHBOURS; j++)
        if (s->masked[before][j] >= 0 && s->masked[before][j] != u) later += neighbours[j].weight;
      d -= neighbours[k].weight / s->factor[before] * (neighbours[k].weight + MODIFIED * later);
    }
    s->factor[u] = d;
  }
}

/* ---- vectors ---- */

/* out += the sum of the weighted neighbours first..last-1 of unknown u in v */
static void add_neighbours(const linear_system *s, int64_t u, int first, int last, const double *v, double *out) {
  for (int k = first; k < last; k++) {
    if (s->masked[u][k] < 0) continue;
    const double weight = neighbours[k].weight, *other = v + s->masked[u][k] * s->channels;
    for (int64_t c = 0; c < s->channels; c++) out[c] += weight * other[c];
  }
}

/* product = A direction */
static void multiply(const linear_system *s) {
  const int64_t channels = s->channels;
  for (int64_t u = 0; u < s->unknowns; u++) {
    double *out = s->product + u * channels;
    memset(out, 0, (size_t)channels * sizeof *out);
    add_neighbours(s, u, 0, NEIGHBOURS, s->direction, out);
    for (int64_t c = 0; c < channels; c++) out[c] = s->diagonal[u] * s->direction[u * channels + c] - out[c];
  }
}

/* product = M^-1 residual: down through D + L, up through D + L'. */
static void precondition(const linear_system *s) {
  const int64_t channels = s->channels;
  for (int64_t u = 0; u < s->unknowns; u++) {
    double *out = s->product + u * channels;
    memcpy(out, s->residual + u * channels, (size_t)channels * sizeof *out);
    add_neighbours(s, u, 0, LOWER, s->product, out);
    for (int64_t c = 0; c < channels; c++) out[c] /= s->factor[u];
  }
  for (int64_t u = s->unknowns - 1; u >= 0; u--) {
    double *out = s->product + u * channels;
    for (int64_t c = 0; c < channels; c++) out[c] *= s->factor[u];
    add_neighbours(s, u, LOWER, NEIGHBOURS, s->product, out);
    for (int64_t c = 0; c < channels; c++) out[c] /= s->factor[u];
  }
}

/* sums[c] = the scalar product of channel c of a and b */
static void dot(const linear_system *s, const double *a, const double *b, double *sums) {
  memset(sums, 0, (size_t)s->channels * sizeof *sums);
  for (int64_t u = 0; u < s->unknowns; u++)
    for (int64_t c = 0; c < s->channels; c++) sums[c] += a[u * s->channels + c] * b[u * s->channels + c];
}

/* to += sign step from, channel by channel */
static void add_steps(const linear_system *s, double *to, const double *from, double sign) {
  for (int64_t u = 0; u < s->unknowns; u++)
    for (int64_t c = 0; c < s->channels; c++) to[u * s->channels + c] += sign * s->step[c] * from[u * s->channels + c];
}

/* ---- conjugate gradients ---- */

static bool channel_solved(const linear_system *s, int64_t c) { return s->norms[c] <= s->limits[c]; }

static bool is_solved(const linear_system *s) {
  int64_t c = 0;
  while (c < s->channels && channel_solved(s, c)) c++;
  return c == s->channels;
}

/* step = slopes / by; 0 for a channel that is solved */
static void set_steps(const linear_system *s, const double *slopes, const double *by) {
  for (int64_t c = 0; c < s->channels; c++) s->step[c] = channel_solved(s, c) ? 0.0 : slopes[c] / by[c];
}

static void improve(const linear_system *s) {
  const int64_t channels = s->channels;
  multiply(s);
  dot(s, s->direction, s->product, s->energies);
  set_steps(s, s->slopes, s->energies);
  add_steps(s, s->solution, s->direction, 1.0);
  add_steps(s, s->residual, s->product, -1.0);
  dot(s, s->residual, s->residual, s->norms);
  precondition(s);
  dot(s, s->residual, s->product, s->energies);
  set_steps(s, s->energies, s->slopes);
  memcpy(s->slopes, s->energies, (size_t)channels * sizeof *s->slopes);
  for (int64_t u = 0; u < s->unknowns; u++)
    for (int64_t c = 0; c < channels; c++) {
      const int64_t i = u * channels + c;
      s->direction[i] = s->product[i] + s->step[c] * s->direction[i];
    }
}

/* Starts from 0, where the residual is the right side. Whether it came to an end. */
static bool solve(const linear_system *s) {
  const size_t bytes = (size_t)(s->unknowns * s->channels) * sizeof(double);
  const int64_t most = s->unknowns + 100; /* without rounding, no more steps than unknowns are needed */
  memset(s->solution, 0, bytes);
  dot(s, s->residual, s->residual, s->norms);
  for (int64_t c = 0; c < s->channels; c++) s->limits[c] = TOLERANCE * TOLERANCE * s->norms[c];
  precondition(s);
  memcpy(s->direction, s->product, bytes);
  dot(s, s->residual, s->product, s->slopes);
  for (int64_t i = 0; i < most && !is_solved(s); i++) improve(s);
  return is_solved(s);
}

static bool impute_image(linear_system *s, const float *image, const uint8_t *keep, float *filled) {
  const int64_t pixels = s->height * s->width, channels = s->channels;
  memcpy(filled, image, (size_t)(pixels * channels) * sizeof *filled);
  number_unknowns(s, keep);
  if (s->unknowns == pixels) {
    memset(filled, 0, (size_t)(pixels * channels) * sizeof *filled);
    return true;
  }
  for (int64_t u = 0; u < s->unknowns; u++) set_equation(s, image, u);
  set_factor(s);
  const bool solved = solve(s);
  for (int64_t u = 0; u < s->unknowns; u++)
    for (int64_t c = 0; c < channels; c++) filled[s->pixel[u] * channels + c] = (float)s->solution[u * channels + c];
  return solved;
}

/* ---- all images ---- */

static int check_arguments(const mt_tensor *images, const mt_tensor *keep) {
  if (mt_expect_dtype(images, MT_FLOAT32, "impute", "images") < 0 ||
      mt_expect_ndim(images, 4, "impute", "images", "{N,H,W,C}") < 0 ||
      mt_expect_dtype(keep, MT_UINT8, "impute", "keep") < 0 ||
      mt_expect_shape(keep, 3, images->shape, "impute", "keep") < 0)
    return -1;
  if (images->shape[1] * images->shape[2] > INT32_MAX)
    return mt_fail(MT_ERROR_ARGUMENT, "impute: images have more than %d pixels", INT32_MAX);
  for (int64_t i = 0; i < images->count; i++)
    if (!isfinite(mt_f32(images)[i]))
      return mt_fail(MT_ERROR_ARGUMENT, "impute: image %lld holds NaN or infinity, expected finite values",
                     (long long)(i / (images->count / images->shape[0]) + 1));
  return 0;
}

typedef struct {
  const mt_tensor *images, *keep;
  mt_tensor *filled;
  char *blocks; /* scratch of each worker */
  atomic_bool *failed;
} imputation;

static void impute_images(const void *context, int64_t begin, int64_t end) {
  const imputation *p = context;
  const int64_t height = p->images->shape[1], width = p->images->shape[2], channels = p->images->shape[3];
  const int64_t pixels = height * width;
  char *block = p->blocks + (size_t)mt_worker() * scratch_bytes(pixels, channels);
  for (int64_t i = begin; i < end; i++) {
    linear_system s = system_at(block, height, width, channels);
    const int64_t first = i * pixels * channels;
    if (!impute_image(&s, mt_f32(p->images) + first, mt_u8(p->keep) + i * pixels, mt_f32(p->filled) + first))
      atomic_store(p->failed, true);
  }
}

mt_tensor *mt_impute(const mt_tensor *images, const mt_tensor *keep) {
  if (check_arguments(images, keep) < 0) return NULL;
  const size_t per_worker = scratch_bytes(images->shape[1] * images->shape[2], images->shape[3]);
  mt_tensor *filled = mt_tensor_like(images);
  char *blocks = filled ? mt_alloc((size_t)mt_num_threads() * per_worker) : NULL;
  atomic_bool failed = false;
  if (!blocks) {
    mt_release(filled);
    return NULL;
  }
  mt_parallel(images->shape[0], 1, impute_images, &(imputation){images, keep, filled, blocks, &failed});
  mt_free(blocks);
  if (!failed) return filled;
  mt_release(filled);
  return mt_fail_null(MT_ERROR_ARGUMENT, "impute: the values are too large or small for the linear system");
}
