/* A header of one of seven sizes, then masks or a palette, then rows from the bottom up, each of a multiple of 4 bytes.
 * Nothing is read before it is known to lie in the file. */
#include "image/bmp.h"

#include <string.h>

#include "core/memory.h"
#include "image/pixels.h"

#define FILE_HEADER 14
#define CORE_HEADER 12 /* OS/2's, with 16-bit sizes */
#define INFO_HEADER 40
#define MOST_COLORS 256
/* Two bytes make a run of 255 pixels, and a few skip more; nobody's picture is that empty. */
#define RUN_PIXELS_PER_BYTE 256

enum { COMPRESSION_NONE, COMPRESSION_RLE8, COMPRESSION_RLE4, COMPRESSION_MASKS };
enum { RED, GREEN, BLUE, ALPHA };

typedef struct {
  const uint8_t *data;
  size_t size;
  const char *name;
  size_t header; /* its size */
  int64_t width, height;
  bool from_top;
  int bits, compression;
  size_t pixels_at;
  uint8_t palette[MOST_COLORS][3];
  int n_colors;
  bool is_gray; /* every colour of the palette */
  uint32_t masks[4];
} bitmap;

#define fail(b, format, ...) mt_fail(MT_ERROR_FORMAT, "BMP file '%s': " format, (b)->name, __VA_ARGS__)

static int truncated(const bitmap *b) { return fail(b, "%s", "the file is truncated"); }

static uint32_t number_at(const bitmap *b, size_t at, int bytes) {
  uint32_t value = 0;
  for (int i = bytes - 1; i >= 0; i--) value = value << 8 | b->data[at + (size_t)i];
  return value;
}

/* ---- what comes before the pixels ---- */

static bool is_header_size(size_t size) {
  return size == CORE_HEADER || size == INFO_HEADER || size == 52 || size == 56 || size == 64 || size == 108 ||
         size == 124;
}

bool mt_is_bmp(const void *data, size_t size) {
  const bitmap b = {.data = data};
  return size >= FILE_HEADER + 4 && memcmp(data, "BM", 2) == 0 && is_header_size(number_at(&b, FILE_HEADER, 4));
}

static int check_kind(const bitmap *b) {
  const int bits = b->bits;
  const bool known = b->compression == COMPRESSION_NONE
                         ? bits == 1 || bits == 4 || bits == 8 || bits == 16 || bits == 24 || bits == 32
                     : b->compression == COMPRESSION_RLE8  ? bits == 8
                     : b->compression == COMPRESSION_RLE4  ? bits == 4
                     : b->compression == COMPRESSION_MASKS ? bits == 16 || bits == 24 || bits == 32
                                                           : false;
  if (known) return 0;
  return fail(b, "%d bits with compression %d are not supported", bits, b->compression);
}

/* Sizes, depth and compression; *n_colors is the number of the palette's colours. */
static int read_header(bitmap *b, uint32_t *n_colors) {
  b->header = number_at(b, FILE_HEADER, 4);
  if (b->size < FILE_HEADER + b->header) return truncated(b);
  const int field = b->header == CORE_HEADER ? 2 : 4;
  size_t at = FILE_HEADER + 4;
  const uint32_t width = number_at(b, at, field), height = number_at(b, at + (size_t)field, field);
  at += 2 * (size_t)field + 2;
  b->bits = (int)number_at(b, at, 2);
  b->from_top = field == 4 && (int32_t)height < 0;
  b->width = width;
  b->height = b->from_top ? -(int64_t)(int32_t)height : (int64_t)height;
  b->compression = field == 4 ? (int)number_at(b, at + 2, 4) : COMPRESSION_NONE;
  *n_colors = field == 4 ? number_at(b, at + 18, 4) : 0;
  if (*n_colors == 0 && b->bits <= 8) *n_colors = (uint32_t)1 << b->bits;
  if (b->width < 1 || b->height < 1)
    return fail(b, "%lld x %lld pixels, expected one at least", (long long)b->width, (long long)b->height);
  return check_kind(b);
}

static int read_palette(bitmap *b, size_t at, uint32_t n_colors) {
  const size_t entry = b->header == CORE_HEADER ? 3 : 4;
  b->n_colors = n_colors < MOST_COLORS ? (int)n_colors : MOST_COLORS;
  if (b->size < at + (size_t)b->n_colors * entry) return truncated(b);
  b->is_gray = true;
  for (int i = 0; i < b->n_colors; i++) {
    const uint8_t *color = b->data + at + (size_t)i * entry;
    for (int c = 0; c < 3; c++) b->palette[i][c] = color[2 - c];
    b->is_gray = b->is_gray && color[0] == color[1] && color[1] == color[2];
  }
  return 0;
}

