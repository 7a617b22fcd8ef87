#include "image/jpeg.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

#include "core/memory.h"
#include "image/exif.h"
#include "image/pixels.h"
#include "io/atomic_file.h"

#define MAX_SCANS 200 /* a hostile file can repeat a scan over a large image at ten bytes each */
/* The component at full size spends a bit or more on each block of 8x8 pixels. */
#define MAX_PIXELS_PER_BYTE (8 * 64)
#define WRITE_BUFFER 16384

/* libjpeg reports errors by longjmp. Everything that must be released is in this record, which is not a local variable
 * of the function that called setjmp, so its fields keep their values. */
typedef struct {
  struct jpeg_error_mgr errors;
  jmp_buf after_error;
  const char *name;
  /* reading */
  struct jpeg_decompress_struct in;
  struct jpeg_progress_mgr progress;
  size_t size;
  bool has_header;
  bool at_end; /* libjpeg asked for more than there is */
  int orientation;
  mt_tensor *pixels;
  uint8_t *row;
  /* writing */
  struct jpeg_compress_struct out;
  struct jpeg_destination_mgr destination;
  mt_atomic_file *file;
  uint8_t buffer[WRITE_BUFFER];
} jpeg_job;

/* ---- errors ---- */

/* The message is set. */
static _Noreturn void stop(jpeg_job *job) { longjmp(job->after_error, 1); }

/* Rows of 8x8 blocks come one after the other, but where a file has several scans each adds detail to all of them. What
 * arithmetic coding leaves away cannot be counted. */
static void set_truncated(const jpeg_job *job) {
  const struct jpeg_decompress_struct *in = &job->in;
  const long long height = in->image_height, whole = (long long)in->input_iMCU_row * in->max_v_samp_factor * DCTSIZE;
  if (!job->has_header || in->arith_code)
    mt_fail(MT_ERROR_FORMAT, "JPEG file '%s': the file is truncated", job->name);
  else if (in->progressive_mode || in->input_scan_number > 1 || whole >= height)
    mt_fail(MT_ERROR_FORMAT, "JPEG file '%s': the file is truncated: detail of all %lld rows is missing", job->name,
            height);
  else
    mt_fail(MT_ERROR_FORMAT, "JPEG file '%s': the file is truncated: %lld of %lld rows are missing", job->name,
            height - whole, height);
}

static void set_message(j_common_ptr codec) {
  const jpeg_job *job = codec->client_data;
  char text[JMSG_LENGTH_MAX];
  codec->err->format_message(codec, text);
  mt_fail(codec->err->msg_code == JERR_OUT_OF_MEMORY ? MT_ERROR_MEMORY : MT_ERROR_FORMAT, "JPEG file '%s': %s",
          job->name, text);
}

static _Noreturn void on_error(j_common_ptr codec) {
  jpeg_job *job = codec->client_data;
  if (job->at_end && codec->err->msg_code != JERR_OUT_OF_MEMORY)
    set_truncated(job);
  else
    set_message(codec);
  stop(job);
}

/* What libjpeg warns of leaves pixels missing or wrong, but for these. */
static bool is_harmless(int code) {
  return code == JWRN_EXTRANEOUS_DATA || code == JWRN_ADOBE_XFORM || code == JWRN_JFIF_MAJOR;
}

/* The end of the data is none of the pixels'; where bits of those are missing, another warning follows. */
static void on_message(j_common_ptr codec, int level) {
  jpeg_job *job = codec->client_data;
  if (level >= 0 || is_harmless(codec->err->msg_code)) return;
  if (codec->err->msg_code != JWRN_JPEG_EOF) on_error(codec);
  job->at_end = true;
}

static void ignore_output(j_common_ptr codec) { (void)codec; }

static struct jpeg_error_mgr *set_up_errors(jpeg_job *job) {
  jpeg_std_error(&job->errors);
  job->errors.error_exit = on_error;
  job->errors.emit_message = on_message;
  job->errors.output_message = ignore_output;
  return &job->errors;
}

/* ---- reading ---- */

bool mt_is_jpeg(const void *data, size_t size) { return size >= 3 && memcmp(data, "\xff\xd8\xff", 3) == 0; }

static void limit_scans(j_common_ptr codec) {
  const jpeg_job *job = codec->client_data;
  if (job->in.input_scan_number <= MAX_SCANS) return;
  mt_fail(MT_ERROR_FORMAT, "JPEG file '%s': more than %d scans", job->name, MAX_SCANS);
  stop(codec->client_data);
}

static void check_dimensions(jpeg_job *job) {
  const int64_t height = job->in.image_height, width = job->in.image_width;
  if (mt_check_claim("JPEG", job->name, height, width, (uint64_t)(height * width) / MAX_PIXELS_PER_BYTE, job->size) < 0)
    stop(job);
}

