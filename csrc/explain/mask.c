#include "explain/mask.h"

#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "core/threads.h"
#include "explain/rank.h"
#include "image/resize.h"

/* What all images share: sizes, and the taps that lead from heatmap to surface and from surface to mask. */
typedef struct {
  mt_protocol protocol;
  int64_t heat_height, heat_width, heat_size;
  int64_t surface_height, surface_width, surface_size;
  int64_t height, width;
  mt_tap *taps; /* bilinear to the surface (rows, columns), nearest to the mask (rows, columns) */
  const mt_tap *surface_rows, *surface_columns, *mask_rows, *mask_columns;
} mask_plan;

/* One thread's scratch. */
typedef struct {
  float *scaled, *surface, *keep;
  mt_ranked *order;
} scratch;

/* ---- set-up ---- */

int mt_heat_check_finite(const mt_tensor *heat, const char *op) {
  const int64_t size = heat->shape[1] * heat->shape[2];
  for (int64_t i = 0; i < heat->count; i++) {
    if (!isfinite(mt_f32(heat)[i]))
      return mt_fail(MT_ERROR_ARGUMENT, "%s: heat of image %lld holds %s, expected finite values", op,
                     (long long)(i / size + 1), isnan(mt_f32(heat)[i]) ? "NaN" : "infinity");
  }
  return 0;
}

static int check_heat(const mt_tensor *heat, const int64_t size[2], const char *op) {
  char text[MT_SHAPE_TEXT];
  if (mt_expect_dtype(heat, MT_FLOAT32, op, "heat") < 0) return -1;
  if (heat->ndim != 3 || heat->shape[1] < 1 || heat->shape[2] < 1)
    return mt_fail(MT_ERROR_ARGUMENT, "%s: heat has shape %s, expected {N,h,w}", op,
                   mt_shape_text(heat->ndim, heat->shape, text));
  const int64_t largest = INT32_MAX; /* positions are ranked with 32-bit indices */
  if (size[0] < 1 || size[1] < 1 || size[0] > largest / size[1] || heat->shape[1] > largest / heat->shape[2])
    return mt_fail(MT_ERROR_ARGUMENT, "%s: size is %s, expected 1 to %lld pixels", op, mt_shape_text(2, size, text),
                   (long long)largest);
  return mt_heat_check_finite(heat, op);
}

static int plan_init(mask_plan *plan, const mt_tensor *heat, mt_protocol protocol, const int64_t size[2]) {
  const bool enlarged = protocol == MT_PROTOCOL_REFERENCE;
  *plan = (mask_plan){.protocol = protocol,
                      .heat_height = heat->shape[1],
                      .heat_width = heat->shape[2],
                      .surface_height = enlarged ? size[0] : heat->shape[1],
                      .surface_width = enlarged ? size[1] : heat->shape[2],
                      .height = size[0],
                      .width = size[1]};
  plan->heat_size = plan->heat_height * plan->heat_width;
  plan->surface_size = plan->surface_height * plan->surface_width;
  const int64_t count = plan->surface_height + plan->surface_width + plan->height + plan->width;
  plan->taps = mt_alloc((size_t)count * sizeof *plan->taps);
  if (!plan->taps) return -1;
  mt_tap *next = plan->taps;
  plan->surface_rows = next;
  mt_resize_taps(next, plan->heat_height, plan->surface_height, MT_RESIZE_BILINEAR);
  plan->surface_columns = next += plan->surface_height;
  mt_resize_taps(next, plan->heat_width, plan->surface_width, MT_RESIZE_BILINEAR);
  plan->mask_rows = next += plan->surface_width;
  mt_resize_taps(next, plan->surface_height, plan->height, MT_RESIZE_NEAREST);
  plan->mask_columns = next += plan->height;
  mt_resize_taps(next, plan->surface_width, plan->width, MT_RESIZE_NEAREST);
  return 0;
}

/* ---- the surface ---- */

typedef struct {
  float low, high;
} extent;

static extent extent_of(const float *values, int64_t count) {
  extent e = {values[0], values[0]};
  for (int64_t i = 1; i < count; i++) {
    if (values[i] < e.low) e.low = values[i];
    if (values[i] > e.high) e.high = values[i];
  }
  return e;
}

