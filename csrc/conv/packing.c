#include "conv/packing.h"

#include <assert.h>
#include <string.h>

#include "core/memory.h"
#include "core/threads.h"
#include "kernels/kernels.h"

/* Weights that are worth a thread of their own. */
#define WEIGHTS_GRAIN ((int64_t)1 << 14)

int64_t mt_packed_floats(int64_t rows, int64_t channels) {
  const int64_t lanes = mt_kernels->vector_floats;
  return rows * ((channels + lanes - 1) / lanes) * lanes;
}

int64_t mt_winograd_floats(int64_t in_c, int64_t out_c) { return mt_packed_floats(MT_WINOGRAD_PLACES * in_c, out_c); }

static int64_t direct_floats(const mt_conv *c) {
  return c->depthwise ? mt_conv_taps(c) * c->out_c : mt_packed_floats(mt_conv_taps(c), c->out_c);
}

int64_t mt_conv_panel_channels(void) { return MT_CONV2D_PANEL * mt_kernels->vector_floats; }

int64_t mt_conv_panels(const mt_conv *c) {
  return (c->out_c + mt_conv_panel_channels() - 1) / mt_conv_panel_channels();
}

int64_t mt_conv_weight_floats(const mt_conv *c) {
  return c->winograd ? mt_winograd_floats(c->in_c, c->out_c) : direct_floats(c);
}

int64_t mt_conv_sum_floats(const mt_conv *c) {
  return c->winograd_grad ? mt_winograd_floats(c->in_c, c->out_c) : direct_floats(c);
}

/* ---- weights ---- */

mt_taps mt_conv_own_taps(const mt_conv *c, const float *weight) {
  return (mt_taps){.weight = weight, .kernel_w = c->kernel[1], .in_c = c->in_c, .out_c = c->out_c, .step = {1, 1}};
}

static int64_t tap_at(const mt_taps *t, int64_t y, int64_t x) {
  return (t->first[0] + y * t->step[0]) * t->kernel_w + t->first[1] + x * t->step[1];
}

static void copy_taps(const mt_conv *c, const mt_taps *t, float *prepared) {
  for (int64_t y = 0; y < c->kernel[0]; y++)
    for (int64_t x = 0; x < c->kernel[1]; x++)
      memcpy(prepared + (y * c->kernel[1] + x) * c->in_c, t->weight + tap_at(t, y, x) * c->in_c,
             (size_t)c->in_c * sizeof(float));
}

/* Output channels from `first` on, at most a panel of them, into the panel's place. */
static void pack_panel(const mt_conv *c, const mt_taps *t, int64_t first, float *packed) {
  const int64_t row_step = t->exchanged ? 1 : t->out_c, channel_step = t->exchanged ? t->out_c : 1;
  const int64_t left = c->out_c - first, channels = left < mt_conv_panel_channels() ? left : mt_conv_panel_channels();
  for (int64_t y = 0; y < c->kernel[0]; y++) {
    for (int64_t x = 0; x < c->kernel[1]; x++) {
      mt_kernels->conv2d_pack(t->weight + tap_at(t, y, x) * t->in_c * t->out_c + first * channel_step, c->in_c,
                              row_step, channels, channel_step, (y * c->kernel[1] + x) * c->in_c, mt_conv_taps(c),
                              packed + first * mt_conv_taps(c));
    }
  }
}

typedef struct {
  const mt_conv *conv;
  const mt_taps *taps;
  float *packed, *prepared;
} preparation;

static void prepare_panels(const void *context, int64_t begin, int64_t end) {
  const preparation *p = context;
  const mt_conv *c = p->conv;
  for (int64_t i = begin; i < end; i++) {
    pack_panel(c, p->taps, i * mt_conv_panel_channels(), p->packed);
    if (c->winograd) mt_kernels->winograd_weights((int)c->tile, p->packed, c->in_c, c->out_c, i, i + 1, p->prepared);
  }
}

int mt_conv_prepare(const mt_conv *c, const mt_taps *taps, float *prepared) {
  if (c->depthwise) {
    copy_taps(c, taps, prepared);
    return 0;
  }
  const int64_t panels = mt_conv_panels(c);
  assert(c->in_c == (taps->exchanged ? taps->out_c : taps->in_c));
  assert(c->out_c == (taps->exchanged ? taps->in_c : taps->out_c));
  float *packed = c->winograd ? mt_alloc((size_t)direct_floats(c) * sizeof(float)) : prepared;
  if (!packed) return -1;
  mt_parallel(panels, mt_chunk(panels, panels > 0 ? direct_floats(c) / panels : 0, WEIGHTS_GRAIN), prepare_panels,
              &(preparation){c, taps, packed, prepared});
  if (c->winograd) mt_free(packed);
  return 0;
}

/* ---- their gradient ---- */

typedef struct {
  const mt_conv *conv;
  const float *sums;
  int64_t copies;
  float *packed; /* NULL: the sums are the weights' own */
  float *weight_grad;
} collection;

static void transform_back(const void *context, int64_t begin, int64_t end) {
  const collection *w = context;
  const mt_conv *c = w->conv;
  for (int64_t i = begin; i < end; i++)
    mt_kernels->winograd_grad_back((int)c->tile, w->sums, w->copies, mt_conv_sum_floats(c), c->in_c, c->out_c, i, i + 1,
                                   w->packed);
}

static void unpack_taps(const void *context, int64_t begin, int64_t end) {
  const collection *w = context;
  const mt_conv *c = w->conv;
  for (int64_t tap = begin; tap < end; tap++)
    mt_kernels->conv2d_unpack_sum(w->packed ? w->packed : w->sums, w->packed ? 1 : w->copies, mt_conv_sum_floats(c),
                                  c->out_c, mt_conv_taps(c), tap * c->in_c, (tap + 1) * c->in_c, w->weight_grad);
}

static void add_copies(const mt_conv *c, const float *sums, int64_t copies, float *weight_grad) {
  const int64_t count = direct_floats(c);
  memcpy(weight_grad, sums, (size_t)count * sizeof(float));
  for (int64_t i = 1; i < copies; i++) mt_kernels->add(weight_grad, weight_grad, 1, sums + i * count, 1, count);
}

int mt_conv_weight_result(const mt_conv *c, const float *sums, int64_t copies, float *weight_grad) {
  if (c->depthwise) {
    add_copies(c, sums, copies, weight_grad);
    return 0;
  }
  const int64_t panels = mt_conv_panels(c), taps = c->kernel[0] * c->kernel[1];
  float *packed = c->winograd_grad ? mt_alloc((size_t)direct_floats(c) * sizeof(float)) : NULL;
  if (c->winograd_grad && !packed) return -1;
  const collection work = {c, sums, copies, packed, weight_grad};
  if (packed) mt_parallel(panels, mt_chunk(panels, direct_floats(c) / panels, WEIGHTS_GRAIN), transform_back, &work);
  mt_parallel(taps, mt_chunk(taps, direct_floats(c) / taps, WEIGHTS_GRAIN), unpack_taps, &work);
  mt_free(packed);
  return 0;
}
