#include "image/png.h"

#include <png.h>
#include <string.h>
#include <zlib.h>

#include "core/memory.h"
#include "image/exif.h"
#include "image/pixels.h"
#include "io/atomic_file.h"

#define MAX_RATIO 1032 /* deflate cannot shrink data more than this */
#define SIGNATURE 8
#define FRAME 12 /* of a chunk: length and kind before its data, a checksum behind */

/* libpng reports errors by longjmp. Everything that must be released is in this record, which is not a local variable
 * of the function that called setjmp, so its fields keep their values. */
typedef struct {
  png_structp png;
  png_infop info;
  const char *name;
  bool failed; /* the message is set already */
  /* reading */
  const uint8_t *at, *end;
  size_t size;
  bool truncated; /* libpng asked for more than there is */
  bool mended;    /* the data is a truncated file's, with an end put on */
  int passes, pass;
  int64_t done; /* rows of the pass */
  bool whole;   /* of a truncated file: all rows had come when libpng missed the end */
  mt_tensor *pixels;
  /* writing */
  mt_atomic_file *file;
  const mt_tensor *image;
  uint8_t *row;
} png_job;

static void end_truncated(png_job *job);

static void on_error(png_structp png, png_const_charp message) {
  png_job *job = png_get_error_ptr(png);
  if (job->mended && job->end - job->at <= 4) /* it has come to the end that was put on */
    end_truncated(job);
  else if (!job->failed)
    mt_fail(MT_ERROR_FORMAT, "PNG file '%s': %s", job->name, message);
  png_longjmp(png, 1);
}

/* Warnings are about oddities that do not change the pixels. */
static void on_warning(png_structp png, png_const_charp message) {
  (void)png;
  (void)message;
}

static void stop(png_job *job) {
  job->failed = true;
  png_error(job->png, "");
}

/* ---- chunks ---- */

