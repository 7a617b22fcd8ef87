/* Named tensors with text metadata, as files hold them, and the kinds of files they come in. */
#ifndef MT_IO_WEIGHTS_H
#define MT_IO_WEIGHTS_H

#include <stddef.h>

#include "core/tensor.h"

typedef struct {
  char *name;
  mt_tensor *tensor;
} mt_named_tensor;

typedef struct {
  char *key, *value;
} mt_text_pair;

/* Zero-initialised it is empty; mt_weights_free is always safe. */
typedef struct {
  mt_named_tensor *tensors;
  size_t n_tensors, tensors_capacity;
  mt_text_pair *metadata;
  size_t n_metadata, metadata_capacity;
} mt_weights;

/* Takes over the reference to tensor, also on error. */
int mt_weights_add(mt_weights *weights, const char *name, mt_tensor *tensor);
int mt_weights_add_metadata(mt_weights *weights, const char *key, const char *value);
void mt_weights_free(mt_weights *weights);

/* Reads a file of any known kind, told by its contents. On error `out` may hold a part: free it. */
int mt_weights_load(const char *path, mt_weights *out);

#endif
