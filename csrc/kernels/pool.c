/* Pooling. Along each axis an output o covers the inputs o * stride - padding + k * dilation; a `range` is the part of
 * the kernel that lies inside the image, or the outputs that cover an input. */
#include <string.h>

#include "kernels/vector.h"

typedef uint8_t bytes_vector __attribute__((vector_size(MT_VF)));

typedef struct {
  int64_t begin, end;
} range;

/* Kernel coordinates of output o that lie inside the image. */
static range taps_inside(const mt_pool_shape *s, int axis, int64_t o) {
  const int64_t first = o * s->stride[axis] - s->padding[axis], step = s->dilation[axis];
  const int64_t left = s->in_size[axis] - first; /* > 0: no window begins beyond the image */
  range r = {first < 0 ? (-first + step - 1) / step : 0, s->kernel[axis]};
  if (mt_pool_extent(s, axis) > left) r.end = (left + step - 1) / step;
  return r;
}

/* Outputs whose window reaches over input i (with dilation it may step over it). */
static range outputs_over(const mt_pool_shape *s, int axis, int64_t i) {
  const int64_t at = i + s->padding[axis], stride = s->stride[axis], extent = mt_pool_extent(s, axis);
  range r = {at < extent ? 0 : (at - extent) / stride + 1, at / stride + 1};
  if (r.end > s->out_size[axis]) r.end = s->out_size[axis];
  return r;
}

MT_INLINE void store_index(void *index, int64_t at, mt_vi value, int lanes, const bool wide) {
  if (wide) {
    for (int i = 0; i < MT_VF && i < lanes; i++) ((int32_t *)index)[at + i] = value[i];
    return;
  }
  const bytes_vector bytes = __builtin_convertvector(value, bytes_vector);
  if (lanes == MT_VF)
    memcpy((uint8_t *)index + at, &bytes, MT_VF);
  else
    for (int i = 0; i < MT_VF && i < lanes; i++) ((uint8_t *)index)[at + i] = bytes[i];
}

MT_INLINE mt_vi load_index(const void *index, int64_t at, int lanes, const bool wide) {
  if (wide) {
    mt_vi value = {0};
    for (int i = 0; i < MT_VF && i < lanes; i++) value[i] = ((const int32_t *)index)[at + i];
    return value;
  }
  bytes_vector bytes = {0};
  if (lanes == MT_VF)
    memcpy(&bytes, (const uint8_t *)index + at, MT_VF);
  else
    for (int i = 0; i < MT_VF && i < lanes; i++) bytes[i] = ((const uint8_t *)index)[at + i];
  return __builtin_convertvector(bytes, mt_vi);
}

MT_INLINE mt_vf pick(mt_vi mask, mt_vf yes, mt_vf no) { return (mt_vf)((mask & (mt_vi)yes) | (~mask & (mt_vi)no)); }

/* ---- maximum ---- */

/* One window, one vector of channels; `in` is the window's first tap (maybe outside of the image). */
MT_INLINE void max_window(const mt_pool_shape *s, const float *in, range ys, range xs, const int64_t kernel_width,
                          int lanes, float *out, void *index, int64_t at, const bool wide) {
  mt_vf best = mt_splat(-__builtin_inff());
  mt_vi position = (mt_vi){0} + (int32_t)(ys.begin * kernel_width + xs.begin);
  for (int64_t y = ys.begin; y < ys.end; y++) {
    for (int64_t x = xs.begin; x < xs.end; x++) {
      const float *tap = in + (y * s->dilation[0] * s->in_size[1] + x * s->dilation[1]) * s->channels;
      const mt_vf value = lanes == MT_VF ? mt_load(tap) : mt_load_n(tap, lanes);
      const mt_vi take = (mt_vi)(value > best) | (mt_vi)(value != value); /* a NaN wins */
      best = pick(take, value, best);
      position = (take & ((mt_vi){0} + (int32_t)(y * kernel_width + x))) | (~take & position);
    }
  }
  if (lanes == MT_VF)
    mt_store(out, best);
  else
    mt_store_n(out, best, lanes);
  if (index) store_index(index, at, position, lanes, wide); /* NULL is a constant: then no position is kept */
}

