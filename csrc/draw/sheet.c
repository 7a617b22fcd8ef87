#include "draw/sheet.h"

#ifdef MT_WITH_CAIRO
#include <cairo-pdf.h>
#include <cairo.h>
#include <math.h>
#include <string.h>

#include "core/error.h"
#include "core/memory.h"

#define SIDE_MAX 32767.0   /* Cairo's for images */
#define FAMILY "Helvetica" /* fontconfig finds what is nearest: Liberation Sans, Nimbus Sans, else DejaVu Sans */

struct mt_sheet {
  cairo_surface_t *surface;
  cairo_t *context;
  mt_bytes pdf;
  bool as_pdf, finished;
};

/* ---- errors ---- */

static int fail(cairo_status_t status) {
  return mt_fail(status == CAIRO_STATUS_NO_MEMORY ? MT_ERROR_MEMORY : MT_ERROR_ARGUMENT, "sheet: %s",
                 cairo_status_to_string(status));
}

static int status_of(const mt_sheet *sheet) {
  const cairo_status_t status = cairo_status(sheet->context);
  return status == CAIRO_STATUS_SUCCESS ? 0 : fail(status);
}

static int check_open(const mt_sheet *sheet) {
  return sheet->finished ? mt_fail(MT_ERROR_ARGUMENT, "sheet: its PDF was taken, nothing more can be drawn") : 0;
}

/* ---- beginning and end ---- */

static cairo_status_t append(void *sheet, const unsigned char *data, unsigned int size) {
  return mt_bytes_append(&((mt_sheet *)sheet)->pdf, data, size) < 0 ? CAIRO_STATUS_WRITE_ERROR : CAIRO_STATUS_SUCCESS;
}

static void make_surface(mt_sheet *sheet, double width, double height) {
  if (sheet->as_pdf) {
    sheet->surface = cairo_pdf_surface_create_for_stream(append, sheet, width, height);
    /* The same drawing gives the same file. */
    cairo_pdf_surface_set_metadata(sheet->surface, CAIRO_PDF_METADATA_CREATE_DATE, "");
  } else {
    sheet->surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)ceil(width), (int)ceil(height));
  }
  sheet->context = cairo_create(sheet->surface);
}

/* Letters have the same shape at every scale: no hints. */
static void set_up(mt_sheet *sheet, double scale) {
  cairo_font_options_t *options = cairo_font_options_create();
  cairo_font_options_set_antialias(options, CAIRO_ANTIALIAS_GRAY);
  cairo_font_options_set_hint_style(options, CAIRO_HINT_STYLE_NONE);
  cairo_font_options_set_hint_metrics(options, CAIRO_HINT_METRICS_OFF);
  cairo_set_font_options(sheet->context, options);
  cairo_font_options_destroy(options);
  cairo_set_source_rgb(sheet->context, 1, 1, 1);
  cairo_paint(sheet->context);
  cairo_scale(sheet->context, scale, scale);
  cairo_set_line_cap(sheet->context, CAIRO_LINE_CAP_ROUND);
  cairo_set_line_join(sheet->context, CAIRO_LINE_JOIN_ROUND);
}

mt_sheet *mt_sheet_new(double width, double height, double scale, bool as_pdf) {
  if (!(width > 0 && height > 0 && scale > 0 && width * scale <= SIDE_MAX && height * scale <= SIDE_MAX))
    return mt_fail_null(MT_ERROR_ARGUMENT, "sheet: size is %g x %g at scale %g, expected more than 0, and %g at most",
                        width, height, scale, SIDE_MAX);
  mt_sheet *sheet = mt_alloc(sizeof *sheet);
  if (!sheet) return NULL;
  *sheet = (mt_sheet){.as_pdf = as_pdf};
  make_surface(sheet, width * scale, height * scale);
  set_up(sheet, scale);
  if (status_of(sheet) == 0) return sheet;
  mt_sheet_free(sheet);
  return NULL;
}