/* To [0,1]; values that are all alike become 0. In double: high - low may exceed float's range. */
static void scale_to_unit(const float *from, int64_t count, float *to) {
  const extent e = extent_of(from, count);
  const double range = (double)e.high - e.low;
  for (int64_t i = 0; i < count; i++) to[i] = range > 0.0 ? (float)(((double)from[i] - e.low) / range) : 0.0f;
}

static void make_surface(const mask_plan *plan, const float *heat, const scratch *s) {
  if (plan->protocol == MT_PROTOCOL_PAPER) {
    memcpy(s->surface, heat, (size_t)plan->heat_size * sizeof *heat);
    return;
  }
  scale_to_unit(heat, plan->heat_size, s->scaled);
  mt_resize_plane(s->scaled, plan->heat_width, plan->surface_rows, plan->surface_height, plan->surface_columns,
                  plan->surface_width, s->surface);
  scale_to_unit(s->surface, plan->surface_size, s->surface);
}

/* Whether a value takes part in the statistics. */
static bool counts(const mask_plan *plan, float value) { return plan->protocol == MT_PROTOCOL_PAPER || value > 0.0f; }

static double sum_of(const mask_plan *plan, const float *surface, int64_t *count) {
  double sum = 0.0;
  *count = 0;
  for (int64_t i = 0; i < plan->surface_size; i++) {
    if (!counts(plan, surface[i])) continue;
    sum += surface[i];
    ++*count;
  }
  return sum;
}

/* ---- rules: surface to keep, both surface_size long ---- */

static void keep_up_to(const float *surface, int64_t count, double tau, float *keep) {
  for (int64_t i = 0; i < count; i++) keep[i] = surface[i] <= tau ? 1.0f : 0.0f;
}

static void apply_sigma(const mask_plan *plan, const mt_mask_options *options, const scratch *s) {
  int64_t count;
  const double mean = sum_of(plan, s->surface, &count) / (double)count;
  double squares = 0.0;
  for (int64_t i = 0; i < plan->surface_size; i++)
    if (counts(plan, s->surface[i])) squares += (s->surface[i] - mean) * (s->surface[i] - mean);
  keep_up_to(s->surface, plan->surface_size, mean + options->k * sqrt(squares / (double)count), s->keep);
}

static void apply_global_mean(const mask_plan *plan, const mt_mask_options *options, const scratch *s) {
  keep_up_to(s->surface, plan->surface_size, options->mean, s->keep);
}

static void apply_soft(const mask_plan *plan, const mt_mask_options *options, const scratch *s) {
  (void)options;
  scale_to_unit(s->surface, plan->surface_size, s->keep);
  for (int64_t i = 0; i < plan->surface_size; i++) s->keep[i] = 1.0f - s->keep[i];
}

static void apply_topk(const mask_plan *plan, const mt_mask_options *options, const scratch *s) {
  const float low = extent_of(s->surface, plan->surface_size).low;
  for (int64_t i = 0; i < plan->surface_size; i++) s->keep[i] = 1.0f;
  mt_rank_values(s->surface, plan->surface_size, s->order);
  for (int64_t i = 0; i < options->top && s->order[i].value > low; i++) s->keep[s->order[i].index] = 0.0f;
}

static void (*const rules[])(const mask_plan *, const mt_mask_options *, const scratch *) = {
    [MT_RULE_SIGMA] = apply_sigma,
    [MT_RULE_GLOBAL_MEAN] = apply_global_mean,
    [MT_RULE_SOFT] = apply_soft,
    [MT_RULE_TOPK] = apply_topk,
};

/* ---- threshold ---- */

static void mask_image(const mask_plan *plan, const mt_mask_options *options, const float *heat, const scratch *s) {
  make_surface(plan, heat, s);
  const extent e = extent_of(s->surface, plan->surface_size);
  if (e.low < e.high) {
    rules[options->rule](plan, options, s);
  } else {
    for (int64_t i = 0; i < plan->surface_size; i++) s->keep[i] = 1.0f;
  }
}

static void store_row(const mask_plan *plan, const float *keep, mt_tensor *masks, int64_t at) {
  if (masks->dtype == MT_UINT8)
    for (int64_t x = 0; x < plan->width; x++) mt_u8(masks)[at + x] = (uint8_t)keep[plan->mask_columns[x].low];
  else
    for (int64_t x = 0; x < plan->width; x++) mt_f32(masks)[at + x] = keep[plan->mask_columns[x].low];
}

