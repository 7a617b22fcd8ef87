#include "image/exif.h"

#include <string.h>

#define ENTRY_SIZE 12
#define TAG_ORIENTATION 0x0112
#define TYPE_SHORT 3

/* ---- the tag ---- */

/* TIFF data: offsets count from its start; every read is checked against its end. */
typedef struct {
  const uint8_t *data;
  size_t size;
  bool big_endian;
} tiff;

static uint32_t number_at(const tiff *t, size_t at, int bytes) {
  uint32_t value = 0;
  for (int i = 0; i < bytes; i++)
    value = value << 8 | t->data[t->big_endian ? at + (size_t)i : at + (size_t)(bytes - 1 - i)];
  return value;
}

static bool open_tiff(const uint8_t *data, size_t size, tiff *t) {
  const size_t mark = size >= 6 && memcmp(data, "Exif\0\0", 6) == 0 ? 6 : 0;
  if (size < mark + 8) return false;
  *t = (tiff){data + mark, size - mark, data[mark] == 'M'};
  if (memcmp(t->data, t->big_endian ? "MM" : "II", 2) != 0) return false;
  return number_at(t, 2, 2) == 42;
}

int mt_exif_orientation(const uint8_t *data, size_t size) {
  tiff t;
  if (!open_tiff(data, size, &t)) return 1;
  const size_t directory = number_at(&t, 4, 4);
  if (directory > t.size - 2) return 1;
  const size_t promised = number_at(&t, directory, 2), room = (t.size - directory - 2) / ENTRY_SIZE;
  const size_t count = promised < room ? promised : room;
  for (size_t i = 0; i < count; i++) {
    const size_t at = directory + 2 + i * ENTRY_SIZE;
    if (number_at(&t, at, 2) != TAG_ORIENTATION) continue;
    const uint32_t value = number_at(&t, at + 8, 2);
    return number_at(&t, at + 2, 2) == TYPE_SHORT && value >= 1 && value <= 8 ? (int)value : 1;
  }
  return 1;
}

/* ---- the pixels ---- */

/* orientation 2 to 8 */
static mt_tensor *turned(const mt_tensor *image, int orientation) {
  static const bool from_bottom[9] = {[3] = true, [4] = true, [6] = true, [7] = true};
  static const bool from_right[9] = {[2] = true, [3] = true, [7] = true, [8] = true};
  const bool swaps = mt_orientation_swaps(orientation);
  const int64_t height = image->shape[0], width = image->shape[1], channels = image->shape[2];
  const int64_t shape[3] = {swaps ? width : height, swaps ? height : width, channels};
  mt_tensor *upright = mt_tensor_new(MT_UINT8, 3, shape);
  if (!upright) return NULL;
  uint8_t *to = mt_u8(upright);
  for (int64_t y = 0; y < shape[0]; y++) {
    for (int64_t x = 0; x < shape[1]; x++, to += channels) {
      const int64_t row = swaps ? x : y, column = swaps ? y : x;
      const int64_t from_row = from_bottom[orientation] ? height - 1 - row : row;
      const int64_t from_column = from_right[orientation] ? width - 1 - column : column;
      memcpy(to, mt_u8(image) + (from_row * width + from_column) * channels, (size_t)channels);
    }
  }
  return upright;
}

mt_tensor *mt_turned_upright(mt_tensor *image, int orientation) {
  if (!image || orientation == 1) return image;
  mt_tensor *upright = turned(image, orientation);
  mt_release(image);
  return upright;
}
