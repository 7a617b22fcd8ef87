#include "image/augment.h"

#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "core/random.h"
#include "core/threads.h"

/* ---- draws ---- */

/* One step's draws for one image: blocks of the stream `key`, numbered from `counter`. */
typedef struct {
  uint64_t key, counter;
} draws;

#define DRAW_BITS 8 /* draws of a step; then the step; then the image */
#define STEP_BITS 4

_Static_assert(MT_AUGMENT_MAX_STEPS <= 1 << STEP_BITS, "a step's number fits");

/* Neighbouring seeds and epochs give unrelated streams, none of which is one that shuffles (the finaliser of
 * splitmix64, Steele et al., OOPSLA 2014). */
static uint64_t scramble(uint64_t x) {
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

static draws draws_of(mt_augment_key key, int32_t index, int step) {
  const uint64_t stream = scramble(scramble(key.seed + 0x9e3779b97f4a7c15u) + key.epoch);
  return (draws){stream, ((uint64_t)(uint32_t)index << STEP_BITS | (uint64_t)step) << DRAW_BITS};
}

static uint32_t next_bits(draws *d) {
  uint32_t bits[4];
  mt_philox(d->key, d->counter++, bits);
  return bits[0];
}

static double draw(draws *d, double low, double high) { return low + (high - low) * ((double)next_bits(d) * 0x1p-32); }

/* 0 to bound - 1, bound <= 2^32 */
static int64_t draw_below(draws *d, int64_t bound) { return (int64_t)((uint64_t)next_bits(d) * (uint64_t)bound >> 32); }

/* ---- ranges to parameters ---- */

static mt_transform draw_affine(const mt_augmentation *a, mt_image_size size, draws *d) {
  mt_transform t = {.kind = MT_TRANSFORM_AFFINE};
  t.affine.angle = draw(d, a->affine.angle.low, a->affine.angle.high);
  const double most_y = a->affine.shift[0] * (double)size.height, most_x = a->affine.shift[1] * (double)size.width;
  t.affine.shift[0] = nearbyint(draw(d, -most_y, most_y));
  t.affine.shift[1] = nearbyint(draw(d, -most_x, most_x));
  t.affine.bilinear = a->affine.bilinear;
  return t;
}

static int64_t or_as_is(int64_t wanted, int64_t as_is) { return wanted ? wanted : as_is; }

static mt_transform draw_crop(const mt_augmentation *a, mt_image_size size, draws *d) {
  mt_transform t = {.kind = MT_TRANSFORM_CROP};
  const int64_t *padding = a->crop.padding;
  t.crop.height = or_as_is(a->crop.height, size.height);
  t.crop.width = or_as_is(a->crop.width, size.width);
  t.crop.box =
      (mt_box){draw_below(d, size.height + 2 * padding[0] - t.crop.height + 1) - padding[0],
               draw_below(d, size.width + 2 * padding[1] - t.crop.width + 1) - padding[1], t.crop.height, t.crop.width};
  return t;
}

/* Where no box fits: the middle, with the nearest ratio that is allowed. */
static mt_box middle_box(mt_image_size size, mt_range ratio) {
  const double as_is = (double)size.width / (double)size.height;
  mt_box box = {0, 0, size.height, size.width};
  if (as_is < ratio.low) box.height = (int64_t)nearbyint((double)size.width / ratio.low);
  if (as_is > ratio.high) box.width = (int64_t)nearbyint((double)size.height * ratio.high);
  if (box.height < 1) box.height = 1;
  if (box.width < 1) box.width = 1;
  box.top = (size.height - box.height) / 2;
  box.left = (size.width - box.width) / 2;
  return box;
}

static mt_box draw_box(const mt_augmentation *a, mt_image_size size, draws *d) {
  const mt_range area = a->resized_crop.area, ratio = a->resized_crop.ratio;
  for (int attempt = 0; attempt < 10; attempt++) {
    const double pixels = draw(d, area.low, area.high) * (double)size.height * (double)size.width;
    const double drawn_ratio = exp(draw(d, log(ratio.low), log(ratio.high)));
    const double width = nearbyint(sqrt(pixels * drawn_ratio)), height = nearbyint(sqrt(pixels / drawn_ratio));
    if (!(width >= 1.0 && width <= (double)size.width && height >= 1.0 && height <= (double)size.height)) continue;
    mt_box box = {0, 0, (int64_t)height, (int64_t)width};
    box.top = draw_below(d, size.height - box.height + 1);
    box.left = draw_below(d, size.width - box.width + 1);
    return box;
  }
  return middle_box(size, ratio);
}

static mt_transform draw_resized_crop(const mt_augmentation *a, mt_image_size size, draws *d) {
  mt_transform t = {.kind = MT_TRANSFORM_RESIZED_CROP};
  t.crop.height = or_as_is(a->resized_crop.height, size.height);
  t.crop.width = or_as_is(a->resized_crop.width, size.width);
  t.crop.box = draw_box(a, size, d);
  return t;
}

static mt_transform draw_color(const mt_augmentation *a, draws *d) {
  mt_transform t = {.kind = MT_TRANSFORM_COLOR};
  for (int change = 0; change < MT_COLOR_COUNT; change++) {
    const mt_range *range = &a->color.amount[change];
    if (range->low < range->high) t.color.order[t.color.count++] = (mt_color_change)change;
    t.color.amount[change] = (float)draw(d, range->low, range->high);
  }
  for (int i = t.color.count - 1; i > 0; i--) {
    const int64_t j = draw_below(d, i + 1);
    const mt_color_change other = t.color.order[j];
    t.color.order[j] = t.color.order[i];
    t.color.order[i] = other;
  }
  return t;
}

/* false: this image stays as it is. */
static bool draw_transform(const mt_augmentation *a, mt_image_size size, draws d, mt_transform *t) {
  switch (a->kind) {
    case MT_TRANSFORM_FLIP:
      *t = (mt_transform){.kind = MT_TRANSFORM_FLIP};
      return draw(&d, 0.0, 1.0) < a->flip.probability;
    case MT_TRANSFORM_AFFINE:
      *t = draw_affine(a, size, &d);
      return true;
    case MT_TRANSFORM_CROP:
      *t = draw_crop(a, size, &d);
      return true;
    case MT_TRANSFORM_RESIZED_CROP:
      *t = draw_resized_crop(a, size, &d);
      return true;
    case MT_TRANSFORM_COLOR:
      *t = draw_color(a, &d);
      return t->color.count > 0;
    case MT_TRANSFORM_NORMALIZE:
      *t = (mt_transform){.kind = MT_TRANSFORM_NORMALIZE, .normalize = {a->normalize.mean, a->normalize.std}};
      return true;
  }
  return false;
}

/* ---- sizes ---- */

/* The size after a step, which is the same for every image. */
static mt_image_size size_after(const mt_augmentation *a, mt_image_size size) {
  if (a->kind == MT_TRANSFORM_CROP)
    return (mt_image_size){or_as_is(a->crop.height, size.height), or_as_is(a->crop.width, size.width), size.channels};
  if (a->kind == MT_TRANSFORM_RESIZED_CROP)
    return (mt_image_size){or_as_is(a->resized_crop.height, size.height), or_as_is(a->resized_crop.width, size.width),
                           size.channels};
  return size;
}

/* A bound for every box: the scratch memory of the whole image as the box. */
static size_t scratch_for(const mt_augmentation *a, mt_image_size size) {
  if (a->kind != MT_TRANSFORM_RESIZED_CROP) return 0;
  const mt_image_size after = size_after(a, size);
  const mt_transform t = {.kind = MT_TRANSFORM_RESIZED_CROP,
                          .crop = {{0, 0, size.height, size.width}, after.height, after.width}};
  const mt_transform least = {.kind = MT_TRANSFORM_RESIZED_CROP, .crop = {{0, 0, 1, 1}, after.height, after.width}};
  return mt_transform_scratch(&t, size) + mt_transform_scratch(&least, size);
}

static int check_step(const mt_augmentation *a, mt_image_size size, int number) {
  if (a->kind == MT_TRANSFORM_COLOR && size.channels != 1 && size.channels != 3)
    return mt_fail(MT_ERROR_ARGUMENT, "augment: step %d changes colours: images have %lld channels, expected 1 or 3",
                   number, (long long)size.channels);
  if (a->kind == MT_TRANSFORM_NORMALIZE && a->normalize.channels != size.channels)
    return mt_fail(MT_ERROR_ARGUMENT, "augment: step %d normalises %lld channels: images have %lld", number,
                   (long long)a->normalize.channels, (long long)size.channels);
  if (a->kind != MT_TRANSFORM_CROP) return 0;
  const int64_t height = size.height + 2 * a->crop.padding[0], width = size.width + 2 * a->crop.padding[1];
  if (a->crop.height <= height && a->crop.width <= width) return 0;
  return mt_fail(MT_ERROR_ARGUMENT,
                 "augment: step %d crops %lld x %lld, expected at most %lld x %lld (image and padding)", number,
                 (long long)a->crop.height, (long long)a->crop.width, (long long)height, (long long)width);
}

/* ---- batches ---- */

static size_t image_bytes(mt_image_size size) {
  return (size_t)(size.height * size.width * size.channels) * sizeof(float);
}

static size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

int mt_augment_prepare(mt_augment_plan *plan) {
  mt_image_size *size = &plan->result;
  *size = plan->size;
  for (int i = 0; i < plan->count; i++) {
    const mt_augmentation *a = &plan->steps[i];
    if (check_step(a, *size, i + 1) < 0) return -1;
    const size_t scratch = scratch_for(a, *size);
    if (scratch > plan->scratch_bytes) plan->scratch_bytes = scratch;
    *size = size_after(a, *size);
    if (image_bytes(*size) > plan->image_bytes) plan->image_bytes = image_bytes(*size);
  }
  plan->image_bytes = aligned(plan->image_bytes);
  plan->scratch_bytes = aligned(plan->scratch_bytes);
  plan->work_bytes = 2 * plan->image_bytes + plan->scratch_bytes;
  return 0;
}

/* `work` holds two images and the scratch memory: an image goes back and forth between the two. */
void mt_augment_image(const mt_augment_plan *plan, const float *from, int32_t index, char *work, float *to) {
  mt_image_size size = plan->size;
  int next = 0;
  for (int i = 0; i < plan->count; i++) {
    mt_transform t;
    if (!draw_transform(&plan->steps[i], size, draws_of(plan->key, index, i), &t)) continue;
    float *changed = (float *)(void *)(work + (size_t)next * plan->image_bytes);
    mt_transform_apply(&t, from, size, changed, work + 2 * plan->image_bytes);
    from = changed;
    next = 1 - next;
    size = mt_transform_size(&t, size);
  }
  memcpy(to, from, image_bytes(size));
}

static int check_batch(const mt_tensor *images, const mt_tensor *indices) {
  char text[MT_SHAPE_TEXT];
  if (mt_expect_dtype(images, MT_FLOAT32, "augment", "images") < 0 ||
      mt_expect_ndim(images, 4, "augment", "images", "{B,H,W,C}") < 0 ||
      mt_expect_dtype(indices, MT_INT32, "augment", "indices") < 0 ||
      mt_expect_shape(indices, 1, images->shape, "augment", "indices") < 0)
    return -1;
  for (int axis = 1; axis < 4; axis++)
    if (images->shape[axis] < 1 || images->shape[axis] > MT_TRANSFORM_MAX_SIDE)
      return mt_fail(MT_ERROR_ARGUMENT, "augment: images has shape %s, expected 1 to %lld pixels a side and channels",
                     mt_shape_text(4, images->shape, text), (long long)MT_TRANSFORM_MAX_SIDE);
  return 0;
}

typedef struct {
  const mt_augment_plan *plan;
  const float *from;
  const int32_t *indices;
  float *to;
  int64_t from_count, to_count;
  char *work; /* of each worker */
} augment_work;

static void augment_range(const void *context, int64_t begin, int64_t end) {
  const augment_work *w = context;
  for (int64_t i = begin; i < end; i++)
    mt_augment_image(w->plan, w->from + i * w->from_count, w->indices[i],
                     w->work + w->plan->work_bytes * (size_t)mt_worker(), w->to + i * w->to_count);
}

mt_tensor *mt_augment(const mt_tensor *images, const mt_tensor *indices, mt_augment_key key,
                      const mt_augmentation *steps, int count) {
  if (check_batch(images, indices) < 0) return NULL;
  mt_augment_plan plan = {
      .key = key, .steps = steps, .count = count, .size = {images->shape[1], images->shape[2], images->shape[3]}};
  if (mt_augment_prepare(&plan) < 0) return NULL;
  const int64_t shape[4] = {images->shape[0], plan.result.height, plan.result.width, plan.result.channels};
  mt_tensor *changed = mt_tensor_new(MT_FLOAT32, 4, shape);
  char *work = changed ? mt_alloc(plan.work_bytes * (size_t)mt_num_threads()) : NULL;
  if (!work) {
    mt_release(changed);
    return NULL;
  }
  const int64_t from_count = shape[0] ? images->count / shape[0] : 0,
                to_count = shape[0] ? changed->count / shape[0] : 0;
  mt_parallel(shape[0], 4, augment_range,
              &(augment_work){&plan, mt_f32(images), mt_i32(indices), mt_f32(changed), from_count, to_count, work});
  mt_free(work);
  return changed;
}
