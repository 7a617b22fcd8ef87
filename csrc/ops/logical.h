/* Whether any or all elements along some axes (a set of bits as in ops/reduce.h) are not 0 (NaN is not): uint8. */
#ifndef MT_OPS_LOGICAL_H
#define MT_OPS_LOGICAL_H

#include "core/tensor.h"

mt_tensor *mt_any(mt_tensor *t, unsigned axes, bool keepdim); /* of nothing: 0 */
mt_tensor *mt_all(mt_tensor *t, unsigned axes, bool keepdim); /* of nothing: 1 */

#endif