static int read_masks(bitmap *b) {
  static const uint32_t of_15_bits[4] = {0x7c00, 0x3e0, 0x1f, 0}, of_24_bits[4] = {0xff0000, 0xff00, 0xff, 0},
                        with_alpha[4] = {0xff0000, 0xff00, 0xff, 0xff000000};
  memcpy(b->masks, b->bits == 16 ? of_15_bits : of_24_bits, sizeof b->masks);
  if (b->compression != COMPRESSION_MASKS) return 0;
  const size_t at = FILE_HEADER + INFO_HEADER; /* in a larger header, or behind this one */
  if (b->size < at + 12) return truncated(b);
  for (size_t c = 0; c < 3; c++) b->masks[c] = number_at(b, at + 4 * c, 4);
  b->masks[ALPHA] = b->header >= 56 ? number_at(b, at + 12, 4) : 0;
  if (!b->masks[RED] && !b->masks[GREEN] && !b->masks[BLUE] && !b->masks[ALPHA])
    memcpy(b->masks, with_alpha, sizeof b->masks);
  return 0;
}

/* Some programs count the pixels' place without the palette, or leave it 0. */
static void place_pixels(bitmap *b, uint32_t n_colors) {
  const size_t entry = b->header == CORE_HEADER ? 3 : 4, at = number_at(b, 10, 4), head = FILE_HEADER + b->header;
  const size_t masks = b->compression == COMPRESSION_MASKS && b->header == INFO_HEADER ? 12 : 0;
  const size_t after = head + (b->bits <= 8 ? n_colors * entry : masks);
  b->pixels_at = at == 0 || (b->bits <= 8 && at == head) ? after : at;
}

static int open_bitmap(bitmap *b) {
  uint32_t n_colors = 0;
  if (!mt_is_bmp(b->data, b->size)) return mt_fail(MT_ERROR_FORMAT, "'%s' is not a BMP file", b->name);
  if (read_header(b, &n_colors) < 0) return -1;
  place_pixels(b, n_colors);
  return b->bits <= 8 ? read_palette(b, FILE_HEADER + b->header, n_colors) : read_masks(b);
}

/* ---- runs ---- */

/* Paints palette indices into `plane`, one byte a pixel, lines as they come. */
typedef struct {
  const bitmap *b;
  uint8_t *plane;
  size_t at;
  int64_t x, y;
} painter;

static void paint(painter *p, uint8_t index) {
  if (p->x < p->b->width && p->y < p->b->height) p->plane[p->y * p->b->width + p->x] = index;
  p->x++;
}

static uint8_t half_of(uint8_t byte, int64_t i) { return i % 2 ? byte & 15 : byte >> 4; }

static bool paint_literally(painter *p, int count) {
  const bool halves = p->b->bits == 4;
  const size_t bytes = (size_t)(halves ? (count + 1) / 2 : count);
  if (p->b->size - p->at < bytes) return false;
  const uint8_t *from = p->b->data + p->at;
  for (int i = 0; i < count; i++) paint(p, halves ? half_of(from[i / 2], i) : from[i]);
  p->at += bytes + bytes % 2;
  if (p->at > p->b->size) p->at = p->b->size;
  return true;
}

/* One instruction; false at the end of the data. */
static bool paint_next(painter *p, bool *ended) {
  if (p->b->size - p->at < 2) return false;
  const uint8_t count = p->b->data[p->at], value = p->b->data[p->at + 1];
  p->at += 2;
  for (int i = 0; i < count; i++) paint(p, p->b->bits == 4 ? half_of(value, i) : value);
  if (count > 0) return true;
  if (value == 0) {
    p->x = 0;
    p->y++;
  } else if (value == 1) {
    *ended = true;
  } else if (value == 2) {
    if (p->b->size - p->at < 2) return false;
    p->x += p->b->data[p->at];
    p->y += p->b->data[p->at + 1];
    p->at += 2;
  } else {
    return paint_literally(p, value);
  }
  return true;
}

/* The number of rows that are whole when the data ends. */
static int64_t paint_all(const bitmap *b, uint8_t *plane) {
  painter p = {.b = b, .plane = plane, .at = b->pixels_at};
  bool ended = false;
  while (!ended && p.y < b->height && !(p.y == b->height - 1 && p.x >= b->width))
    if (!paint_next(&p, &ended)) break;
  return ended || p.y >= b->height ? b->height : p.y + (p.x >= b->width);
}

/* ---- rows ---- */

static int64_t row_bytes(const bitmap *b) { return (b->width * b->bits + 7) / 8; }
static int64_t row_stride(const bitmap *b) { return (b->width * b->bits + 31) / 32 * 4; }

