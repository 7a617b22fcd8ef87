/* Of the two Gram matrices of X (pixels x channels, centred) the smaller one is squared, and scaled to trace 1, until
 * one direction is left: after n squarings the others have shrunk to the 2^n-th power of their share. So eigenvalues
 * that differ by a part in a million are told apart, and the cost is n small matrix products. */
#include "explain/principal.h"

#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "core/threads.h"

#define MAX_SQUARINGS 30
#define OTHERS 1e-8 /* share of the trace outside the first direction that the next squaring makes 1e-16 */

typedef struct {
  int64_t pixels, channels, size; /* size: of the Gram matrix */
  double *centred;                /* pixels x channels */
  double *gram, *squared;
  double *direction; /* size, then room for the channels */
} work;

static int64_t work_doubles(int64_t pixels, int64_t channels) {
  const int64_t size = pixels < channels ? pixels : channels;
  return pixels * channels + 2 * size * size + size + channels;
}

static work work_at(double *block, int64_t pixels, int64_t channels) {
  work w = {.pixels = pixels, .channels = channels, .size = pixels < channels ? pixels : channels};
  w.centred = block;
  w.gram = w.centred + pixels * channels;
  w.squared = w.gram + w.size * w.size;
  w.direction = w.squared + w.size * w.size;
  return w;
}

static void centre(const work *w, const float *values) {
  double *mean = w->direction + w->size;
  memset(mean, 0, (size_t)w->channels * sizeof *mean);
  for (int64_t p = 0; p < w->pixels; p++)
    for (int64_t c = 0; c < w->channels; c++) {
      const double value = values[p * w->channels + c];
      w->centred[p * w->channels + c] = isnan(value) ? 0.0 : value;
      mean[c] += w->centred[p * w->channels + c];
    }
  for (int64_t p = 0; p < w->pixels; p++)
    for (int64_t c = 0; c < w->channels; c++) w->centred[p * w->channels + c] -= mean[c] / (double)w->pixels;
}

