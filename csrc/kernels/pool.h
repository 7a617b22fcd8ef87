#ifndef MT_KERNELS_POOL_H
#define MT_KERNELS_POOL_H

#include <stdint.h>

#define MT_POOL_KERNELS(K)

#endif
