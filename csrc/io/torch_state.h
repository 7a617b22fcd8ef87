/* The tensors of a chosen state dict: their names and places, and their values out of the file. */
#ifndef MT_IO_TORCH_STATE_H
#define MT_IO_TORCH_STATE_H

#include <stdio.h>

#include "io/torch_object.h"
#include "io/weights.h"

typedef struct {
  char *name;
  const mt_torch_tensor *tensor;
  mt_torch_storage *storage;
  size_t order; /* in the dict */
  bool contiguous;
} mt_torch_entry;

/* Zero-initialised but for objects, file_size and out it is empty; mt_torch_state_free is always safe. */
typedef struct {
  mt_torch_objects *objects;
  int64_t file_size; /* bounds what is allocated */
  mt_torch_entry *entries;
  size_t count, capacity;
  int64_t cost;    /* of names and tensors so far, as memory */
  mt_weights *out; /* where the tensors go */
} mt_torch_state;

/* Lists the tensors of a dict, object or module, and marks their storages as needed. */
int mt_torch_list_state(mt_torch_state *state, const mt_pickle_value *chosen);
/* Reads them; the offsets of all needed storages are set. */
int mt_torch_read_state(mt_torch_state *state, FILE *file);
void mt_torch_state_free(mt_torch_state *state);

#endif