void mt_sheet_free(mt_sheet *sheet) {
  if (!sheet) return;
  cairo_destroy(sheet->context);
  cairo_surface_finish(sheet->surface); /* may write to `pdf` */
  cairo_surface_destroy(sheet->surface);
  mt_bytes_free(&sheet->pdf);
  mt_free(sheet);
}

/* ---- paths ---- */

void mt_sheet_move(mt_sheet *sheet, double x, double y) { cairo_move_to(sheet->context, x, y); }
void mt_sheet_line(mt_sheet *sheet, double x, double y) { cairo_line_to(sheet->context, x, y); }

void mt_sheet_rectangle(mt_sheet *sheet, double x, double y, double width, double height) {
  cairo_rectangle(sheet->context, x, y, width, height);
}

void mt_sheet_circle(mt_sheet *sheet, double x, double y, double radius) {
  cairo_new_sub_path(sheet->context);
  cairo_arc(sheet->context, x, y, radius > 0 ? radius : 0, 0, 2 * M_PI);
  cairo_close_path(sheet->context);
}

static void set_color(mt_sheet *sheet, uint32_t color, double alpha) {
  cairo_set_source_rgba(sheet->context, (color >> 16 & 255) / 255.0, (color >> 8 & 255) / 255.0, (color & 255) / 255.0,
                        alpha);
}

int mt_sheet_stroke(mt_sheet *sheet, uint32_t color, double width, double dash, double gap) {
  if (check_open(sheet) < 0) return -1;
  const double dashes[2] = {dash, gap};
  set_color(sheet, color, 1);
  cairo_set_line_width(sheet->context, width);
  cairo_set_dash(sheet->context, dashes, dash > 0 && gap > 0 ? 2 : 0, 0);
  cairo_stroke(sheet->context);
  return status_of(sheet);
}

int mt_sheet_fill(mt_sheet *sheet, uint32_t color, double alpha) {
  if (check_open(sheet) < 0) return -1;
  set_color(sheet, color, alpha);
  cairo_fill(sheet->context);
  return status_of(sheet);
}

int mt_sheet_clip(mt_sheet *sheet) {
  if (check_open(sheet) < 0) return -1;
  cairo_save(sheet->context);
  cairo_clip(sheet->context);
  return status_of(sheet);
}

int mt_sheet_unclip(mt_sheet *sheet) {
  if (check_open(sheet) < 0) return -1;
  cairo_reset_clip(sheet->context);
  return status_of(sheet);
}

/* ---- text and images ---- */

