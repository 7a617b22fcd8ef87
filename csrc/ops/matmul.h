/* Matrix products of float32 tensors, differentiable. */
#ifndef MT_OPS_MATMUL_H
#define MT_OPS_MATMUL_H

#include "core/tensor.h"

/* {M,K} x {K,N} -> {M,N}; {B,M,K} x {B,K,N} -> {B,M,N}, where either side may also be a matrix, used for every B. */
mt_tensor *mt_matmul(mt_tensor *a, mt_tensor *b);

#endif
