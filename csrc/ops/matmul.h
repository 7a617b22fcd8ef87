/* Matrix products of float32 tensors, differentiable. */
#ifndef MT_OPS_MATMUL_H
#define MT_OPS_MATMUL_H

#include "core/tensor.h"

/* {...,M,K} x {...,K,N} -> {...,M,N}: the axes in front are a batch and broadcast. A vector {K} stands for {1,K} on the
 * left and for {K,1} on the right, and the axis of length 1 is not in the result. As torch.matmul. */
mt_tensor *mt_matmul(mt_tensor *a, mt_tensor *b);

#endif