int mt_sheet_text(mt_sheet *sheet, double x, double y, const char *text, const mt_text_style *style) {
  if (check_open(sheet) < 0) return -1;
  cairo_t *context = sheet->context;
  cairo_text_extents_t extents;
  cairo_save(context);
  cairo_select_font_face(context, FAMILY, CAIRO_FONT_SLANT_NORMAL,
                         style->bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
  cairo_set_font_size(context, style->size);
  cairo_text_extents(context, text, &extents);
  cairo_translate(context, x, y);
  if (style->upwards) cairo_rotate(context, -M_PI / 2);
  cairo_move_to(context, -style->anchor * extents.x_advance, 0);
  set_color(sheet, style->color, 1);
  cairo_show_text(context, text);
  cairo_new_path(context);
  cairo_restore(context);
  return status_of(sheet);
}

static void copy_pixels(cairo_surface_t *to, const mt_tensor *image) {
  const int64_t height = image->shape[0], width = image->shape[1], channels = image->shape[2];
  cairo_surface_flush(to);
  for (int64_t row = 0; row < height; row++) {
    uint32_t *line = (uint32_t *)(void *)(cairo_image_surface_get_data(to) + row * cairo_image_surface_get_stride(to));
    const uint8_t *from = mt_u8(image) + row * width * channels;
    for (int64_t i = 0; i < width; i++, from += channels)
      line[i] = (uint32_t)from[0] << 16 | (uint32_t)from[channels / 2] << 8 | from[channels - 1];
  }
  cairo_surface_mark_dirty(to);
}

static int check_image(const mt_tensor *image) {
  const bool fits = image->dtype == MT_UINT8 && image->ndim == 3 && (image->shape[2] == 1 || image->shape[2] == 3) &&
                    image->shape[0] > 0 && image->shape[1] > 0 && image->shape[0] <= SIDE_MAX &&
                    image->shape[1] <= SIDE_MAX;
  char text[MT_SHAPE_TEXT];
  return fits ? 0
              : mt_fail(MT_ERROR_ARGUMENT, "sheet: image is %s %s, expected uint8 {H,W,1} or {H,W,3}",
                        mt_dtype_name(image->dtype), mt_shape_text(image->ndim, image->shape, text));
}

int mt_sheet_image(mt_sheet *sheet, const mt_tensor *image, double x, double y, double width, double height) {
  if (check_open(sheet) < 0 || check_image(image) < 0) return -1;
  const int columns = (int)image->shape[1], rows = (int)image->shape[0];
  cairo_surface_t *pixels = cairo_image_surface_create(CAIRO_FORMAT_RGB24, columns, rows);
  const cairo_status_t status = cairo_surface_status(pixels);
  if (status == CAIRO_STATUS_SUCCESS) {
    copy_pixels(pixels, image);
    cairo_save(sheet->context);
    cairo_translate(sheet->context, x, y);
    cairo_scale(sheet->context, width / columns, height / rows);
    cairo_set_source_surface(sheet->context, pixels, 0, 0);
    cairo_pattern_set_filter(cairo_get_source(sheet->context), CAIRO_FILTER_NEAREST);
    cairo_rectangle(sheet->context, 0, 0, columns, rows);
    cairo_fill(sheet->context);
    cairo_restore(sheet->context);
  }
  cairo_surface_destroy(pixels);
  return status == CAIRO_STATUS_SUCCESS ? status_of(sheet) : fail(status);
}

/* ---- what was drawn ---- */

mt_tensor *mt_sheet_pixels(mt_sheet *sheet) {
  if (sheet->as_pdf) return mt_fail_null(MT_ERROR_ARGUMENT, "sheet: a PDF has no pixels");
  cairo_surface_flush(sheet->surface);
  const int64_t height = cairo_image_surface_get_height(sheet->surface);
  const int64_t width = cairo_image_surface_get_width(sheet->surface);
  mt_tensor *image = mt_tensor_new(MT_UINT8, 3, (const int64_t[]){height, width, 3});
  if (!image) return NULL;
  const uint8_t *data = cairo_image_surface_get_data(sheet->surface);
  for (int64_t row = 0; row < height; row++) {
    const uint32_t *line =
        (const uint32_t *)(const void *)(data + row * cairo_image_surface_get_stride(sheet->surface));
    uint8_t *to = mt_u8(image) + row * width * 3;
    for (int64_t i = 0; i < width; i++, to += 3) {
      to[0] = (uint8_t)(line[i] >> 16);
      to[1] = (uint8_t)(line[i] >> 8);
      to[2] = (uint8_t)line[i];
    }
  }
  return image;
}

int mt_sheet_pdf(mt_sheet *sheet, mt_bytes *bytes) {
  if (!sheet->as_pdf) return mt_fail(MT_ERROR_ARGUMENT, "sheet: it was not made as a PDF");
  if (check_open(sheet) < 0) return -1;
  sheet->finished = true;
  cairo_surface_finish(sheet->surface);
  const cairo_status_t status = cairo_surface_status(sheet->surface);
  if (status != CAIRO_STATUS_SUCCESS) return status == CAIRO_STATUS_WRITE_ERROR ? -1 : fail(status);
  *bytes = sheet->pdf;
  sheet->pdf = (mt_bytes){0};
  return 0;
}
#endif
