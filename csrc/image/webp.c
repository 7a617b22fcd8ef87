#include "image/webp.h"

#ifdef MT_WITH_WEBP

#include <string.h>

#include <webp/decode.h>

#include "image/exif.h"
#include "image/pixels.h"

#define FIRST_CHUNK 12 /* "RIFF", the size, "WEBP" */
#define CHUNK_HEADER 8

static size_t little_endian(const uint8_t *at) {
  return (size_t)at[0] | (size_t)at[1] << 8 | (size_t)at[2] << 16 | (size_t)at[3] << 24;
}

static int find_orientation(const uint8_t *data, size_t size) {
  for (size_t at = FIRST_CHUNK; size >= CHUNK_HEADER && at <= size - CHUNK_HEADER;) {
    const size_t length = little_endian(data + at + 4), left = size - at - CHUNK_HEADER;
    if (length > left) return 1;
    if (memcmp(data + at, "EXIF", 4) == 0) return mt_exif_orientation(data + at + CHUNK_HEADER, length);
    at += CHUNK_HEADER + length + length % 2;
  }
  return 1;
}

static mt_tensor *decode_as_stored(const uint8_t *data, size_t size, const char *name) {
  WebPBitstreamFeatures features;
  if (WebPGetFeatures(data, size, &features) != VP8_STATUS_OK)
    return mt_fail_null(MT_ERROR_FORMAT, "WebP file '%s': the file is truncated or damaged", name);
  if (features.has_animation)
    return mt_fail_null(MT_ERROR_FORMAT, "WebP file '%s': it is an animation, expected one image", name);
  const int64_t shape[3] = {features.height, features.width, features.has_alpha ? 4 : 3};
  if (mt_check_claim("WebP", name, shape[0], shape[1], 0, size) < 0) return NULL;
  mt_tensor *image = mt_tensor_new(MT_UINT8, 3, shape);
  if (!image) return NULL;
  const int stride = (int)(shape[1] * shape[2]);
  const uint8_t *done = features.has_alpha ? WebPDecodeRGBAInto(data, size, mt_u8(image), (size_t)image->count, stride)
                                           : WebPDecodeRGBInto(data, size, mt_u8(image), (size_t)image->count, stride);
  if (done) return image;
  mt_release(image);
  return mt_fail_null(MT_ERROR_FORMAT, "WebP file '%s': the file is truncated or damaged", name);
}

mt_tensor *mt_webp_decode(const void *data, size_t size, int channels, const char *name) {
  mt_tensor *image = decode_as_stored(data, size, name);
  return mt_with_channels(mt_turned_upright(image, image ? find_orientation(data, size) : 1), channels);
}

#endif
