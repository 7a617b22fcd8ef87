#include "image/pnm.h"

#include <math.h>
#include <string.h>

#include "image/pixels.h"

#define MOST_DIGITS 9
#define MOST_VALUE 65535
#define TEXT_PIXELS_PER_BYTE 1024 /* 1 at most, but a truncated file should hear that, and of how many rows */

typedef struct {
  const uint8_t *data;
  size_t size, at;
  const char *name;
  bool plain;   /* numbers as text */
  bool bitmap;  /* of two values, 1 being black */
  int channels; /* 1 or 3 */
  int64_t width, height;
  uint32_t max;
} netpbm;

#define fail(p, format, ...) mt_fail(MT_ERROR_FORMAT, "PNM file '%s': " format, (p)->name, __VA_ARGS__)

/* ---- text ---- */

static bool is_space(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }

/* White space and comments, which go from # to the end of the line. */
static void skip_space(netpbm *p) {
  for (bool comment = false; p->at < p->size; p->at++) {
    const uint8_t c = p->data[p->at];
    if (c == '#') comment = true;
    if (!comment && !is_space(c)) return;
    if (c == '\n' || c == '\r') comment = false;
  }
}

/* A number and the one white space behind it, or the comment in its place; 1, 0 at the end of the data, -1 with an
 * error. */
static int read_number(netpbm *p, uint32_t *value) {
  skip_space(p);
  if (p->at == p->size) return 0;
  int digits = 0;
  for (*value = 0; p->at < p->size && is_digit(p->data[p->at]) && digits < MOST_DIGITS; digits++)
    *value = 10 * *value + (uint32_t)(p->data[p->at++] - '0');
  const bool ends = p->at == p->size || is_space(p->data[p->at]) || p->data[p->at] == '#';
  if (digits == 0 || !ends) return fail(p, "byte %zu: number of 1 to %d digits expected", p->at, MOST_DIGITS);
  if (p->at < p->size && p->data[p->at] == '#')
    while (p->at + 1 < p->size && p->data[p->at] != '\n' && p->data[p->at] != '\r') p->at++;
  if (p->at < p->size) p->at++;
  return 1;
}

/* ---- header ---- */

bool mt_is_pnm(const void *data, size_t size) {
  netpbm p = {.data = data, .size = size, .at = 2};
  if (size < 4 || p.data[0] != 'P' || p.data[1] < '1' || p.data[1] > '6' || !(is_space(p.data[2]) || p.data[2] == '#'))
    return false;
  skip_space(&p);
  return p.at == size || is_digit(p.data[p.at]); /* a long comment may end what was looked at */
}

static int read_size(netpbm *p, const char *what, uint32_t least, uint32_t most, uint32_t *value) {
  const int status = read_number(p, value);
  if (status >= 0 && p->at == p->size) return fail(p, "%s", "the file is truncated");
  if (status >= 0 && (*value < least || *value > most))
    return fail(p, "%s is %u, expected %u to %u", what, *value, least, most);
  return status;
}

static int read_header(netpbm *p) {
  uint32_t width, height;
  if (!mt_is_pnm(p->data, p->size)) return mt_fail(MT_ERROR_FORMAT, "'%s' is not a PBM, PGM or PPM file", p->name);
  const int kind = p->data[1] - '0';
  p->at = 2;
  p->plain = kind <= 3;
  p->bitmap = kind == 1 || kind == 4;
  p->channels = kind == 3 || kind == 6 ? 3 : 1;
  p->max = 1;
  if (read_size(p, "the width", 1, UINT32_MAX, &width) < 0 || read_size(p, "the height", 1, UINT32_MAX, &height) < 0)
    return -1;
  p->width = width;
  p->height = height;
  return p->bitmap ? 0 : read_size(p, "the largest value", 1, MOST_VALUE, &p->max);
}

/* ---- pixels ---- */

static uint8_t scaled(const netpbm *p, uint32_t value) {
  if (p->max == 255) return (uint8_t)value;
  return value >= p->max ? 255 : (uint8_t)lrint((double)value / p->max * 255.0);
}

static int64_t row_bytes(const netpbm *p) {
  if (p->plain) return 0;
  return p->bitmap ? (p->width + 7) / 8 : p->width * p->channels * (p->max > 255 ? 2 : 1);
}

static void decode_row(const netpbm *p, const uint8_t *from, uint8_t *to) {
  const int64_t count = p->width * p->channels;
  if (p->bitmap)
    for (int64_t i = 0; i < count; i++) to[i] = from[i / 8] >> (7 - i % 8) & 1 ? 0 : 255;
  else if (p->max > 255)
    for (int64_t i = 0; i < count; i++) to[i] = scaled(p, (uint32_t)(from[2 * i] << 8 | from[2 * i + 1]));
  else
    for (int64_t i = 0; i < count; i++) to[i] = scaled(p, from[i]);
}

/* The next value of a text: 1, 0 at its end, -1 with an error. A bitmap's need no space between them. */
static int read_value(netpbm *p, uint8_t *to) {
  uint32_t value = 0;
  if (!p->bitmap) {
    const int status = read_number(p, &value);
    if (status == 1 && value > p->max) return fail(p, "value %u, expected at most %u", value, p->max);
    *to = scaled(p, value);
    return status;
  }
  skip_space(p);
  if (p->at == p->size) return 0;
  const uint8_t c = p->data[p->at++];
  if (c != '0' && c != '1') return fail(p, "byte %zu: '%c', expected 0 or 1", p->at - 1, c);
  *to = c == '1' ? 0 : 255;
  return 1;
}

static int refuse_missing(const netpbm *p, int64_t whole) {
  return fail(p, "the file is truncated: %lld of %lld rows are missing", (long long)(p->height - whole),
              (long long)p->height);
}

static int decode_text(netpbm *p, uint8_t *to) {
  const int64_t row = p->width * p->channels, count = p->height * row;
  for (int64_t i = 0; i < count; i++) {
    const int status = read_value(p, to + i);
    if (status < 0) return -1;
    if (status == 0) return refuse_missing(p, i / row);
  }
  return 0;
}

static int check_claim(const netpbm *p) {
  const uint64_t least = (uint64_t)p->width * (uint64_t)p->height / (p->plain ? TEXT_PIXELS_PER_BYTE : UINT64_MAX);
  if (mt_check_claim("PNM", p->name, p->height, p->width, least, p->size) < 0) return -1;
  const int64_t there = (int64_t)(p->size - p->at), bytes = row_bytes(p);
  return p->plain || there / bytes >= p->height ? 0 : refuse_missing(p, there / bytes);
}

static mt_tensor *decode(netpbm *p) {
  const int64_t shape[3] = {p->height, p->width, p->channels}, row = p->width * p->channels;
  if (check_claim(p) < 0) return NULL;
  mt_tensor *image = mt_tensor_new(MT_UINT8, 3, shape);
  if (!image) return NULL;
  if (p->plain && decode_text(p, mt_u8(image)) < 0) {
    mt_release(image);
    return NULL;
  }
  for (int64_t y = 0; y < p->height && !p->plain; y++)
    decode_row(p, p->data + p->at + y * row_bytes(p), mt_u8(image) + y * row);
  return image;
}

mt_tensor *mt_pnm_decode(const void *data, size_t size, int channels, const char *name) {
  netpbm p = {.data = data, .size = size, .name = name};
  return read_header(&p) < 0 ? NULL : mt_with_channels(decode(&p), channels);
}
