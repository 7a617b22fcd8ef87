/* Which part of a loaded object is the state dict, and its tensors out of the file. */
#ifndef MT_IO_TORCH_STATE_H
#define MT_IO_TORCH_STATE_H

#include <stdio.h>

#include "io/torch_object.h"
#include "io/weights.h"

/* root: what the pickle gave; the offsets of all storages are set. `file_size` bounds what is allocated. */
int mt_torch_read_state(FILE *file, int64_t file_size, const mt_torch_objects *objects, const mt_pickle_value *root,
                        mt_weights *out);

#endif
