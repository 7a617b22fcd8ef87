#include "explain/rank.h"

#include <stdlib.h>

#include "core/memory.h"
#include "core/threads.h"
#include "explain/mask.h"

static int compare_ranked(const void *a, const void *b) {
  const mt_ranked *p = a, *q = b;
  if (p->value != q->value) return p->value > q->value ? -1 : 1;
  return p->index < q->index ? -1 : 1;
}

void mt_rank_values(const float *values, int64_t count, mt_ranked *order) {
  for (int64_t i = 0; i < count; i++) order[i] = (mt_ranked){values[i], (int32_t)i};
  qsort(order, (size_t)count, sizeof *order, compare_ranked);
}

static void rank_image(const float *heat, int64_t size, mt_ranked *order, int32_t *ranks) {
  mt_rank_values(heat, size, order);
  for (int64_t i = 0; i < size; i++) ranks[order[i].index] = (int32_t)i + 1;
}

typedef struct {
  const float *heat;
  int64_t size;
  mt_ranked *orders; /* `size` of each worker */
  int32_t *ranks;
} rank_work;

static void rank_images(const void *context, int64_t begin, int64_t end) {
  const rank_work *w = context;
  for (int64_t i = begin; i < end; i++)
    rank_image(w->heat + i * w->size, w->size, w->orders + mt_worker() * w->size, w->ranks + i * w->size);
}

mt_tensor *mt_heat_rank(const mt_tensor *heat) {
  if (mt_expect_dtype(heat, MT_FLOAT32, "rank", "heat") < 0 || mt_expect_ndim(heat, 3, "rank", "heat", "{N,h,w}") < 0 ||
      mt_heat_check_finite(heat, "rank") < 0)
    return NULL;
  const int64_t size = heat->shape[1] * heat->shape[2];
  if (size > INT32_MAX)
    return mt_fail_null(MT_ERROR_ARGUMENT, "rank: heat has %lld values an image, expected at most %d", (long long)size,
                        INT32_MAX);
  mt_tensor *ranks = mt_tensor_new(MT_INT32, 3, heat->shape);
  mt_ranked *orders = ranks ? mt_alloc((size_t)(mt_num_threads() * size) * sizeof *orders) : NULL;
  if (!orders) {
    mt_release(ranks);
    return NULL;
  }
  mt_parallel(heat->shape[0], mt_chunk(heat->shape[0], size, 2048), rank_images,
              &(rank_work){mt_f32(heat), size, orders, mt_i32(ranks)});
  mt_free(orders);
  return ranks;
}
