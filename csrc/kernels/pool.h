/* Pooling, one row at a time: forward makes a row of outputs, backward gathers a row of the input's gradient, so that
 * rows can be shared out among threads even where windows overlap. */
#ifndef MT_KERNELS_POOL_H
#define MT_KERNELS_POOL_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
  int64_t in_size[2], out_size[2], channels; /* of one image */
  int64_t kernel[2], stride[2], padding[2], dilation[2];
  bool ignore_pad; /* a mean divides by the window's pixels inside the image, not inside the padded image */
} mt_pool_shape;

/* Pixels from a window's first to its last. */
static inline int64_t mt_pool_extent(const mt_pool_shape *s, int axis) {
  return (s->kernel[axis] - 1) * s->dilation[axis] + 1;
}

/* Positions in the window, ky * kernel[1] + kx: one byte each where they fit, else int32. */
static inline bool mt_pool_index_is_wide(const mt_pool_shape *s) { return s->kernel[0] * s->kernel[1] > 256; }

#define MT_POOL_KERNELS(K)                                                                                           \
  /* in, out, index, grad_in, grad_out: one image; row: of out in forward, of grad_in in backward. index may be NULL \
   * in forward. out_row: floats between rows of out, which may lie in a padded image. */                            \
  K(void, max_pool_row,                                                                                              \
    (const mt_pool_shape *s, const float *in, int64_t row, float *out, int64_t out_row, void *index))                \
  K(void, max_pool_grad_row,                                                                                         \
    (const mt_pool_shape *s, const float *grad_out, const void *index, int64_t row, float *grad_in))                 \
  K(void, avg_pool_row, (const mt_pool_shape *s, const float *in, int64_t row, float *out))                          \
  K(void, avg_pool_grad_row, (const mt_pool_shape *s, const float *grad_out, int64_t row, float *grad_in))

#endif
