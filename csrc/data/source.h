/* Where the images of a data set come from: files that are decoded whenever an image is looked at, with or without a
 * cache of what comes out; or a tensor. Images are uint8 {H,W,C}, all of one size. */
#ifndef MT_DATA_SOURCE_H
#define MT_DATA_SOURCE_H

#include "core/tensor.h"
#include "image/files.h"
#include "io/row_file.h"

typedef struct mt_source mt_source;

/* shape: {H,W,C} with C 1, 3 or 4. The paths are copied. */
mt_source *mt_source_of_files(const char *const *paths, int64_t count, const int64_t shape[3], mt_image_fit fit);
/* images: uint8 {N,H,W,C}; retained, and not copied: later writes to it are seen. */
mt_source *mt_source_of_tensor(mt_tensor *images);
mt_source *mt_source_retain(mt_source *source);
void mt_source_release(mt_source *source); /* NULL is allowed */

int64_t mt_source_count(const mt_source *source);
const int64_t *mt_source_shape(const mt_source *source); /* {H,W,C} */
bool mt_source_is_files(const mt_source *source);

/* From now on images are looked for here first, and put here when they were not there. Takes a reference of its own.
 * Only before anything reads. */
int mt_source_set_cache(mt_source *source, mt_row_file *cache);
/* Why nothing is put into the cache any more; NULL while all is well. */
const char *mt_source_cache_problem(const mt_source *source);

/* Image i, from 0. Any thread may call it. */
int mt_source_read(mt_source *source, int64_t i, uint8_t *image);

#endif
