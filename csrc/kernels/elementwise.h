#ifndef MT_KERNELS_ELEMENTWISE_H
#define MT_KERNELS_ELEMENTWISE_H

#include <stdint.h>

#define MT_ELEMENTWISE_KERNELS(K)

#endif
