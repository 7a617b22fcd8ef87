#ifndef MT_KERNELS_CONV2D_H
#define MT_KERNELS_CONV2D_H

#include <stdint.h>

#define MT_CONV2D_KERNELS(K)

#endif
