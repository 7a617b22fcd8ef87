/* Sixteen columns at a time, so that whole cache lines are read, in tiles of 8 x 8. */
#include "kernels/transpose.h"

#include "kernels/vector.h"

#define TILE 8

static void any_tile(uint32_t *to, int64_t to_step, const uint32_t *from, int64_t from_step, int64_t rows,
                     int64_t columns) {
  for (int64_t c = 0; c < columns; c++)
    for (int64_t r = 0; r < rows; r++) to[c * to_step + r] = from[r * from_step + c];
}

#if defined(__AVX2__)
MT_INLINE void tile(uint32_t *to, int64_t to_step, const uint32_t *from, int64_t from_step) {
  __m256 row[TILE], pair[TILE], four[TILE];
  for (int i = 0; i < TILE; i++) row[i] = _mm256_loadu_ps((const float *)(from + i * from_step));
  for (int i = 0; i < TILE; i += 2) {
    pair[i] = _mm256_unpacklo_ps(row[i], row[i + 1]);
    pair[i + 1] = _mm256_unpackhi_ps(row[i], row[i + 1]);
  }
  for (int i = 0; i < TILE; i += 4)
    for (int k = 0; k < 2; k++) {
      four[i + 2 * k] = _mm256_shuffle_ps(pair[i + k], pair[i + 2 + k], 0x44);
      four[i + 2 * k + 1] = _mm256_shuffle_ps(pair[i + k], pair[i + 2 + k], 0xee);
    }
  for (int i = 0; i < TILE / 2; i++) {
    _mm256_storeu_ps((float *)(to + i * to_step), _mm256_permute2f128_ps(four[i], four[i + 4], 0x20));
    _mm256_storeu_ps((float *)(to + (i + 4) * to_step), _mm256_permute2f128_ps(four[i], four[i + 4], 0x31));
  }
}
#else
MT_INLINE void tile(uint32_t *to, int64_t to_step, const uint32_t *from, int64_t from_step) {
  any_tile(to, to_step, from, from_step, TILE, TILE);
}
#endif

MT_INLINE void two_tiles_down(uint32_t *to, int64_t to_step, const uint32_t *from, int64_t from_step, int64_t rows) {
  for (int64_t r = 0; r + TILE <= rows; r += TILE) tile(to + r, to_step, from + r * from_step, from_step);
}

void MT_KERNEL(transpose)(uint32_t *to, int64_t to_step, const uint32_t *from, int64_t from_step, int64_t rows,
                          int64_t columns) {
  const int64_t whole_rows = rows / TILE * TILE, whole_columns = columns / TILE * TILE;
  for (int64_t first = 0; first < whole_columns; first += 2 * TILE)
    for (int64_t r = 0; r < whole_rows; r += 2 * TILE)
      for (int64_t c = first; c < first + 2 * TILE && c < whole_columns; c += TILE)
        two_tiles_down(to + c * to_step + r, to_step, from + r * from_step + c, from_step,
                       whole_rows - r < 2 * TILE ? whole_rows - r : 2 * TILE);
  any_tile(to + whole_columns * to_step, to_step, from + whole_columns, from_step, rows, columns - whole_columns);
  any_tile(to + whole_rows, to_step, from + whole_rows * from_step, from_step, rows - whole_rows, whole_columns);
}
