/* Dense row-major tensors over reference-counted storage.
 *
 * Invariants: a tensor is always contiguous (strides follow from the shape), its `count` is the
 * product of its shape, and `data` points into `storage`, which it keeps alive. Several tensors
 * may share one storage (reshape, and ranges of the first axis); everything else copies.
 * Images are N,H,W,C. Up to MT_MAX_DIMS axes; zero axes is a scalar; an axis may be 0 long. */
#ifndef MT_CORE_TENSOR_H
#define MT_CORE_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

#define MT_MAX_DIMS 6
#define MT_SHAPE_TEXT 128

typedef enum { MT_FLOAT32, MT_UINT8, MT_INT32, MT_DTYPE_COUNT } mt_dtype;

typedef struct {
  int refs;
  size_t bytes;
  uint64_t version; /* another one after every write, which no other storage ever has: what was made from some values
                       (a graph's saved ones, folded weights) is still right while this is the same */
  /* NULL, or the method that copied a tensor's part here where scripts may expect to see the tensor itself: the binding
   * refuses to write to it */
  const char *copied_by;
  void *data;
} mt_storage;

struct mt_node;

typedef struct mt_tensor {
  int refs;
  mt_dtype dtype;
  int ndim;
  int64_t shape[MT_MAX_DIMS];
  int64_t count;
  mt_storage *storage;
  void *data;
  /* autograd (autograd/tape.h) */
  bool requires_grad;   /* a leaf whose gradient is wanted, or the result of recorded operations */
  bool is_parameter;    /* a module's weight: not differentiated where only activations are (CAM) */
  struct mt_node *node; /* the operation that made it; NULL for leaves */
  /* How to let go of it, set with it: tensors know nothing else of the tape. */
  void (*release_node)(struct mt_node *node);
  struct mt_tensor *grad; /* leaves only, after backward */
  int uses;               /* of a leaf, in the graph that is being walked; only where leaves are watched */
} mt_tensor;

/* Creation. Values are uninitialised with _new. NULL on error. */
mt_tensor *mt_tensor_new(mt_dtype dtype, int ndim, const int64_t *shape);
mt_tensor *mt_tensor_zeros(mt_dtype dtype, int ndim, const int64_t *shape);
mt_tensor *mt_tensor_full(mt_dtype dtype, int ndim, const int64_t *shape, double value);
mt_tensor *mt_tensor_scalar(float value);
/* An uninitialised tensor of the same dtype and shape / a copy of the values (no autograd history). */
mt_tensor *mt_tensor_like(const mt_tensor *t);
mt_tensor *mt_tensor_copy(const mt_tensor *t);

mt_tensor *mt_retain(mt_tensor *t);
void mt_release(mt_tensor *t); /* NULL is allowed */

/* A tensor over the same storage, from element `offset`, without autograd history. */
mt_tensor *mt_tensor_alias(const mt_tensor *t, int64_t offset, int ndim, const int64_t *shape);
/* The same values without history. */
mt_tensor *mt_tensor_detach(const mt_tensor *t);

/* Marks an in-place write: whatever writes to a tensor that others may have seen must call this. */
void mt_touch(mt_tensor *t);

static inline float *mt_f32(const mt_tensor *t) { return (float *)t->data; }
static inline uint8_t *mt_u8(const mt_tensor *t) { return (uint8_t *)t->data; }
static inline int32_t *mt_i32(const mt_tensor *t) { return (int32_t *)t->data; }

size_t mt_tensor_bytes(const mt_tensor *t);

size_t mt_dtype_size(mt_dtype dtype);
const char *mt_dtype_name(mt_dtype dtype); /* "float32", "uint8", "int32" */
int mt_dtype_from_name(const char *name);  /* -1 when unknown, without setting an error */

bool mt_same_shape(const mt_tensor *a, const mt_tensor *b);
/* Product of a shape; -1 with an error naming `op` on a negative size or overflow. */
int64_t mt_shape_count(const char *op, int ndim, const int64_t *shape);
/* "{2,3}" into buffer[MT_SHAPE_TEXT]; returns buffer. */
const char *mt_shape_text(int ndim, const int64_t *shape, char *buffer);

/* Checks at the door of an operation; -1 with "op: argument is ..., expected ...". */
int mt_expect_dtype(const mt_tensor *t, mt_dtype dtype, const char *op, const char *argument);
/* What images of the wrong shape look like, and how to make {N,H,W,C} of them, for the end of a message; "" where they
 * look like nothing known. */
const char *mt_image_hint(const mt_tensor *t);
int mt_expect_ndim(const mt_tensor *t, int ndim, const char *op, const char *argument, const char *meaning);
int mt_expect_shape(const mt_tensor *t, int ndim, const int64_t *shape, const char *op, const char *argument);

#endif
