/* Files that torch.save wrote, read without Python: the zip archives of today and the run of pickles of old (.pth, .pt,
 * .th are both). Nothing in the file is ever run; a global other than torch's tensors and storages is refused by name.
 */
#ifndef MT_IO_TORCH_FILE_H
#define MT_IO_TORCH_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "io/weights.h"

bool mt_is_torch_zip(const uint8_t *head, size_t size);
bool mt_is_torch_pickles(const uint8_t *head, size_t size);

/* The file holds a state dict, or a dict with one state dict under "state_dict", "model", "net" or "model_state_dict".
 * Its tensors go to out, dtypes as mt_safetensors_read has them, int16 as int32; where all names begin with "module."
 * (DataParallel), that is taken off. Numbers, booleans and strings beside the tensors become metadata; other entries
 * (an optimiser's state) are passed over. Sizes are checked before anything is allocated. `file` is at its start. */
int mt_torch_read_zip(FILE *file, const char *path, mt_weights *out);
int mt_torch_read_pickles(FILE *file, const char *path, mt_weights *out);

#endif