static int find_orientation(const struct jpeg_decompress_struct *in) {
  int orientation = 1;
  for (jpeg_saved_marker_ptr marker = in->marker_list; marker && orientation == 1; marker = marker->next)
    orientation = mt_exif_orientation(marker->data, marker->data_length);
  return orientation;
}

/* The divisor for which the decoded image is smallest without going below the wanted size (ends are rounded up). */
static unsigned choose_divisor(const jpeg_job *job, const int64_t min_size[2]) {
  const bool swaps = mt_orientation_swaps(job->orientation);
  const int64_t min_height = min_size[swaps ? 1 : 0], min_width = min_size[swaps ? 0 : 1];
  unsigned divisor = min_height > 0 && min_width > 0 ? 8 : 1;
  while (divisor > 1 && ((job->in.image_height + divisor - 1) / divisor < min_height ||
                         (job->in.image_width + divisor - 1) / divisor < min_width))
    divisor /= 2;
  return divisor;
}

static void request_plain_pixels(struct jpeg_decompress_struct *in) {
  if (in->jpeg_color_space == JCS_CMYK || in->jpeg_color_space == JCS_YCCK)
    in->out_color_space = JCS_CMYK;
  else
    in->out_color_space = in->num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
  in->dct_method = JDCT_ISLOW;
}

/* Ink is stored the other way round, as Adobe's programs do it: with their mark or without, as in Pillow and in
 * browsers. */
static void cmyk_to_rgb(const uint8_t *from, uint8_t *to, int64_t count) {
  for (int64_t i = 0; i < count; i++, from += 4, to += 3)
    for (int c = 0; c < 3; c++) to[c] = (uint8_t)((from[c] * from[3] + 127) / 255);
}

static void read_rows(jpeg_job *job) {
  struct jpeg_decompress_struct *in = &job->in;
  const bool cmyk = in->out_color_space == JCS_CMYK;
  const int64_t row_size = job->pixels->shape[1] * job->pixels->shape[2];
  if (cmyk && !(job->row = mt_alloc((size_t)in->output_width * 4))) stop(job);
  while (in->output_scanline < in->output_height) {
    uint8_t *to = mt_u8(job->pixels) + in->output_scanline * row_size;
    JSAMPROW row = cmyk ? job->row : to;
    jpeg_read_scanlines(in, &row, 1);
    if (cmyk) cmyk_to_rgb(row, to, in->output_width);
  }
}

/* Whether a file without its end has all its pixels. Arithmetic coding leaves zeros at the end away, so that one cannot
 * tell. */
static bool is_whole(const struct jpeg_decompress_struct *in) {
  for (int c = 0; c < in->num_components; c++) {
    if (!in->comp_info[c].quant_table) return false; /* no scan has begun to give it */
    for (int k = 0; in->progressive_mode && k < DCTSIZE2; k++)
      if (in->coef_bits[c][k] != 0) return false;
  }
  return !in->arith_code;
}

static int decode(jpeg_job *job, const void *data, const int64_t min_size[2]) {
  struct jpeg_decompress_struct *in = &job->in;
  if (setjmp(job->after_error)) return -1;
  jpeg_create_decompress(in);
  job->progress.progress_monitor = limit_scans;
  in->progress = &job->progress;
  jpeg_mem_src(in, data, (unsigned long)job->size);
  jpeg_save_markers(in, JPEG_APP0 + 1, 0xffff);
  jpeg_read_header(in, TRUE);
  if (job->at_end) on_error((j_common_ptr)in);
  job->has_header = true;
  check_dimensions(job);
  job->orientation = find_orientation(in);
  request_plain_pixels(in);
  in->scale_num = 1;
  in->scale_denom = choose_divisor(job, min_size);
  jpeg_start_decompress(in);
  const int64_t shape[3] = {in->output_height, in->output_width, in->out_color_space == JCS_GRAYSCALE ? 1 : 3};
  job->pixels = mt_tensor_new(MT_UINT8, 3, shape);
  if (!job->pixels) stop(job);
  read_rows(job);
  const bool whole = is_whole(in); /* finishing gives back what this looks at */
  jpeg_finish_decompress(in);
  if (!job->at_end || whole) return 0;
  set_truncated(job);
  return -1;
}

static mt_tensor *decode_as_stored(const void *data, size_t size, const int64_t min_size[2], const char *name,
                                   int *orientation) {
  if (!mt_is_jpeg(data, size)) return mt_fail_null(MT_ERROR_FORMAT, "'%s' is not a JPEG file", name);
  jpeg_job *job = mt_alloc(sizeof *job);
  if (!job) return NULL;
  memset(job, 0, sizeof *job);
  job->name = name;
  job->size = size;
  job->in.err = set_up_errors(job);
  job->in.client_data = job;
  const int status = decode(job, data, min_size);
  jpeg_destroy_decompress(&job->in);
  mt_tensor *pixels = job->pixels;
  *orientation = job->orientation;
  mt_free(job->row);
  mt_free(job);
  if (status == 0) return pixels;
  mt_release(pixels);
  return NULL;
}

