#include "image/resize.h"

#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "core/threads.h"

#define PARALLEL_FROM ((int64_t)1 << 14) /* values; below, starting threads costs more than they save */

/* One image resized with prepared taps; the sizes of the two planes and the bytes of a pixel come along. */
typedef struct {
  int64_t in_width, out_height, out_width, channels;
  const mt_tap *rows, *columns;
} resize_plan;

/* ---- taps ---- */

static mt_tap nearest_tap(int64_t i, int64_t in, int64_t out) {
  int64_t at;
  if (in == out) {
    at = i;
  } else if (out == 2 * in) {
    at = i / 2;
  } else {
    at = (int64_t)floorf((float)i * ((float)in / (float)out));
    if (at > in - 1) at = in - 1;
  }
  return (mt_tap){at, at, 0.0f};
}

static mt_tap bilinear_tap(int64_t i, int64_t in, int64_t out) {
  if (in == out) return (mt_tap){i, i, 0.0f};
  float position = ((float)in / (float)out) * ((float)i + 0.5f) - 0.5f;
  if (position < 0.0f) position = 0.0f;
  int64_t low = (int64_t)position;
  if (low > in - 1) low = in - 1;
  return (mt_tap){low, low < in - 1 ? low + 1 : low, position - (float)low};
}

void mt_resize_taps(mt_tap *taps, int64_t in, int64_t out, mt_resize_mode mode) {
  for (int64_t i = 0; i < out; i++)
    taps[i] = mode == MT_RESIZE_NEAREST ? nearest_tap(i, in, out) : bilinear_tap(i, in, out);
}

/* ---- one image ---- */

static float blend(float top_left, float top_right, float bottom_left, float bottom_right, float x, float y) {
  return (1.0f - y) * ((1.0f - x) * top_left + x * top_right) + y * ((1.0f - x) * bottom_left + x * bottom_right);
}

/* The same loop for both dtypes. */
#define DEFINE_BILINEAR(name, type, store)                                                              \
  static void name(const type *from, const resize_plan *plan, type *to) {                               \
    const int64_t channels = plan->channels;                                                            \
    for (int64_t y = 0; y < plan->out_height; y++) {                                                    \
      const mt_tap row = plan->rows[y];                                                                 \
      const type *top = from + row.low * plan->in_width * channels;                                     \
      const type *bottom = from + row.high * plan->in_width * channels;                                 \
      for (int64_t x = 0; x < plan->out_width; x++) {                                                   \
        const mt_tap column = plan->columns[x];                                                         \
        const int64_t left = column.low * channels, right = column.high * channels;                     \
        for (int64_t c = 0; c < channels; c++)                                                          \
          *to++ = (type)store(blend(top[left + c], top[right + c], bottom[left + c], bottom[right + c], \
                                    column.fraction, row.fraction));                                    \
      }                                                                                                 \
    }                                                                                                   \
  }
#define KEEP(value) (value)
#define ROUND(value) ((value) + 0.5f)
DEFINE_BILINEAR(bilinear_f32, float, KEEP)
DEFINE_BILINEAR(bilinear_u8, uint8_t, ROUND)

static void nearest(const char *from, const resize_plan *plan, size_t pixel_bytes, char *to) {
  for (int64_t y = 0; y < plan->out_height; y++) {
    const char *row = from + (size_t)(plan->rows[y].low * plan->in_width) * pixel_bytes;
    for (int64_t x = 0; x < plan->out_width; x++, to += pixel_bytes)
      memcpy(to, row + (size_t)plan->columns[x].low * pixel_bytes, pixel_bytes);
  }
}

void mt_resize_plane(const float *from, int64_t in_width, const mt_tap *rows, int64_t out_height, const mt_tap *columns,
                     int64_t out_width, float *to) {
  const resize_plan plan = {in_width, out_height, out_width, 1, rows, columns};
  bilinear_f32(from, &plan, to);
}

/* ---- tensors ---- */

static int check_resize(const mt_tensor *images, int axis, const int64_t size[2]) {
  char text[MT_SHAPE_TEXT];
  if (axis > 1 || images->ndim < axis + 2 || images->ndim > axis + 3)
    return mt_fail(MT_ERROR_ARGUMENT, "resize: images has shape %s, expected {H,W}, {H,W,C}, {N,H,W} or {N,H,W,C}",
                   mt_shape_text(images->ndim, images->shape, text));
  if (images->dtype == MT_INT32)
    return mt_fail(MT_ERROR_ARGUMENT, "resize: images is int32, expected float32 or uint8");
  if (images->shape[axis] < 1 || images->shape[axis + 1] < 1)
    return mt_fail(MT_ERROR_ARGUMENT, "resize: images has shape %s, expected at least one pixel",
                   mt_shape_text(images->ndim, images->shape, text));
  if (size[0] < 1 || size[1] < 1)
    return mt_fail(MT_ERROR_ARGUMENT, "resize: size is %s, expected at least {1,1}", mt_shape_text(2, size, text));
  return 0;
}

static void resize_one(const mt_tensor *images, mt_tensor *resized, const resize_plan *plan, mt_resize_mode mode,
                       int64_t from, int64_t to) {
  const size_t item = mt_dtype_size(images->dtype);
  if (mode == MT_RESIZE_NEAREST) {
    nearest((const char *)images->data + (size_t)from * item, plan, (size_t)plan->channels * item,
            (char *)resized->data + (size_t)to * item);
  } else if (images->dtype == MT_FLOAT32) {
    bilinear_f32(mt_f32(images) + from, plan, mt_f32(resized) + to);
  } else {
    bilinear_u8(mt_u8(images) + from, plan, mt_u8(resized) + to);
  }
}

typedef struct {
  const mt_tensor *images;
  mt_tensor *resized;
  const resize_plan *plan;
  mt_resize_mode mode;
  int64_t from_size, to_size;
} resize_work;

static void resize_range(const void *context, int64_t begin, int64_t end) {
  const resize_work *w = context;
  for (int64_t i = begin; i < end; i++)
    resize_one(w->images, w->resized, w->plan, w->mode, i * w->from_size, i * w->to_size);
}

mt_tensor *mt_resize(const mt_tensor *images, int axis, const int64_t size[2], mt_resize_mode mode) {
  if (check_resize(images, axis, size) < 0) return NULL;
  int64_t shape[MT_MAX_DIMS];
  memcpy(shape, images->shape, sizeof shape);
  shape[axis] = size[0];
  shape[axis + 1] = size[1];
  const int64_t count = axis ? images->shape[0] : 1;
  const int64_t channels = images->ndim == axis + 3 ? images->shape[axis + 2] : 1;
  mt_tensor *resized = mt_tensor_new(images->dtype, images->ndim, shape);
  mt_tap *taps = resized ? mt_alloc((size_t)(size[0] + size[1]) * sizeof *taps) : NULL;
  if (!taps) {
    mt_release(resized);
    return NULL;
  }
  mt_resize_taps(taps, images->shape[axis], size[0], mode);
  mt_resize_taps(taps + size[0], images->shape[axis + 1], size[1], mode);
  const resize_plan plan = {images->shape[axis + 1], size[0], size[1], channels, taps, taps + size[0]};
  const int64_t from_size = images->shape[axis] * images->shape[axis + 1] * channels;
  const int64_t to_size = size[0] * size[1] * channels;
  mt_parallel(count, mt_chunk(count, to_size, PARALLEL_FROM), resize_range,
              &(resize_work){images, resized, &plan, mode, from_size, to_size});
  mt_free(taps);
  return resized;
}
