/* A loaded object as a tree of names: what hangs on a dict or an object, and the tensors of a module. */
#ifndef MT_IO_TORCH_TREE_H
#define MT_IO_TORCH_TREE_H

#include "io/torch_object.h"

#define MT_TORCH_PATH 512
#define MT_TORCH_PARTS 3

/* The dicts (key, value, key, value, ...) in which a value keeps what it has under names: its items, its attributes.
 * Returns how many. */
int mt_torch_parts(const mt_pickle_value *value, const mt_pickle_items *parts[MT_TORCH_PARTS]);
/* The last value under a name; NULL where there is none. */
const mt_pickle_value *mt_torch_find(const mt_pickle_value *value, const char *name);

/* A key as a text: a string without zero bytes, or an integer (written into digits). NULL for what is neither. */
const char *mt_torch_key(const mt_pickle_value *key, char digits[24], size_t *size);

/* Whether it is a torch.nn.Module that was saved as a whole. */
bool mt_torch_is_module(const mt_pickle_value *value);
/* Calls visit for what the module's state_dict() would hold, in its order: name (as long as the call), tensor. Ends
 * with what visit returns when that is not 0; -1 with an error when the modules are too many or too deep. */
int mt_torch_walk_module(const mt_torch_objects *o, const mt_pickle_value *module,
                         int (*visit)(void *context, const char *name, const mt_torch_tensor *t), void *context);

#endif
