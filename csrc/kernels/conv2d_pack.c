/* Weights into panels and back. Invariant: packed row r of the panel that starts at vector v lies at
 * v * MT_VF * total_rows + r * width(panel), where width is MT_CONV2D_PANEL vectors, fewer in the last panel. */
#include <string.h>

#include "kernels/vector.h"

static int64_t vectors_of(int64_t channels) { return (channels + MT_VF - 1) / MT_VF; }

/* One panel. The rows go in blocks of a cache line's floats, so that reading down the channels (the transposed weights
 * of the input's gradient) uses whole lines too. */
static void pack_panel(const float *from, int64_t rows, int64_t row_step, int64_t used, int64_t channel_step,
                       int64_t width, float *to) {
  for (int64_t first = 0; first < rows; first += 16) {
    const int64_t end = rows - first < 16 ? rows : first + 16;
    if (channel_step == 1) {
      for (int64_t r = first; r < end; r++) memcpy(to + r * width, from + r * row_step, (size_t)used * sizeof *to);
    } else {
      for (int64_t o = 0; o < used; o++)
        for (int64_t r = first; r < end; r++) to[r * width + o] = from[r * row_step + o * channel_step];
    }
    for (int64_t r = first; r < end; r++)
      for (int64_t o = used; o < width; o++) to[r * width + o] = 0.0f;
  }
}

void MT_KERNEL(conv2d_pack)(const float *weights, int64_t rows, int64_t row_step, int64_t channels,
                            int64_t channel_step, int64_t first_row, int64_t total_rows, float *packed) {
  const int64_t vectors = vectors_of(channels);
  for (int64_t v = 0; v < vectors; v += MT_CONV2D_PANEL) {
    const int64_t width = (vectors - v < MT_CONV2D_PANEL ? vectors - v : MT_CONV2D_PANEL) * MT_VF;
    const int64_t used = channels - v * MT_VF < width ? channels - v * MT_VF : width;
    pack_panel(weights + v * MT_VF * channel_step, rows, row_step, used, channel_step, width,
               packed + v * MT_VF * total_rows + first_row * width);
  }
}

void MT_KERNEL(conv2d_unpack_sum)(const float *packed, int64_t copies, int64_t copy_step, int64_t channels,
                                  int64_t total_rows, int64_t begin, int64_t end, float *weights) {
  const int64_t vectors = vectors_of(channels);
  for (int64_t v = 0; v < vectors; v += MT_CONV2D_PANEL) {
    const int64_t width = (vectors - v < MT_CONV2D_PANEL ? vectors - v : MT_CONV2D_PANEL) * MT_VF;
    const int64_t used = channels - v * MT_VF < width ? channels - v * MT_VF : width;
    for (int64_t r = begin; r < end; r++) {
      const float *from = packed + v * MT_VF * total_rows + r * width;
      float *to = weights + r * channels + v * MT_VF;
      for (int64_t o = 0; o < used; o++) to[o] = from[o];
      for (int64_t copy = 1; copy < copies; copy++)
        for (int64_t o = 0; o < used; o++) to[o] += from[copy * copy_step + o];
    }
  }
}