/* Enlarges s->keep into image i of the masks. */
static void store_mask(const mask_plan *plan, const scratch *s, mt_tensor *masks, int64_t i) {
  const size_t row_bytes = (size_t)plan->width * mt_dtype_size(masks->dtype);
  for (int64_t y = 0; y < plan->height; y++) {
    const int64_t from = plan->mask_rows[y].low, row = i * plan->height + y;
    char *to = (char *)masks->data + (size_t)row * row_bytes;
    if (y > 0 && from == plan->mask_rows[y - 1].low)
      memcpy(to, to - row_bytes, row_bytes);
    else
      store_row(plan, s->keep + from * plan->surface_width, masks, row * plan->width);
  }
}

static size_t scratch_bytes(const mask_plan *plan) {
  const size_t bytes =
      (size_t)plan->heat_size * sizeof(float) + (size_t)plan->surface_size * (2 * sizeof(float) + sizeof(mt_ranked));
  return (bytes + 63) / 64 * 64; /* no two threads in one cache line */
}

static scratch scratch_at(const mask_plan *plan, char *block) {
  scratch s;
  s.order = (mt_ranked *)block;
  s.scaled = (float *)(s.order + plan->surface_size);
  s.surface = s.scaled + plan->heat_size;
  s.keep = s.surface + plan->surface_size;
  return s;
}

static int check_options(const mask_plan *plan, const mt_mask_options *options) {
  if (options->rule == MT_RULE_TOPK && (options->top < 1 || options->top > plan->surface_size))
    return mt_fail(MT_ERROR_ARGUMENT, "threshold: top is %lld, expected 1 to %lld (the values of a %lldx%lld map)",
                   (long long)options->top, (long long)plan->surface_size, (long long)plan->surface_height,
                   (long long)plan->surface_width);
  if (!isfinite(options->k) || !isfinite(options->mean))
    return mt_fail(MT_ERROR_ARGUMENT, "threshold: k is %g and mean is %g, expected finite numbers", options->k,
                   options->mean);
  return 0;
}

typedef struct {
  const mask_plan *plan;
  const mt_mask_options *options;
  const float *heat;
  mt_tensor *masks;
  char *blocks; /* scratch of each worker */
} mask_work;

static void mask_images(const void *context, int64_t begin, int64_t end) {
  const mask_work *w = context;
  const scratch s = scratch_at(w->plan, w->blocks + (size_t)mt_worker() * scratch_bytes(w->plan));
  for (int64_t i = begin; i < end; i++) {
    mask_image(w->plan, w->options, w->heat + i * w->plan->heat_size, &s);
    store_mask(w->plan, &s, w->masks, i);
  }
}

static mt_tensor *threshold_with(const mask_plan *plan, const mt_tensor *heat, const mt_mask_options *options) {
  if (check_options(plan, options) < 0) return NULL;
  const int64_t shape[3] = {heat->shape[0], plan->height, plan->width};
  mt_tensor *masks = mt_tensor_new(options->rule == MT_RULE_SOFT ? MT_FLOAT32 : MT_UINT8, 3, shape);
  char *blocks = masks ? mt_alloc((size_t)mt_num_threads() * scratch_bytes(plan)) : NULL;
  if (!blocks) {
    mt_release(masks);
    return NULL;
  }
  mt_parallel(shape[0], mt_chunk(shape[0], plan->height * plan->width, 2048), mask_images,
              &(mask_work){plan, options, mt_f32(heat), masks, blocks});
  mt_free(blocks);
  return masks;
}

mt_tensor *mt_mask_threshold(const mt_tensor *heat, const mt_mask_options *options) {
  mask_plan plan;
  if (check_heat(heat, options->size, "threshold") < 0 || plan_init(&plan, heat, options->protocol, options->size) < 0)
    return NULL;
  mt_tensor *masks = threshold_with(&plan, heat, options);
  mt_free(plan.taps);
  return masks;
}

/* ---- one mean over all images ---- */

