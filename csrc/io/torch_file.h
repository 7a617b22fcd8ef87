/* Files that torch.save wrote, read without Python: the zip archives of today and the run of pickles of old (.pth, .pt,
 * .th, .bin are both); and plain pickles of dicts of NumPy's arrays. Nothing in a file is ever run: objects of classes
 * that mean nothing here are passed over. */
#ifndef MT_IO_TORCH_FILE_H
#define MT_IO_TORCH_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "io/weights.h"

bool mt_is_torch_zip(const uint8_t *head, size_t size);
bool mt_is_torch_pickles(const uint8_t *head, size_t size);

/* The tensors of the state dict that is meant (torch_choose.h) go to out, dtypes as mt_safetensors_read has them, those
 * of other sizes of integers as int32. Sizes are checked before anything is allocated. `file` is at its start. */
int mt_torch_read_zip(FILE *file, const char *path, const mt_load_request *request, mt_weights *out);
int mt_torch_read_pickles(FILE *file, const char *path, const mt_load_request *request, mt_weights *out);

#endif
