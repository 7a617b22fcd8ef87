/* The safetensors format: 8 bytes with the header's length (little-endian), a JSON header that gives every tensor's
 * dtype, shape and byte range, then the data without holes. */
#ifndef MT_IO_SAFETENSORS_H
#define MT_IO_SAFETENSORS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "io/weights.h"

bool mt_is_safetensors(const uint8_t *head, size_t size);

/* The whole header is checked (syntax, names, shapes, byte ranges, the file's size) before any tensor is allocated.
 * F32, U8 and I32 are read as they are; F64, F16 and BF16 become float32, the other integers int32 (values checked),
 * BOOL uint8. A tensor of another dtype, or with what we have no room for, is left out, which a notice says. `file` is
 * at its start. A request for a part by its key is an error: there are none. */
int mt_safetensors_read(FILE *file, const char *path, const mt_load_request *request, mt_weights *out);

/* Replaces the file at `path` as a whole (io/atomic_file.h). The header is padded so that the data starts at a multiple
 * of 8; tensors go by decreasing item size, then name, so that each is aligned to its items. */
int mt_safetensors_write(const char *path, const mt_weights *weights);

#endif
