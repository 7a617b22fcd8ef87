/* The number formats that weights come in, and how each becomes one of ours. */
#ifndef MT_IO_CONVERT_H
#define MT_IO_CONVERT_H

#include <stddef.h>
#include <stdint.h>

#include "core/tensor.h"

typedef struct {
  const char *name; /* as safetensors has it */
  size_t size;      /* bytes of one item in the file */
  mt_dtype dtype;   /* what it becomes */
  /* Converts `count` items; returns how many fit, less than count where one does not. NULL: the bytes stay as they are.
   */
  int64_t (*convert)(const void *from, void *to, int64_t count);
} mt_file_dtype;

/* NULL when unknown, without setting an error. */
const mt_file_dtype *mt_file_dtype_find(const char *name);
/* The name of the format that holds one of our dtypes as it is. */
const char *mt_file_dtype_of(mt_dtype dtype);

#endif
