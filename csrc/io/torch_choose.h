/* Which part of a loaded object is the state dict, and the plain values around it.
 *
 * Whatever holds tensors under names can be one: a dict, an object with attributes, a module that was saved whole; an
 * optimiser's state is none. Among several, the rule is: first what stands under a name that training programs use for
 * weights, the least deep and then the first in the list of them; then likewise under a name for averaged weights; then
 * the one with the most tensors. */
#ifndef MT_IO_TORCH_CHOOSE_H
#define MT_IO_TORCH_CHOOSE_H

#include "io/torch_object.h"
#include "io/weights.h"

/* The chosen value; NULL with an error. Where others could have been meant, a notice in `out` names them. With
 * metadata_only, numbers, booleans and strings become metadata under their path ("args.lr"). */
const mt_pickle_value *mt_torch_choose(const mt_torch_objects *o, const mt_pickle_value *root,
                                       const mt_load_request *request, mt_weights *out);

#endif