static int64_t count_whole_rows(const bitmap *b) {
  const int64_t there = (int64_t)b->size - (int64_t)b->pixels_at;
  if (there < row_bytes(b)) return 0;
  const int64_t rows = (there - row_bytes(b)) / row_stride(b) + 1; /* the last one may lack its padding */
  return rows < b->height ? rows : b->height;
}

/* Palette indices of `bits` bits, from the highest on. */
static int colors_of_row(const bitmap *b, const uint8_t *from, int bits, uint8_t *to) {
  const int channels = b->is_gray ? 1 : 3;
  for (int64_t x = 0; x < b->width; x++, to += channels) {
    const int64_t bit = x * bits;
    const int index = from[bit / 8] >> (8 - bits - bit % 8) & ((1 << bits) - 1);
    if (index >= b->n_colors) return fail(b, "colour %d, but its palette has %d: it is damaged", index, b->n_colors);
    memcpy(to, b->palette[index], (size_t)channels);
  }
  return 0;
}

/* A channel of up to 32 bits as one of 8, rounded down as Pillow does it; a colour that has no bits is 0. */
static uint8_t masked(uint32_t pixel, uint32_t mask) {
  if (mask == 0) return 0;
  const uint32_t most = mask >> __builtin_ctz(mask), value = (pixel & mask) >> __builtin_ctz(mask);
  return (uint8_t)((uint64_t)value * 255 / most);
}

static void pixels_of_row(const bitmap *b, const uint8_t *from, uint8_t *to) {
  const int bytes = b->bits / 8, channels = b->masks[ALPHA] ? 4 : 3;
  for (int64_t x = 0; x < b->width; x++, from += bytes) {
    uint32_t pixel = 0;
    for (int i = bytes - 1; i >= 0; i--) pixel = pixel << 8 | from[i];
    for (int c = 0; c < channels; c++) *to++ = masked(pixel, b->masks[c]);
  }
}

static int convert_rows(const bitmap *b, const uint8_t *from, int64_t stride, int bits, mt_tensor *image) {
  const int64_t row_size = b->width * image->shape[2];
  for (int64_t y = 0; y < b->height; y++, from += stride) {
    uint8_t *to = mt_u8(image) + (b->from_top ? y : b->height - 1 - y) * row_size;
    if (bits > 8)
      pixels_of_row(b, from, to);
    else if (colors_of_row(b, from, bits, to) < 0)
      return -1;
  }
  return 0;
}

/* ---- the image ---- */

static int refuse_missing(const bitmap *b, int64_t whole) {
  if (whole == b->height) return 0;
  return fail(b, "the file is truncated: %lld of %lld rows are missing", (long long)(b->height - whole),
              (long long)b->height);
}

static int decode_runs(const bitmap *b, mt_tensor *image) {
  uint8_t *plane = mt_alloc((size_t)(b->width * b->height));
  if (!plane) return -1;
  memset(plane, 0, (size_t)(b->width * b->height));
  int status = refuse_missing(b, paint_all(b, plane));
  if (status == 0) status = convert_rows(b, plane, b->width, 8, image);
  mt_free(plane);
  return status;
}

static int check_claim(const bitmap *b, bool runs) {
  const uint64_t pixels = (uint64_t)b->width * (uint64_t)b->height;
  const uint64_t least = runs ? pixels / RUN_PIXELS_PER_BYTE : 0;
  if (mt_check_claim("BMP", b->name, b->height, b->width, least, b->size) < 0) return -1;
  return refuse_missing(b, b->pixels_at > b->size ? 0 : runs ? b->height : count_whole_rows(b));
}

static mt_tensor *decode(const bitmap *b) {
  const bool runs = b->compression == COMPRESSION_RLE8 || b->compression == COMPRESSION_RLE4;
  const int64_t shape[3] = {b->height, b->width, b->bits <= 8 ? (b->is_gray ? 1 : 3) : (b->masks[ALPHA] ? 4 : 3)};
  if (check_claim(b, runs) < 0) return NULL;
  mt_tensor *image = mt_tensor_new(MT_UINT8, 3, shape);
  if (!image) return NULL;
  const int status =
      runs ? decode_runs(b, image) : convert_rows(b, b->data + b->pixels_at, row_stride(b), b->bits, image);
  if (status == 0) return image;
  mt_release(image);
  return NULL;
}

mt_tensor *mt_bmp_decode(const void *data, size_t size, int channels, const char *name) {
  bitmap b = {.data = data, .size = size, .name = name};
  return open_bitmap(&b) < 0 ? NULL : mt_with_channels(decode(&b), channels);
}
