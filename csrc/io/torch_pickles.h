/* The run of pickles that torch.save's older format begins with; and a storage that was pickled by itself, as such a
 * format within a pickle: how pickle.dump writes tensors. */
#ifndef MT_IO_TORCH_PICKLES_H
#define MT_IO_TORCH_PICKLES_H

#include "io/torch_object.h"

/* The object that the data is about, and the list of the keys of its storages, which follow behind. A pickle that does
 * not begin with the format's magic number is the object itself: keys is NONE. */
int mt_torch_next_object(mt_pickle *pickle, const char *path, mt_pickle_value *object, mt_pickle_value *keys);

/* The storage in (bytes); as the hook `call`. */
int mt_torch_storage_of_bytes(mt_torch_objects *o, const mt_pickle_items *args, mt_pickle_value *result);

#endif
