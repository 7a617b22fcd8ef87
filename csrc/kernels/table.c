/* One table per instruction set (compiled once for each, like every kernel file). */
#include "kernels/kernels.h"

#define MT_STRING_(x) #x
#define MT_STRING(x) MT_STRING_(x)
#define MT_KERNEL_ENTRY(result, name, parameters) .name = MT_KERNEL(name),

extern const mt_kernel_table MT_KERNEL(table);
const mt_kernel_table MT_KERNEL(table) = {
    .isa = MT_STRING(MT_ISA), .vector_floats = MT_VF, MT_ALL_KERNELS(MT_KERNEL_ENTRY)};
