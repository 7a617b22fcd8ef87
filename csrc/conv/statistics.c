#include "conv/statistics.h"

#include <assert.h>
#include <math.h>

#include "core/batch.h"
#include "core/memory.h"
#include "core/threads.h"

/* Mean and sum of squared distances over the runs, one after the other (Chan, Golub and LeVeque 1979). */
static void merge_moments(const mt_moments *m, int64_t channels, double *mean, double *squares) {
  const float *values = m->values;
  for (int64_t c = 0; c < channels; c++) mean[c] = squares[c] = 0;
  for (int64_t seen = 0; seen < m->pixels; seen += m->run, values += 2 * channels) {
    const int64_t pixels = m->pixels - seen < m->run ? m->pixels - seen : m->run;
    const double share = (double)pixels / (double)(seen + pixels), weight = (double)seen * share;
    for (int64_t c = 0; c < channels; c++) {
      const double delta = values[c] - mean[c];
      mean[c] += delta * share;
      squares[c] += values[channels + c] + delta * delta * weight;
    }
  }
}

static void set_channel(const mt_norm *n, int64_t c, double mean, double var, float *statistics) {
  const int64_t channels = n->gamma->count;
  const double invstd = 1.0 / sqrt(var + (double)n->eps), scale = invstd * (double)mt_f32(n->gamma)[c];
  statistics[MT_STAT_MEAN * channels + c] = (float)mean;
  statistics[MT_STAT_INVSTD * channels + c] = (float)invstd;
  statistics[MT_STAT_SCALE * channels + c] = (float)scale;
  statistics[MT_STAT_SHIFT * channels + c] = (float)((double)mt_f32(n->beta)[c] - mean * scale);
}

static void move_towards(float *running, double value, float momentum) {
  *running = (float)((1.0 - (double)momentum) * (double)*running + (double)momentum * value);
}

int mt_batch_statistics(const mt_norm *n, const mt_moments *moments, float *statistics) {
  const int64_t channels = n->gamma->count;
  int64_t pixels = moments->pixels;
  double *mean = mt_alloc((size_t)(2 * channels) * sizeof *mean);
  if (!mean) return -1;
  double *squares = mean + channels;
  merge_moments(moments, channels, mean, squares);
  if (mt_batch_moments(&pixels, mean, squares, channels) < 0) {
    mt_free(mean);
    return -1;
  }
  assert(pixels > 1);
  for (int64_t c = 0; c < channels; c++) {
    assert(!(squares[c] < 0));
    set_channel(n, c, mean[c], squares[c] / (double)pixels, statistics);
    move_towards(&mt_f32(n->running_mean)[c], mean[c], n->momentum);
    move_towards(&mt_f32(n->running_var)[c], squares[c] / (double)(pixels - 1), n->momentum);
  }
  mt_free(mean);
  mt_touch(n->running_mean);
  mt_touch(n->running_var);
  return 0;
}

void mt_running_statistics(const mt_norm *n, float *statistics) {
  for (int64_t c = 0; c < n->gamma->count; c++)
    set_channel(n, c, (double)mt_f32(n->running_mean)[c], (double)mt_f32(n->running_var)[c], statistics);
}

/* ---- folding ---- */

static double scale_of(const mt_norm *n, int64_t c) {
  return (double)mt_f32(n->gamma)[c] / sqrt((double)mt_f32(n->running_var)[c] + (double)n->eps);
}

typedef struct {
  const float *weight, *factors;
  float *folded;
  int64_t channels;
} row_scaling;

static void scale_rows(const void *context, int64_t begin, int64_t end) {
  const row_scaling *s = context;
  for (int64_t row = begin * s->channels; row < end * s->channels; row += s->channels)
    for (int64_t c = 0; c < s->channels; c++) s->folded[row + c] = s->weight[row + c] * s->factors[c];
}

void mt_fold(const mt_norm *n, const float *weight, int64_t rows, const float *bias, float *folded,
             float *folded_bias) {
  const int64_t channels = n->gamma->count;
  float *factors = folded_bias; /* first this, then the bias */
  for (int64_t c = 0; c < channels; c++) factors[c] = (float)scale_of(n, c);
  mt_parallel(rows, mt_chunk(rows, channels, 1 << 15), scale_rows, &(row_scaling){weight, factors, folded, channels});
  for (int64_t c = 0; c < channels; c++) {
    const double b = bias ? (double)bias[c] : 0.0;
    folded_bias[c] = (float)((double)mt_f32(n->beta)[c] + (b - (double)mt_f32(n->running_mean)[c]) * scale_of(n, c));
  }
}

/* ---- the way back ---- */

int mt_norm_factors(const float *statistics, int64_t channels, double *sums, int64_t values, float *factors) {
  if (mt_batch_gradient_sums(&values, sums, 2 * channels) < 0) return -1;
  for (int64_t c = 0; c < channels; c++) {
    const double factor = -(double)statistics[MT_STAT_SCALE * channels + c] / (double)values;
    const double invstd = statistics[MT_STAT_INVSTD * channels + c];
    factors[c] = (float)(factor * invstd * invstd * sums[channels + c]);
    factors[channels + c] = (float)(factor * sums[c]);
  }
  return 0;
}

void mt_norm_grads(const float *statistics, int64_t channels, const double *sums, mt_tensor *grad_gamma,
                   mt_tensor *grad_beta) {
  const float *invstd = statistics + MT_STAT_INVSTD * channels;
  for (int64_t c = 0; grad_gamma && c < channels; c++)
    mt_f32(grad_gamma)[c] = (float)(sums[channels + c] * (double)invstd[c]);
  for (int64_t c = 0; grad_beta && c < channels; c++) mt_f32(grad_beta)[c] = (float)sums[c];
}
