/* Embedding: indices {...} int32, 1..rows -> {...,width}. Slot weight {rows,width}, normal (0, 1) at first, as
 * PyTorch's; the padding row is zero at first and gets no gradient. */
#include "ops/embedding.h"

#include <stdio.h>
#include <string.h>

#include "nn/layers.h"
#include "ops/random_fill.h"

typedef struct {
  int64_t rows, width, padding; /* padding: 1..rows; 0: none */
} embedding_state;

static mt_tensor *forward(mt_module *self, mt_tensor *input) {
  return mt_embedding(input, mt_module_slot(self, "weight"), ((const embedding_state *)self->state)->padding);
}

static void describe(const mt_module *self, char *text, size_t size) {
  const embedding_state *s = self->state;
  const int used = snprintf(text, size, "%lld, %lld", (long long)s->rows, (long long)s->width);
  if (s->padding > 0) snprintf(text + used, size - (size_t)used, ", padding_idx %lld", (long long)s->padding);
}

static const mt_module_class embedding_class = {.name = "Embedding", .forward = forward, .describe = describe};

mt_module *mt_embedding_new(int64_t rows, int64_t width, int64_t padding) {
  const int64_t shape[] = {rows, width};
  if (mt_shape_count("Embedding", 2, shape) < 0) return NULL;
  mt_module *m = mt_module_new(&embedding_class, sizeof(embedding_state));
  if (!m) return NULL;
  *(embedding_state *)m->state = (embedding_state){rows, width, padding};
  mt_tensor *weight = mt_tensor_new(MT_FLOAT32, 2, shape);
  if (weight) mt_fill_normal(weight, NULL, 0.0f, 1.0f);
  if (weight && padding > 0) memset(mt_f32(weight) + (padding - 1) * width, 0, (size_t)width * sizeof(float));
  if (mt_module_add_slot(m, "weight", weight, MT_LAYOUT_SAME, false) == 0) return m;
  mt_module_release(m);
  return NULL;
}