int mt_mask_mean(const mt_tensor *heat, mt_protocol protocol, const int64_t size[2], double *mean, int64_t *count) {
  mask_plan plan;
  if (check_heat(heat, size, "mean") < 0 || plan_init(&plan, heat, protocol, size) < 0) return -1;
  char *block = mt_alloc(scratch_bytes(&plan));
  if (block) {
    const scratch s = scratch_at(&plan, block);
    double sum = 0.0;
    *count = 0;
    for (int64_t i = 0; i < heat->shape[0]; i++) {
      int64_t of_image;
      make_surface(&plan, mt_f32(heat) + i * plan.heat_size, &s);
      sum += sum_of(&plan, s.surface, &of_image);
      *count += of_image;
    }
    *mean = *count ? sum / (double)*count : 0.0;
  }
  mt_free(block);
  mt_free(plan.taps);
  return block ? 0 : -1;
}

/* ---- applying a mask ---- */

static int check_apply(const mt_tensor *images, const mt_tensor *keep) {
  if (images->dtype == MT_INT32) return mt_fail(MT_ERROR_ARGUMENT, "apply: images is int32, expected uint8 or float32");
  if (keep->dtype == MT_INT32) return mt_fail(MT_ERROR_ARGUMENT, "apply: keep is int32, expected uint8 or float32");
  if (mt_expect_ndim(images, 4, "apply", "images", "{N,H,W,C}") < 0) return -1;
  return mt_expect_shape(keep, 3, images->shape, "apply", "keep");
}

static float share_kept(const mt_tensor *keep, int64_t pixel) {
  return keep->dtype == MT_UINT8 ? (mt_u8(keep)[pixel] ? 1.0f : 0.0f) : mt_f32(keep)[pixel];
}

static uint8_t scale_byte(uint8_t value, float share) {
  const float scaled = (float)value * share + 0.5f;
  return scaled >= 255.0f ? 255 : scaled > 0.0f ? (uint8_t)scaled : 0;
}

/* `count` values of which the same share is kept; zeros hide even what is not finite. */
static void apply_to_run(const mt_tensor *images, float share, mt_tensor *masked, int64_t at, int64_t count) {
  const size_t size = mt_dtype_size(images->dtype), from = (size_t)at * size, bytes = (size_t)count * size;
  if (share == 0.0f) {
    memset((char *)masked->data + from, 0, bytes);
  } else if (share == 1.0f) {
    memcpy((char *)masked->data + from, (const char *)images->data + from, bytes);
  } else {
    for (int64_t i = at; i < at + count; i++) {
      if (images->dtype == MT_UINT8)
        mt_u8(masked)[i] = scale_byte(mt_u8(images)[i], share);
      else
        mt_f32(masked)[i] = mt_f32(images)[i] * share;
    }
  }
}

static void apply_to_row(const mt_tensor *images, const mt_tensor *keep, mt_tensor *masked, int64_t row) {
  const int64_t channels = images->shape[3], end = (row + 1) * images->shape[2];
  for (int64_t first = row * images->shape[2], next; first < end; first = next) {
    const float share = share_kept(keep, first);
    for (next = first + 1; next < end && share_kept(keep, next) == share;) next++;
    apply_to_run(images, share, masked, first * channels, (next - first) * channels);
  }
}

typedef struct {
  const mt_tensor *images, *keep;
  mt_tensor *masked;
} application;

static void apply_to_rows(const void *context, int64_t begin, int64_t end) {
  const application *a = context;
  for (int64_t row = begin; row < end; row++) apply_to_row(a->images, a->keep, a->masked, row);
}

mt_tensor *mt_mask_apply(const mt_tensor *images, const mt_tensor *keep) {
  if (check_apply(images, keep) < 0) return NULL;
  mt_tensor *masked = mt_tensor_like(images);
  if (!masked) return NULL;
  const int64_t rows = images->shape[0] * images->shape[1];
  mt_parallel(rows, mt_chunk(rows, images->shape[2] * images->shape[3], 1 << 15), apply_to_rows,
              &(application){images, keep, masked});
  return masked;
}

void mt_mask_dim_bytes(uint8_t *image, const float *keep, int64_t pixels, int64_t channels) {
  for (int64_t i = 0; i < pixels; i++, image += channels)
    for (int64_t c = 0; c < channels && keep[i] != 1.0f; c++) image[c] = scale_byte(image[c], keep[i]);
}
