#ifndef MT_KERNELS_NORM_H
#define MT_KERNELS_NORM_H

#include <stdint.h>

#define MT_NORM_KERNELS(K)

#endif
