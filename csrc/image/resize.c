#include "image/resize.h"

#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "core/threads.h"
#include "image/resample.h"

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

/* What of the axes matters. */
typedef struct {
  int64_t count; /* images */
  int64_t height, width, out_height, out_width, channels;
} sizes;

typedef struct {
  const mt_tensor *images;
  mt_tensor *resized;
  int64_t from_size, to_size; /* of an image */
  const resize_plan *plan;    /* of plain resizing */
  mt_resize_mode mode;
  const mt_resample_shape *shape; /* of antialiased resizing, and its scratch: one a worker */
  char *scratch;
  size_t scratch_size;
} resize_work;

static void resize_range(const void *context, int64_t begin, int64_t end) {
  const resize_work *w = context;
  for (int64_t i = begin; i < end; i++)
    resize_one(w->images, w->resized, w->plan, w->mode, i * w->from_size, i * w->to_size);
}

static void resample_range(const void *context, int64_t begin, int64_t end) {
  const resize_work *w = context;
  char *mine = w->scratch + w->scratch_size * (size_t)mt_worker();
  for (int64_t i = begin; i < end; i++) {
    if (w->images->dtype == MT_FLOAT32)
      mt_resample_f32(mt_f32(w->images) + i * w->from_size, w->shape, mt_f32(w->resized) + i * w->to_size, mine);
    else
      mt_resample_u8(mt_u8(w->images) + i * w->from_size, w->shape, mt_u8(w->resized) + i * w->to_size, mine);
  }
}

static int resize_plainly(const mt_tensor *images, mt_tensor *resized, const sizes *s, mt_resize_mode mode) {
  mt_tap *taps = mt_alloc((size_t)(s->out_height + s->out_width) * sizeof *taps);
  if (!taps) return -1;
  mt_resize_taps(taps, s->height, s->out_height, mode);
  mt_resize_taps(taps + s->out_height, s->width, s->out_width, mode);
  const resize_plan plan = {s->width, s->out_height, s->out_width, s->channels, taps, taps + s->out_height};
  const resize_work work = {.images = images,
                            .resized = resized,
                            .from_size = s->height * s->width * s->channels,
                            .to_size = s->out_height * s->out_width * s->channels,
                            .plan = &plan,
                            .mode = mode};
  mt_parallel(s->count, mt_chunk(s->count, work.to_size, PARALLEL_FROM), resize_range, &work);
  mt_free(taps);
  return 0;
}

static int resize_antialiased(const mt_tensor *images, mt_tensor *resized, const sizes *s, mt_filter filter) {
  const mt_resample_shape shape = {s->out_height,          s->out_width, s->height, s->width,
                                   s->width * s->channels, s->channels,  filter};
  const size_t scratch_size = mt_resample_scratch(&shape);
  char *scratch = mt_alloc(scratch_size * (size_t)mt_num_threads());
  if (!scratch) return -1;
  const resize_work work = {.images = images,
                            .resized = resized,
                            .from_size = s->height * shape.stride,
                            .to_size = s->out_height * s->out_width * s->channels,
                            .shape = &shape,
                            .scratch = scratch,
                            .scratch_size = scratch_size};
  mt_parallel(s->count, mt_chunk(s->count, work.from_size, PARALLEL_FROM), resample_range, &work);
  mt_free(scratch);
  return 0;
}

mt_tensor *mt_resize(const mt_tensor *images, int axis, const int64_t size[2], mt_resize_mode mode) {
  if (check_resize(images, axis, size) < 0) return NULL;
  int64_t shape[MT_MAX_DIMS];
  memcpy(shape, images->shape, sizeof shape);
  shape[axis] = size[0];
  shape[axis + 1] = size[1];
  const sizes s = {axis ? images->shape[0] : 1,
                   images->shape[axis],
                   images->shape[axis + 1],
                   size[0],
                   size[1],
                   images->ndim == axis + 3 ? images->shape[axis + 2] : 1};
  mt_tensor *resized = mt_tensor_new(images->dtype, images->ndim, shape);
  if (!resized) return NULL;
  const bool plain = mode == MT_RESIZE_BILINEAR || mode == MT_RESIZE_NEAREST;
  const mt_filter filter = mode == MT_RESIZE_ANTIALIASED_BICUBIC ? MT_FILTER_CUBIC : MT_FILTER_TRIANGLE;
  if ((plain ? resize_plainly(images, resized, &s, mode) : resize_antialiased(images, resized, &s, filter)) == 0)
    return resized;
  mt_release(resized);
  return NULL;
}