static uint32_t number_at(const uint8_t *at) {
  return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* Where the chunk after the one at `at` begins; 0 where that does not end in the file. */
static size_t next_chunk(const uint8_t *data, size_t size, size_t at) {
  if (size < at + FRAME || number_at(data + at) > size - at - FRAME) return 0;
  return at + FRAME + number_at(data + at);
}

static int find_orientation(const uint8_t *data, size_t size) {
  for (size_t at = SIGNATURE, next; (next = next_chunk(data, size, at)) != 0; at = next)
    if (memcmp(data + at + 4, "eXIf", 4) == 0) return mt_exif_orientation(data + at + 8, next - at - FRAME);
  return 1;
}

static size_t put_chunk(uint8_t *to, const char kind[4], const void *data, size_t size) {
  for (int i = 0; i < 4; i++) to[i] = (uint8_t)(size >> (24 - 8 * i));
  memcpy(to + 4, kind, 4);
  if (size) memcpy(to + 8, data, size);
  const uLong checksum = crc32(0, to + 4, (uInt)size + 4);
  for (int i = 0; i < 4; i++) to[size + 8 + (size_t)i] = (uint8_t)(checksum >> (24 - 8 * i));
  return size + FRAME;
}

/* Copies a truncated file and ends it properly: compressed pixels that there are stay, what else is cut short goes.
 * `to` has room for size + 2 FRAME bytes. */
static size_t mend(const uint8_t *data, size_t size, uint8_t *to) {
  size_t at = SIGNATURE, next;
  while ((next = next_chunk(data, size, at)) != 0) at = next;
  memcpy(to, data, at);
  const size_t left = size > at + 8 ? size - at - 8 : 0;
  const size_t there = left && number_at(data + at) < left ? number_at(data + at) : left;
  size_t end = at;
  if (left && memcmp(data + at + 4, "IDAT", 4) == 0) end += put_chunk(to + end, "IDAT", data + at + 8, there);
  return end + put_chunk(to + end, "IEND", NULL, 0);
}

/* ---- reading ---- */

/* Of the image's rows, those that do not have all pixels when `done` rows of pass `pass` are. */
static int64_t count_missing_rows(const png_job *job) {
  const int64_t height = job->pixels->shape[0], width = job->pixels->shape[1];
  int64_t missing = 0;
  for (int64_t y = 0; y < height; y++) {
    bool lacks = job->passes == 1 && y >= job->done;
    for (int pass = job->pass; job->passes > 1 && pass < job->passes && !lacks; pass++)
      lacks =
          (pass > job->pass || y >= job->done) && PNG_ROW_IN_INTERLACE_PASS(y, pass) && PNG_PASS_COLS(width, pass) > 0;
    missing += lacks;
  }
  return missing;
}

static void end_truncated(png_job *job) {
  const int64_t missing = job->pixels ? count_missing_rows(job) : 0;
  job->whole = job->pixels && missing == 0;
  if (!job->pixels)
    mt_fail(MT_ERROR_FORMAT, "PNG file '%s': the file is truncated", job->name);
  else if (missing > 0)
    mt_fail(MT_ERROR_FORMAT, "PNG file '%s': the file is truncated: %lld of %lld rows are missing", job->name,
            (long long)missing, (long long)job->pixels->shape[0]);
}

/* The row being read has come: libpng looks for the end of the data before it returns the last one. */
static void count_row(png_structp png, png_row_infop info, png_bytep row) {
  (void)info;
  (void)row;
  png_job *job = png_get_user_transform_ptr(png);
  job->done++;
}

static void read_bytes(png_structp png, png_bytep into, size_t size) {
  png_job *job = png_get_io_ptr(png);
  if ((size_t)(job->end - job->at) < size) {
    job->truncated = true;
    png_error(png, "the file is truncated");
  }
  memcpy(into, job->at, size);
  job->at += size;
}

/* Asks for 8 bits a channel and no palette; any transparency becomes an alpha channel, gray with alpha RGBA. */
static void request_plain_pixels(png_structp png, png_infop info) {
  const int type = png_get_color_type(png, info);
  const bool transparent = png_get_valid(png, info, PNG_INFO_tRNS) || (type & PNG_COLOR_MASK_ALPHA);
  png_set_expand(png);
  png_set_strip_16(png);
  if (transparent && !(type & PNG_COLOR_MASK_COLOR)) png_set_gray_to_rgb(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
}

static void check_dimensions(png_job *job) {
  const int64_t height = png_get_image_height(job->png, job->info), width = png_get_image_width(job->png, job->info);
  const uint64_t least = (uint64_t)height * png_get_rowbytes(job->png, job->info) / MAX_RATIO;
  if (mt_check_claim("PNG", job->name, height, width, least, job->size) < 0) stop(job);
}

static void read_rows(png_job *job) {
  const int64_t height = job->pixels->shape[0], row_size = job->pixels->shape[1] * job->pixels->shape[2];
  job->passes = png_set_interlace_handling(job->png);
  for (job->pass = 0; job->pass < job->passes; job->pass++)
    for (int64_t y = job->done = 0; y < height; job->done = ++y)
      png_read_row(job->png, mt_u8(job->pixels) + y * row_size, NULL);
}

static int decode(png_job *job) {
  if (setjmp(png_jmpbuf(job->png))) return job->whole ? 0 : -1;
  png_set_crc_action(job->png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
  png_set_user_limits(job->png, INT32_MAX, INT32_MAX);
  /* Text, profiles and the like are skipped, however large: no memory is spent on them. */
  png_set_keep_unknown_chunks(job->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
  png_set_chunk_malloc_max(job->png, 0);
  png_set_read_fn(job->png, job, read_bytes);
  png_read_info(job->png, job->info);
  check_dimensions(job);
  if (job->mended) {
    png_set_read_user_transform_fn(job->png, count_row);
    png_set_user_transform_info(job->png, job, 0, 0);
  }
  request_plain_pixels(job->png, job->info);
  const int64_t shape[3] = {png_get_image_height(job->png, job->info), png_get_image_width(job->png, job->info),
                            png_get_channels(job->png, job->info)};
  job->pixels = mt_tensor_zeros(MT_UINT8, 3, shape);
  if (!job->pixels) stop(job);
  read_rows(job);
  if (!job->mended) png_read_end(job->png, NULL);
  return 0;
}

static int run(png_job *job) {
  job->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, job, on_error, on_warning);
  if (job->png) job->info = png_create_info_struct(job->png);
  const int status = job->info ? decode(job) : mt_fail(MT_ERROR_MEMORY, "out of memory: PNG file '%s'", job->name);
  png_destroy_read_struct(&job->png, &job->info, NULL);
  return status;
}

/* What is there of a truncated file, which libpng does not look at: it wants whole chunks. */
static int run_mended(png_job *job, const uint8_t *data, size_t size) {
  uint8_t *copy = mt_alloc(size + 2 * FRAME);
  if (!copy) return -1;
  mt_release(job->pixels);
  *job = (png_job){.name = job->name, .at = copy, .end = copy + mend(data, size, copy), .size = size, .mended = true};
  const int status = run(job);
  mt_free(copy);
  return status;
}

static mt_tensor *decode_as_stored(const uint8_t *data, size_t size, const char *name) {
  if (size < SIGNATURE || png_sig_cmp(data, 0, SIGNATURE) != 0)
    return mt_fail_null(MT_ERROR_FORMAT, "'%s' is not a PNG file", name);
  png_job job = {.name = name, .at = data, .end = data + size, .size = size};
  int status = run(&job);
  if (status < 0 && job.truncated) status = run_mended(&job, data, size);
  if (status == 0) return job.pixels;
  mt_release(job.pixels);
  return NULL;
}

mt_tensor *mt_png_decode(const void *data, size_t size, int channels, const char *name) {
  mt_tensor *image = decode_as_stored(data, size, name);
  return mt_with_channels(mt_turned_upright(image, image ? find_orientation(data, size) : 1), channels);
}

/* ---- writing ---- */

static void write_bytes(png_structp png, png_bytep data, size_t size) {
  png_job *job = png_get_io_ptr(png);
  if (mt_atomic_write(job->file, data, size) < 0) stop(job);
}

/* The file is synced once, when it is committed. */
static void flush_nothing(png_structp png) { (void)png; }

static void write_rows(png_job *job, int64_t height, int64_t row_size) {
  for (int64_t y = 0; y < height; y++) {
    if (job->image->dtype == MT_FLOAT32)
      mt_unit_to_bytes(mt_f32(job->image) + y * row_size, job->row, row_size);
    else
      memcpy(job->row, mt_u8(job->image) + y * row_size, (size_t)row_size);
    png_write_row(job->png, job->row);
  }
}

static int encode(png_job *job, int64_t height, int64_t width, int64_t channels) {
  static const int color_types[] = {[1] = PNG_COLOR_TYPE_GRAY, [3] = PNG_COLOR_TYPE_RGB, [4] = PNG_COLOR_TYPE_RGBA};
  if (setjmp(png_jmpbuf(job->png))) return -1;
  png_set_write_fn(job->png, job, write_bytes, flush_nothing);
  png_set_user_limits(job->png, INT32_MAX, INT32_MAX);
  png_set_IHDR(job->png, job->info, (png_uint_32)width, (png_uint_32)height, 8, color_types[channels],
               PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_write_info(job->png, job->info);
  write_rows(job, height, width * channels);
  png_write_end(job->png, NULL);
  return 0;
}

static int check_writable(const mt_tensor *image) {
  char text[MT_SHAPE_TEXT];
  const int64_t *shape = image->shape;
  const int64_t channels = image->ndim == 3 ? shape[2] : 1;
  if (image->ndim < 2 || image->ndim > 3 || (channels != 1 && channels != 3 && channels != 4))
    return mt_fail(MT_ERROR_ARGUMENT, "write_png: image has shape %s, expected {H,W}, {H,W,1}, {H,W,3} or {H,W,4}",
                   mt_shape_text(image->ndim, shape, text));
  if (image->count == 0 || shape[0] > MT_MAX_PIXELS || shape[1] > MT_MAX_PIXELS || shape[0] * shape[1] > MT_MAX_PIXELS)
    return mt_fail(MT_ERROR_ARGUMENT, "write_png: image has shape %s, expected 1 to %lld pixels",
                   mt_shape_text(image->ndim, shape, text), (long long)MT_MAX_PIXELS);
  if (image->dtype == MT_INT32)
    return mt_fail(MT_ERROR_ARGUMENT, "write_png: image is int32, expected uint8 or float32");
  return 0;
}

static int encode_to_file(png_job *job) {
  const mt_tensor *image = job->image;
  const int64_t channels = image->ndim == 3 ? image->shape[2] : 1;
  job->png = png_create_write_struct(PNG_LIBPNG_VER_STRING, job, on_error, on_warning);
  if (job->png) job->info = png_create_info_struct(job->png);
  if (!job->info) return mt_fail(MT_ERROR_MEMORY, "out of memory: PNG file '%s'", job->name);
  return encode(job, image->shape[0], image->shape[1], channels);
}

static int write_image(const char *path, const mt_tensor *image) {
  png_job job = {.name = path, .image = image};
  if (check_writable(image) < 0) return -1;
  job.row = mt_alloc((size_t)(image->count / image->shape[0]));
  if (!job.row) return -1;
  int status = -1;
  job.file = mt_atomic_open(path);
  if (job.file) {
    status = encode_to_file(&job);
    png_destroy_write_struct(&job.png, &job.info);
    if (status == 0)
      status = mt_atomic_commit(job.file);
    else
      mt_atomic_abort(job.file);
  }
  mt_free(job.row);
  return status;
}

int mt_png_write(const char *path, const mt_tensor *image) {
  mt_tensor *single = mt_single_image(image, "write_png");
  const int status = single ? write_image(path, single) : -1;
  mt_release(single);
  return status;
}
