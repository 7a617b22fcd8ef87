/* Inner loops over plain pointers, built once per instruction set and chosen at run time.
 *
 * Each group of kernels has a header with a list macro: K(result, name, (parameters)). Every .c file
 * here except dispatch.c is compiled for each instruction set with MT_ISA set to avx512, avx2 or
 * plain (GCC vector extensions of MT_VECTOR_BYTES; plain is 16 bytes wide: SSE2, NEON or what the
 * compiler makes of it), and defines its functions as MT_KERNEL(name). Callers write
 * mt_kernels->name(...). MASKTUNE_ISA=avx512|avx2|plain forces a choice.
 *
 * Kernels know no tensor, allocate nothing, open no parallel region and never fail. */
#ifndef MT_KERNELS_KERNELS_H
#define MT_KERNELS_KERNELS_H

#include <stdint.h>

#include "kernels/conv2d.h"
#include "kernels/depthwise.h"
#include "kernels/elementwise.h"
#include "kernels/functions.h"
#include "kernels/gemv.h"
#include "kernels/layer_norm.h"
#include "kernels/norm.h"
#include "kernels/pool.h"
#include "kernels/random.h"
#include "kernels/reduce.h"
#include "kernels/resample.h"
#include "kernels/softmax.h"
#include "kernels/stream.h"
#include "kernels/transpose.h"
#include "kernels/winograd.h"

#define MT_ALL_KERNELS(K)   \
  MT_ELEMENTWISE_KERNELS(K) \
  MT_FUNCTION_KERNELS(K)    \
  MT_RANDOM_KERNELS(K)      \
  MT_REDUCE_KERNELS(K)      \
  MT_GEMV_KERNELS(K)        \
  MT_LAYER_NORM_KERNELS(K)  \
  MT_TRANSPOSE_KERNELS(K)   \
  MT_SOFTMAX_KERNELS(K)     \
  MT_CONV2D_KERNELS(K)      \
  MT_WINOGRAD_KERNELS(K)    \
  MT_STREAM_KERNELS(K)      \
  MT_DEPTHWISE_KERNELS(K) MT_NORM_KERNELS(K) MT_POOL_KERNELS(K) MT_RESAMPLE_KERNELS(K)

#define MT_KERNEL_MEMBER(result, name, parameters) result(*name) parameters;
typedef struct {
  const char *isa;
  int vector_floats;
  MT_ALL_KERNELS(MT_KERNEL_MEMBER)
} mt_kernel_table;

/* The table in use: set before main by dispatch.c, or by mt_select_isa. */
extern const mt_kernel_table *mt_kernels;

/* "avx512", "avx2", "plain"; NULL, or what is wrong with the name, to be said behind it. */
const char *mt_select_isa(const char *name);

#ifdef MT_ISA /* inside a kernel file */
#define MT_PASTE_(a, b) a##_##b
#define MT_PASTE(a, b) MT_PASTE_(a, b)
#define MT_KERNEL(name) MT_PASTE(mt_##name, MT_ISA)
#define MT_VF (MT_VECTOR_BYTES / 4) /* floats in a vector */
typedef float mt_vf __attribute__((vector_size(MT_VECTOR_BYTES)));
typedef float mt_vfu __attribute__((vector_size(MT_VECTOR_BYTES), aligned(4), may_alias)); /* unaligned access */
#define MT_KERNEL_DECLARE(result, name, parameters) result MT_KERNEL(name) parameters;
MT_ALL_KERNELS(MT_KERNEL_DECLARE)
#endif

#endif
