/* MATLAB's MAT-files of version 5 (levels 5 to 7): numeric arrays, compressed or not.
 *
 * Sizes are checked against each other, and against what the file can hold, before anything is allocated for them. */
#ifndef MT_IO_MATFILE_H
#define MT_IO_MATFILE_H

#include "io/weights.h"

/* Adds the file's real numeric arrays to `out`: uint8 stays, other integers become int32 (values checked), double and
 * single float32. MATLAB stores the first axis densest, so axes come in reverse order: an array X(i,j,k) is a tensor
 * {k,j,i}. Everything else in the file (text, cells, structs, complex and sparse numbers) is passed over. On error
 * `out` may hold a part. `name` stands for the data in messages. */
int mt_matfile_read(const void *data, size_t size, const char *name, mt_weights *out);

#endif
