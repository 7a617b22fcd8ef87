/* What kind of file some bytes are, told by how they begin and never by a name: images that can be read, images that
 * cannot, and what often lies among images. */
#ifndef MT_IMAGE_FORMAT_H
#define MT_IMAGE_FORMAT_H

#include <stdbool.h>
#include <stddef.h>

#include "core/tensor.h"

/* As many of a file's first bytes tell it. */
#define MT_FORMAT_BYTES 64

typedef struct {
  const char *name;   /* "WebP"; "" for no known kind */
  const char *phrase; /* "a WebP image" */
  bool is_image;
  /* uint8 {H,W,C}, see image/png.h; NULL for what this build does not read. */
  mt_tensor *(*decode)(const void *data, size_t size, int channels, const char *name);
} mt_format;

/* Never NULL. */
const mt_format *mt_format_of(const void *data, size_t size);

/* The formats one after the other, from 0; NULL after the last. */
const mt_format *mt_format_at(int i);

/* Sets the error for a file of another kind than those with a decoder; always returns -1. */
int mt_refuse_format(const mt_format *format, const char *name);

#endif