MT_INLINE void max_row(const mt_pool_shape *s, const float *in, int64_t row, float *out, int64_t out_row, void *index,
                       const bool wide) {
  const int64_t channels = s->channels;
  const range ys = taps_inside(s, 0, row);
  const int64_t top = row * s->stride[0] - s->padding[0];
  for (int64_t o = 0; o < s->out_size[1]; o++) {
    const range xs = taps_inside(s, 1, o);
    const int64_t left = o * s->stride[1] - s->padding[1];
    const int64_t first = (top * s->in_size[1] + left) * channels, at = (row * s->out_size[1] + o) * channels;
    float *to = out + row * out_row + o * channels;
    const bool two = !wide && ys.begin == 0 && xs.begin == 0 && ys.end == 2 && xs.end == 2 && s->kernel[1] == 2 &&
                     s->dilation[0] == 1 && s->dilation[1] == 1;
    int64_t c = 0;
    for (; c + MT_VF <= channels; c += MT_VF) {
      if (two) /* constants: no loops */
        max_window(s, in + first + c, (range){0, 2}, (range){0, 2}, 2, MT_VF, to + c, index, at + c, wide);
      else
        max_window(s, in + first + c, ys, xs, s->kernel[1], MT_VF, to + c, index, at + c, wide);
    }
    if (c < channels)
      max_window(s, in + first + c, ys, xs, s->kernel[1], (int)(channels - c), to + c, index, at + c, wide);
  }
}

void MT_KERNEL(max_pool_row)(const mt_pool_shape *s, const float *in, int64_t row, float *out, int64_t out_row,
                             void *index) {
  if (!index)
    max_row(s, in, row, out, out_row, NULL, false);
  else if (mt_pool_index_is_wide(s))
    max_row(s, in, row, out, out_row, index, true);
  else
    max_row(s, in, row, out, out_row, index, false);
}

/* Where windows do not overlap, every input is met at most once and its gradient is stored, not added. */
static bool windows_overlap(const mt_pool_shape *s) {
  return mt_pool_extent(s, 0) > s->stride[0] || mt_pool_extent(s, 1) > s->stride[1];
}

/* The gradient of one window to one tap's input where that tap was the largest. */
MT_INLINE void max_tap_grad(const float *grad_out, const void *index, int64_t at, int32_t tap, int64_t channels,
                            float *grad_in, const bool wide, const bool add) {
  for (int64_t c = 0; c < channels; c += MT_VF) {
    const int lanes = channels - c < MT_VF ? (int)(channels - c) : MT_VF;
    const bool whole = lanes == MT_VF;
    const mt_vi chosen = (mt_vi)(load_index(index, at + c, lanes, wide) == (mt_vi){0} + tap);
    const mt_vf g = whole ? mt_load(grad_out + at + c) : mt_load_n(grad_out + at + c, lanes);
    mt_vf result = (mt_vf)((mt_vi)g & chosen);
    if (add) result += whole ? mt_load(grad_in + c) : mt_load_n(grad_in + c, lanes);
    if (whole)
      mt_store(grad_in + c, result);
    else
      mt_store_n(grad_in + c, result, lanes);
  }
}

/* The same for all taps of a window in one row of pixels, from tap `first` on. */
MT_INLINE void max_taps_grad(const float *grad_out, const void *index, int64_t at, int32_t first, int64_t taps,
                             int64_t channels, float *grad_in) {
  MT_FOR_CHANNEL_VECTORS(channels, {
    const mt_vi chosen = load_index(index, at + c, valid, false);
    const mt_vi g = (mt_vi)mt_load_lanes(grad_out + at + c, valid, whole);
    for (int32_t k = 0; k < taps; k++) {
      const mt_vi hit = (mt_vi)(chosen == (mt_vi){0} + (first + k));
      mt_store_lanes(grad_in + k * channels + c, (mt_vf)(g & hit), valid, whole);
    }
  });
}

