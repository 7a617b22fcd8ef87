#include "conv/folded.h"

#include "core/memory.h"

/* What it is made from, in one order. */
static void list_sources(const mt_tensor *weight, const mt_tensor *bias, const mt_norm *n,
                         const mt_tensor *sources[MT_FOLDED_SOURCES]) {
  sources[0] = weight;
  sources[1] = bias;
  sources[2] = n->gamma;
  sources[3] = n->beta;
  sources[4] = n->running_mean;
  sources[5] = n->running_var;
}

static const void *data_of(const mt_tensor *t) { return t ? t->data : NULL; }
static uint64_t version_of(const mt_tensor *t) { return t ? t->storage->version : 0; }

static bool prepared_alike(const mt_conv *a, const mt_conv *b) {
  return a->kernel[0] == b->kernel[0] && a->kernel[1] == b->kernel[1] && a->in_c == b->in_c && a->out_c == b->out_c &&
         a->depthwise == b->depthwise && a->winograd == b->winograd;
}

bool mt_folded_holds(const mt_folded *f, const mt_conv *conv, const mt_tensor *weight, const mt_tensor *bias,
                     const mt_norm *norm) {
  const mt_tensor *sources[MT_FOLDED_SOURCES];
  if (!f->weights || f->eps != norm->eps || !prepared_alike(&f->conv, conv)) return false;
  list_sources(weight, bias, norm, sources);
  for (int i = 0; i < MT_FOLDED_SOURCES; i++)
    if (f->sources[i].data != data_of(sources[i]) || f->sources[i].version != version_of(sources[i])) return false;
  return true;
}

static int fill(mt_folded *f, const mt_tensor *weight, const mt_tensor *bias, const mt_norm *norm) {
  const int64_t prepared = mt_rounded_floats(mt_conv_weight_floats(&f->conv));
  float *folded = mt_alloc((size_t)weight->count * sizeof(float));
  f->weights = folded ? mt_alloc((size_t)(prepared + f->conv.out_c) * sizeof(float)) : NULL;
  if (!f->weights) {
    mt_free(folded);
    return -1;
  }
  f->bias = f->weights + prepared;
  mt_fold(norm, mt_f32(weight), mt_conv_taps(&f->conv), bias ? mt_f32(bias) : NULL, folded, f->bias);
  const mt_taps taps = mt_conv_own_taps(&f->conv, folded);
  const int status = mt_conv_prepare(&f->conv, &taps, f->weights);
  mt_free(folded);
  return status;
}

int mt_folded_make(mt_folded *f, const mt_conv *conv, const mt_tensor *weight, const mt_tensor *bias,
                   const mt_norm *norm) {
  const mt_tensor *sources[MT_FOLDED_SOURCES];
  mt_folded_clear(f);
  f->conv = *conv;
  f->eps = norm->eps;
  list_sources(weight, bias, norm, sources);
  for (int i = 0; i < MT_FOLDED_SOURCES; i++) {
    f->sources[i].data = data_of(sources[i]);
    f->sources[i].version = version_of(sources[i]);
  }
  if (fill(f, weight, bias, norm) == 0) return 0;
  mt_folded_clear(f);
  return -1;
}

void mt_folded_clear(mt_folded *f) {
  mt_free(f->weights);
  *f = (mt_folded){0};
}