static double dot(const double *a, const double *b, int64_t n) {
  double sums[4] = {0.0}; /* four at a time hide the latency of the additions */
  int64_t i = 0;
  for (; i + 4 <= n; i += 4)
    for (int k = 0; k < 4; k++) sums[k] += a[i + k] * b[i + k];
  for (; i < n; i++) sums[0] += a[i] * b[i];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/* to += scale * from */
static void add_scaled(double *to, const double *from, double scale, int64_t n) {
  for (int64_t i = 0; i < n; i++) to[i] += scale * from[i];
}

static void make_gram(const work *w) {
  const int64_t n = w->size, channels = w->channels;
  if (w->pixels <= channels) {
    for (int64_t i = 0; i < n; i++)
      for (int64_t j = 0; j <= i; j++)
        w->gram[i * n + j] = w->gram[j * n + i] = dot(w->centred + i * channels, w->centred + j * channels, channels);
    return;
  }
  memset(w->gram, 0, (size_t)(n * n) * sizeof *w->gram);
  for (int64_t p = 0; p < w->pixels; p++)
    for (int64_t i = 0; i < n; i++) add_scaled(w->gram + i * n, w->centred + p * n, w->centred[p * n + i], n);
}

static double scale_to_trace_one(double *gram, int64_t n) {
  double trace = 0.0;
  for (int64_t i = 0; i < n; i++) trace += gram[i * n + i];
  for (int64_t i = 0; trace > 0.0 && i < n * n; i++) gram[i] /= trace;
  return trace;
}

static void square(work *w) {
  const int64_t n = w->size;
  for (int64_t i = 0; i < n; i++) /* symmetric: rows are columns */
    for (int64_t j = 0; j <= i; j++)
      w->squared[i * n + j] = w->squared[j * n + i] = dot(w->gram + i * n, w->gram + j * n, n);
  double *gram = w->gram;
  w->gram = w->squared;
  w->squared = gram;
}

/* The column with the longest diagonal element of what has become a rank-one matrix. */
static void find_direction(const work *w) {
  const int64_t n = w->size;
  int64_t best = 0;
  for (int64_t i = 1; i < n; i++)
    if (w->gram[i * n + i] > w->gram[best * n + best]) best = i;
  const double norm = sqrt(dot(w->gram + best * n, w->gram + best * n, n));
  for (int64_t i = 0; i < n; i++) w->direction[i] = norm > 0.0 ? w->gram[best * n + i] / norm : 0.0;
}

/* From the direction among pixels to that among channels. */
static void to_channels(const work *w) {
  double *v = w->direction + w->size;
  memset(v, 0, (size_t)w->channels * sizeof *v);
  for (int64_t p = 0; p < w->pixels; p++) add_scaled(v, w->centred + p * w->channels, w->direction[p], w->channels);
  const double norm = sqrt(dot(v, v, w->channels));
  for (int64_t c = 0; norm > 0.0 && c < w->channels; c++) v[c] /= norm;
}

static void project(const work *w, const double *v, float *projection) {
  float farthest = 0.0f;
  for (int64_t p = 0; p < w->pixels; p++) {
    projection[p] = (float)dot(w->centred + p * w->channels, v, w->channels);
    if (fabsf(projection[p]) > fabsf(farthest)) farthest = projection[p];
  }
  for (int64_t p = 0; farthest < 0.0f && p < w->pixels; p++) projection[p] = -projection[p];
}

static void project_image(work *w, const float *values, float *projection) {
  centre(w, values);
  make_gram(w);
  double inside = 0.0;
  if (scale_to_trace_one(w->gram, w->size) > 0.0)
    for (int i = 0; i < MAX_SQUARINGS && inside < 1.0 - OTHERS; i++) {
      square(w);
      inside = scale_to_trace_one(w->gram, w->size);
    }
  find_direction(w);
  if (w->pixels <= w->channels) to_channels(w);
  project(w, w->direction + (w->pixels <= w->channels ? w->size : 0), projection);
}

typedef struct {
  const float *values;
  int64_t pixels, channels;
  double *blocks; /* scratch of each worker */
  float *projections;
} projection_work;

static void project_images(const void *context, int64_t begin, int64_t end) {
  const projection_work *p = context;
  work w = work_at(p->blocks + mt_worker() * work_doubles(p->pixels, p->channels), p->pixels, p->channels);
  for (int64_t i = begin; i < end; i++)
    project_image(&w, p->values + i * p->pixels * p->channels, p->projections + i * p->pixels);
}

static int check_finite(const mt_tensor *values) {
  for (int64_t i = 0; i < values->count; i++)
    if (isinf(mt_f32(values)[i]))
      return mt_fail(MT_ERROR_ARGUMENT, "cam: values of image %lld hold infinity, expected finite values",
                     (long long)(i / (values->count / values->shape[0]) + 1));
  return 0;
}

mt_tensor *mt_principal_projection(const mt_tensor *values) {
  if (mt_expect_dtype(values, MT_FLOAT32, "cam", "values") < 0 ||
      mt_expect_ndim(values, 4, "cam", "values", "{N,h,w,C}") < 0 || check_finite(values) < 0)
    return NULL;
  const int64_t images = values->shape[0], pixels = values->shape[1] * values->shape[2];
  const int64_t channels = values->shape[3];
  mt_tensor *projections = mt_tensor_zeros(MT_FLOAT32, 3, values->shape);
  if (!projections || values->count == 0) return projections;
  double *blocks = mt_alloc((size_t)(mt_num_threads() * work_doubles(pixels, channels)) * sizeof *blocks);
  if (!blocks) {
    mt_release(projections);
    return NULL;
  }
  mt_parallel(images, 1, project_images,
              &(projection_work){mt_f32(values), pixels, channels, blocks, mt_f32(projections)});
  mt_free(blocks);
  return projections;
}
