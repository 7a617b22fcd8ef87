/* Many image files at once, brought to one size. */
#ifndef MT_IMAGE_FILES_H
#define MT_IMAGE_FILES_H

#include "core/tensor.h"

/* How an image gets the wanted size (image/resample.h): the whole of it stretched, or the largest box in its middle
 * that has the wanted proportions. */
typedef enum { MT_FIT_STRETCH, MT_FIT_CROP } mt_image_fit;

/* An image of any format with a decoder, told by its contents (image/format.h). channels as for PNG files; min_size as
 * for JPEG files, {0,0} for the whole: the others are always decoded whole. */
mt_tensor *mt_image_decode(const void *data, size_t size, int channels, const int64_t min_size[2], const char *name);
/* The same from a regular file. */
mt_tensor *mt_image_read(const char *path, int channels, const int64_t min_size[2]);

/* kinds[i] of paths[i]: what it is where that is no regular file (mt_path_kind), "missing", "unreadable", "empty", the
 * name of the format, or "" for no known one. Only the first bytes are read. */
void mt_probe_files(const char *const *paths, int64_t count, const char **kinds);

/* sizes[i] of paths[i] in bytes; -1 for what is no regular file that can be reached. */
void mt_file_sizes(const char *const *paths, int64_t count, int64_t *sizes);

/* One file, brought to shape {H,W,C}. */
int mt_read_image(const char *path, mt_image_fit fit, const int64_t shape[3], uint8_t *to);

/* images: uint8 {B,H,W,C} with C 1, 3 or 4; file i is read into image i. Where that fails, messages[i] (NULL before)
 * says why, for the caller to free(), and the image is black. -1 when memory ran out. */
int mt_read_images(const char *const *paths, mt_image_fit fit, mt_tensor *images, char **messages);

#endif