mt_tensor *mt_jpeg_decode(const void *data, size_t size, int channels, const int64_t min_size[2], const char *name) {
  int orientation = 1;
  mt_tensor *image = decode_as_stored(data, size, min_size, name, &orientation);
  return mt_with_channels(mt_turned_upright(image, orientation), channels);
}

/* ---- writing ---- */

static void start_buffer(j_compress_ptr out) {
  jpeg_job *job = out->client_data;
  job->destination.next_output_byte = job->buffer;
  job->destination.free_in_buffer = WRITE_BUFFER;
}

static void write_buffer(jpeg_job *job, size_t size) {
  if (mt_atomic_write(job->file, job->buffer, size) < 0) stop(job);
}

static boolean empty_buffer(j_compress_ptr out) {
  write_buffer(out->client_data, WRITE_BUFFER);
  start_buffer(out);
  return TRUE;
}

static void finish_buffer(j_compress_ptr out) {
  jpeg_job *job = out->client_data;
  write_buffer(job, WRITE_BUFFER - job->destination.free_in_buffer);
}

static void write_rows(jpeg_job *job, const mt_tensor *image, int64_t row_size) {
  while (job->out.next_scanline < job->out.image_height) {
    const int64_t at = job->out.next_scanline * row_size;
    if (image->dtype == MT_FLOAT32)
      mt_unit_to_bytes(mt_f32(image) + at, job->row, row_size);
    else
      memcpy(job->row, mt_u8(image) + at, (size_t)row_size);
    JSAMPROW row = job->row;
    jpeg_write_scanlines(&job->out, &row, 1);
  }
}

static int encode(jpeg_job *job, const mt_tensor *image, int quality) {
  struct jpeg_compress_struct *out = &job->out;
  if (setjmp(job->after_error)) return -1;
  jpeg_create_compress(out);
  job->destination.init_destination = start_buffer;
  job->destination.empty_output_buffer = empty_buffer;
  job->destination.term_destination = finish_buffer;
  out->dest = &job->destination;
  out->image_height = (JDIMENSION)image->shape[0];
  out->image_width = (JDIMENSION)image->shape[1];
  out->input_components = image->ndim == 3 ? (int)image->shape[2] : 1;
  out->in_color_space = out->input_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
  jpeg_set_defaults(out);
  jpeg_set_quality(out, quality, TRUE);
  jpeg_start_compress(out, TRUE);
  write_rows(job, image, (int64_t)out->image_width * out->input_components);
  jpeg_finish_compress(out);
  return 0;
}

static int check_writable(const mt_tensor *image) {
  char text[MT_SHAPE_TEXT];
  const int64_t *shape = image->shape;
  const int64_t channels = image->ndim == 3 ? shape[2] : 1;
  if (image->ndim < 2 || image->ndim > 3 || (channels != 1 && channels != 3))
    return mt_fail(MT_ERROR_ARGUMENT, "write_jpeg: image has shape %s, expected {H,W}, {H,W,1} or {H,W,3}",
                   mt_shape_text(image->ndim, shape, text));
  if (image->count == 0 || shape[0] > JPEG_MAX_DIMENSION || shape[1] > JPEG_MAX_DIMENSION)
    return mt_fail(MT_ERROR_ARGUMENT, "write_jpeg: image has shape %s, expected 1 to %ld pixels a side",
                   mt_shape_text(image->ndim, shape, text), JPEG_MAX_DIMENSION);
  if (image->dtype == MT_INT32)
    return mt_fail(MT_ERROR_ARGUMENT, "write_jpeg: image is int32, expected uint8 or float32");
  return 0;
}

static int encode_to_file(jpeg_job *job, const mt_tensor *image, int quality) {
  job->row = mt_alloc((size_t)(image->count / image->shape[0]));
  if (!job->row) return -1;
  job->file = mt_atomic_open(job->name);
  if (!job->file) return -1;
  job->out.err = set_up_errors(job);
  job->out.client_data = job;
  const int status = encode(job, image, quality);
  jpeg_destroy_compress(&job->out);
  if (status == 0) return mt_atomic_commit(job->file);
  mt_atomic_abort(job->file);
  return -1;
}

static int write_image(const char *path, const mt_tensor *image, int quality) {
  if (check_writable(image) < 0) return -1;
  jpeg_job *job = mt_alloc(sizeof *job);
  if (!job) return -1;
  memset(job, 0, sizeof *job);
  job->name = path;
  const int status = encode_to_file(job, image, quality);
  mt_free(job->row);
  mt_free(job);
  return status;
}

int mt_jpeg_write(const char *path, const mt_tensor *image, int quality) {
  mt_tensor *single = mt_single_image(image, "write_jpeg");
  const int status = single ? write_image(path, single, quality) : -1;
  mt_release(single);
  return status;
}
