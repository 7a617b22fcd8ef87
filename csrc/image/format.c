#include "image/format.h"

#include <string.h>
#include <strings.h>

#include "image/bmp.h"
#include "image/jpeg.h"
#include "image/png.h"
#include "image/pnm.h"
#include "image/webp.h"

/* ---- how files begin ---- */

static bool is_png(const void *data, size_t size) { return size >= 4 && memcmp(data, "\x89PNG", 4) == 0; }

static bool is_webp(const void *data, size_t size) {
  return size >= 12 && memcmp(data, "RIFF", 4) == 0 && memcmp((const char *)data + 8, "WEBP", 4) == 0;
}

static bool is_gif(const void *data, size_t size) {
  return size >= 6 && (memcmp(data, "GIF87a", 6) == 0 || memcmp(data, "GIF89a", 6) == 0);
}

static bool is_tiff(const void *data, size_t size) {
  static const char *const magics[] = {"II*\0", "MM\0*", "II+\0", "MM\0+"}; /* the last two: BigTIFF */
  for (int i = 0; i < 4; i++)
    if (size >= 8 && memcmp(data, magics[i], 4) == 0) return true;
  return false;
}

/* ISO media files name their brand behind "ftyp". */
static bool has_brand(const void *data, size_t size, const char *brands) {
  const char *brand = (const char *)data + 8;
  if (size < 12 || memcmp((const char *)data + 4, "ftyp", 4) != 0) return false;
  for (; *brands; brands += 4)
    if (memcmp(brand, brands, 4) == 0) return true;
  return false;
}

static bool is_avif(const void *data, size_t size) { return has_brand(data, size, "avifavis"); }
static bool is_heic(const void *data, size_t size) { return has_brand(data, size, "heicheixheimheishevchevxmif1msf1"); }

static bool is_jpeg2000(const void *data, size_t size) {
  return size >= 12 && (memcmp(data, "\0\0\0\x0cjP  ", 8) == 0 || memcmp(data, "\xff\x4f\xff\x51", 4) == 0);
}

static bool is_jpeg_xl(const void *data, size_t size) {
  return (size >= 12 && memcmp(data, "\0\0\0\x0cJXL ", 8) == 0) || (size >= 2 && memcmp(data, "\xff\x0a", 2) == 0);
}

static bool is_psd(const void *data, size_t size) { return size >= 6 && memcmp(data, "8BPS\0\1", 6) == 0; }
static bool is_pam(const void *data, size_t size) { return size >= 3 && memcmp(data, "P7\n", 3) == 0; }
static bool is_pfm(const void *data, size_t size) {
  return size >= 3 && (memcmp(data, "PF\n", 3) == 0 || memcmp(data, "Pf\n", 3) == 0);
}

/* Whether a text begins with `word`, in any case, after white space and a byte order mark. */
static bool begins_with(const void *data, size_t size, const char *word) {
  const char *text = data, *end = text + size;
  if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) text += 3;
  while (text < end && strchr(" \t\r\n", *text) && *text) text++;
  return (size_t)(end - text) >= strlen(word) && strncasecmp(text, word, strlen(word)) == 0;
}

static bool is_svg(const void *data, size_t size) { return begins_with(data, size, "<svg"); }
static bool is_html(const void *data, size_t size) {
  return begins_with(data, size, "<!doctype html") || begins_with(data, size, "<html");
}
static bool is_lfs(const void *data, size_t size) { return begins_with(data, size, "version https://git-lfs"); }

/* ---- all of them ---- */

static mt_tensor *decode_jpeg(const void *data, size_t size, int channels, const char *name) {
  static const int64_t whole[2] = {0, 0};
  return mt_jpeg_decode(data, size, channels, whole, name);
}

static const struct {
  bool (*begins)(const void *data, size_t size);
  mt_format format;
} formats[] = {
    {is_png, {"PNG", "a PNG image", true, mt_png_decode}},
    {mt_is_jpeg, {"JPEG", "a JPEG image", true, decode_jpeg}},
    {mt_is_bmp, {"BMP", "a BMP image", true, mt_bmp_decode}},
    {mt_is_pnm, {"PPM", "a PPM, PGM or PBM image", true, mt_pnm_decode}},
    {is_webp, {"WebP", "a WebP image", true, MT_WEBP_DECODER}},
    {is_gif, {"GIF", "a GIF image", true, NULL}},
    {is_tiff, {"TIFF", "a TIFF image", true, NULL}},
    {is_avif, {"AVIF", "an AVIF image", true, NULL}},
    {is_heic, {"HEIC", "a HEIC image", true, NULL}},
    {is_jpeg2000, {"JPEG 2000", "a JPEG 2000 image", true, NULL}},
    {is_jpeg_xl, {"JPEG XL", "a JPEG XL image", true, NULL}},
    {is_psd, {"PSD", "a Photoshop file", true, NULL}},
    {is_pam, {"PAM", "a PAM image", true, NULL}},
    {is_pfm, {"PFM", "a PFM image", true, NULL}},
    {is_svg, {"SVG", "an SVG drawing", true, NULL}},
    {is_html, {"HTML", "an HTML page", false, NULL}},
    {is_lfs, {"Git LFS", "a Git LFS pointer (the image itself was not fetched)", false, NULL}},
};
#define FORMAT_COUNT ((int)(sizeof formats / sizeof *formats))

const mt_format *mt_format_of(const void *data, size_t size) {
  static const mt_format unknown = {"", "no image of a known format", false, NULL};
  for (int i = 0; i < FORMAT_COUNT; i++)
    if (formats[i].begins(data, size)) return &formats[i].format;
  return &unknown;
}

const mt_format *mt_format_at(int i) { return i >= 0 && i < FORMAT_COUNT ? &formats[i].format : NULL; }

int mt_refuse_format(const mt_format *format, const char *name) {
  return mt_fail(MT_ERROR_FORMAT, "'%s' is %s, expected PNG, JPEG, BMP" MT_WEBP_LISTED " or PPM%s", name,
                 format->phrase, format->is_image ? "; convert it, for example: magick FILE FILE.png" : "");
}
