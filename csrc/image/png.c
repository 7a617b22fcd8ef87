#include "image/png.h"

#include <png.h>
#include <string.h>

#include "core/memory.h"
#include "image/pixels.h"
#include "io/atomic_file.h"

#define MAX_PIXELS ((int64_t)1 << 28)
#define MAX_RATIO 1032                        /* deflate cannot shrink data more than this */
#define MAX_CHUNK ((png_alloc_size_t)8 << 20) /* text, profiles: never needed, so never large */

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
  mt_tensor *pixels;
  /* writing */
  mt_atomic_file *file;
  const mt_tensor *image;
  uint8_t *row;
} png_job;

static void on_error(png_structp png, png_const_charp message) {
  png_job *job = png_get_error_ptr(png);
  if (!job->failed) mt_fail(MT_ERROR_FORMAT, "PNG file '%s': %s", job->name, message);
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

/* ---- reading ---- */

static void read_bytes(png_structp png, png_bytep into, size_t size) {
  png_job *job = png_get_io_ptr(png);
  if ((size_t)(job->end - job->at) < size) png_error(png, "the file is truncated");
  memcpy(into, job->at, size);
  job->at += size;
}

/* Asks for 8 bits a channel and no palette; any transparency becomes an alpha channel, gray with alpha RGBA. */
static void request_plain_pixels(png_structp png, png_infop info) {
  const int type = png_get_color_type(png, info);
  const bool transparent = png_get_valid(png, info, PNG_INFO_tRNS) || (type & PNG_COLOR_MASK_ALPHA);
  png_set_expand(png);
  png_set_scale_16(png);
  if (transparent && !(type & PNG_COLOR_MASK_COLOR)) png_set_gray_to_rgb(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
}

static void check_dimensions(png_job *job) {
  const int64_t height = png_get_image_height(job->png, job->info), width = png_get_image_width(job->png, job->info);
  if (height * width > MAX_PIXELS) {
    mt_fail(MT_ERROR_FORMAT, "PNG file '%s': %lld x %lld pixels, expected at most %lld in all", job->name,
            (long long)width, (long long)height, (long long)MAX_PIXELS);
    stop(job);
  }
  if ((uint64_t)height * png_get_rowbytes(job->png, job->info) / MAX_RATIO > job->size) {
    mt_fail(MT_ERROR_FORMAT, "PNG file '%s': %lld x %lld pixels cannot be in %zu bytes", job->name, (long long)width,
            (long long)height, job->size);
    stop(job);
  }
}

static void read_rows(png_job *job) {
  const int64_t height = job->pixels->shape[0], row_size = job->pixels->shape[1] * job->pixels->shape[2];
  const int passes = png_set_interlace_handling(job->png);
  for (int pass = 0; pass < passes; pass++)
    for (int64_t y = 0; y < height; y++) png_read_row(job->png, mt_u8(job->pixels) + y * row_size, NULL);
}

static int decode(png_job *job) {
  if (setjmp(png_jmpbuf(job->png))) return -1;
  png_set_crc_action(job->png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
  png_set_user_limits(job->png, INT32_MAX, INT32_MAX);
  png_set_chunk_malloc_max(job->png, MAX_CHUNK);
  png_set_read_fn(job->png, job, read_bytes);
  png_read_info(job->png, job->info);
  check_dimensions(job);
  request_plain_pixels(job->png, job->info);
  const int64_t shape[3] = {png_get_image_height(job->png, job->info), png_get_image_width(job->png, job->info),
                            png_get_channels(job->png, job->info)};
  job->pixels = mt_tensor_zeros(MT_UINT8, 3, shape);
  if (!job->pixels) stop(job);
  read_rows(job);
  png_read_end(job->png, NULL);
  return 0;
}

static mt_tensor *decode_as_stored(const void *data, size_t size, const char *name) {
  png_job job = {.name = name, .at = data, .end = (const uint8_t *)data + size, .size = size};
  if (size < 8 || png_sig_cmp(job.at, 0, 8) != 0) return mt_fail_null(MT_ERROR_FORMAT, "'%s' is not a PNG file", name);
  job.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &job, on_error, on_warning);
  if (job.png) job.info = png_create_info_struct(job.png);
  const int status = job.info ? decode(&job) : mt_fail(MT_ERROR_MEMORY, "out of memory: PNG file '%s'", name);
  png_destroy_read_struct(&job.png, &job.info, NULL);
  if (status == 0) return job.pixels;
  mt_release(job.pixels);
  return NULL;
}

mt_tensor *mt_png_decode(const void *data, size_t size, int channels, const char *name) {
  mt_tensor *pixels = decode_as_stored(data, size, name);
  if (!pixels || channels == 0 || pixels->shape[2] == channels) return pixels;
  mt_tensor *converted = mt_convert_channels(pixels, channels);
  mt_release(pixels);
  return converted;
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
  if (image->count == 0 || shape[0] > MAX_PIXELS || shape[1] > MAX_PIXELS || shape[0] * shape[1] > MAX_PIXELS)
    return mt_fail(MT_ERROR_ARGUMENT, "write_png: image has shape %s, expected 1 to %lld pixels",
                   mt_shape_text(image->ndim, shape, text), (long long)MAX_PIXELS);
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