MT_INLINE void max_grad_row(const mt_pool_shape *s, const float *grad_out, const void *index, int64_t row,
                            float *grad_in, const bool wide, const bool add) {
  const int64_t channels = s->channels;
  const range ys = outputs_over(s, 0, row);
  float *to = grad_in + row * s->in_size[1] * channels;
  const bool tiled = !add && ys.begin < ys.end && s->kernel[1] == s->stride[1] && s->padding[1] == 0 &&
                     s->dilation[0] == 1 && s->dilation[1] == 1;
  const int64_t tiles = tiled ? s->out_size[1] * s->kernel[1] : 0;
  const int64_t written = tiles < s->in_size[1] ? tiles : s->in_size[1]; /* pixels that some window writes */
  memset(to + written * channels, 0, (size_t)((s->in_size[1] - written) * channels) * sizeof(float));
  for (int64_t y = ys.begin; y < ys.end; y++) {
    const int64_t below = row + s->padding[0] - y * s->stride[0], ky = below / s->dilation[0];
    if (below % s->dilation[0] != 0) continue;
    if (tiled && tiles <= s->in_size[1]) {
      for (int64_t o = 0; o < s->out_size[1]; o++)
        max_taps_grad(grad_out, index, (y * s->out_size[1] + o) * channels, (int32_t)(ky * s->kernel[1]), s->kernel[1],
                      channels, to + o * s->kernel[1] * channels);
      continue;
    }
    for (int64_t o = 0; o < s->out_size[1]; o++) {
      const range xs = taps_inside(s, 1, o);
      float *window = to + (o * s->stride[1] - s->padding[1]) * channels;
      for (int64_t kx = xs.begin; kx < xs.end; kx++)
        max_tap_grad(grad_out, index, (y * s->out_size[1] + o) * channels, (int32_t)(ky * s->kernel[1] + kx), channels,
                     window + kx * s->dilation[1] * channels, wide, add);
    }
  }
}

void MT_KERNEL(max_pool_grad_row)(const mt_pool_shape *s, const float *grad_out, const void *index, int64_t row,
                                  float *grad_in) {
  if (mt_pool_index_is_wide(s))
    max_grad_row(s, grad_out, index, row, grad_in, true, true);
  else if (windows_overlap(s))
    max_grad_row(s, grad_out, index, row, grad_in, false, true);
  else
    max_grad_row(s, grad_out, index, row, grad_in, false, false);
}

/* ---- average ---- */

/* How many pixels along an axis count for output o: those inside the image, or inside the padded image. */
static int64_t counted(const mt_pool_shape *s, int axis, int64_t o) {
  const range inside = taps_inside(s, axis, o);
  if (s->ignore_pad) return inside.end - inside.begin;
  const int64_t left = s->in_size[axis] + 2 * s->padding[axis] - o * s->stride[axis];
  return left < s->kernel[axis] ? left : s->kernel[axis];
}

static float area(const mt_pool_shape *s, int64_t row, int64_t o) {
  return (float)(counted(s, 0, row) * counted(s, 1, o));
}

void MT_KERNEL(avg_pool_row)(const mt_pool_shape *s, const float *in, int64_t row, float *out) {
  const int64_t channels = s->channels, top = row * s->stride[0] - s->padding[0];
  const range ys = taps_inside(s, 0, row);
  for (int64_t o = 0; o < s->out_size[1]; o++) {
    const range xs = taps_inside(s, 1, o);
    const int64_t left = o * s->stride[1] - s->padding[1];
    float *restrict to = out + (row * s->out_size[1] + o) * channels;
    memset(to, 0, (size_t)channels * sizeof(float));
    for (int64_t y = ys.begin; y < ys.end; y++) {
      for (int64_t x = xs.begin; x < xs.end; x++) {
        const float *restrict from = in + ((top + y) * s->in_size[1] + left + x) * channels;
        for (int64_t c = 0; c < channels; c++) to[c] += from[c];
      }
    }
    const float pixels = area(s, row, o);
    for (int64_t c = 0; c < channels; c++) to[c] /= pixels;
  }
}

void MT_KERNEL(avg_pool_grad_row)(const mt_pool_shape *s, const float *grad_out, int64_t row, float *grad_in) {
  const int64_t channels = s->channels;
  const range ys = outputs_over(s, 0, row);
  float *to = grad_in + row * s->in_size[1] * channels;
  memset(to, 0, (size_t)(s->in_size[1] * channels) * sizeof(float));
  for (int64_t y = ys.begin; y < ys.end; y++) {
    for (int64_t o = 0; o < s->out_size[1]; o++) {
      const range xs = taps_inside(s, 1, o);
      const float *restrict g = grad_out + (y * s->out_size[1] + o) * channels;
      const float pixels = area(s, y, o);
      for (int64_t kx = xs.begin; kx < xs.end; kx++) {
        float *restrict at = to + (o * s->stride[1] - s->padding[1] + kx) * channels;
        for (int64_t c = 0; c < channels; c++) at[c] += g[c] / pixels;
      }
    }
  }
}
