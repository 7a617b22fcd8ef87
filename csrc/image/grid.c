#include "image/grid.h"

#include "image/draw.h"
#include "image/pixels.h"

#define MAX_PIXELS ((int64_t)1 << 28) /* what image files hold at most */

static int check_images(const mt_tensor *images) {
  char text[MT_SHAPE_TEXT];
  const int64_t *shape = images->shape;
  if (images->ndim == 4 && images->count > 0 && (shape[3] == 1 || shape[3] == 3)) return 0;
  return mt_fail(MT_ERROR_ARGUMENT,
                 "grid: images has shape %s, expected {N,H,W,C} with one or more images and C 1 or 3",
                 mt_shape_text(images->ndim, shape, text));
}

/* `bytes`: uint8 {N,H,W,C}. */
static int paste_all(mt_tensor *canvas, const mt_tensor *bytes, const mt_grid_layout *layout, int64_t columns) {
  const int64_t height = bytes->shape[1] * layout->scale, width = bytes->shape[2] * layout->scale;
  const int64_t size = bytes->count / bytes->shape[0];
  int status = mt_fill_rect(canvas, 0, 0, canvas->shape[1], canvas->shape[0], layout->background);
  for (int64_t i = 0; i < bytes->shape[0] && status == 0; i++) {
    mt_tensor *image = mt_tensor_alias(bytes, i * size, 3, bytes->shape + 1);
    if (!image) return -1;
    status = mt_paste(canvas, image, layout->padding + i % columns * (width + layout->padding),
                      layout->padding + i / columns * (height + layout->padding), layout->scale);
    mt_release(image);
  }
  return status;
}

mt_tensor *mt_image_grid(mt_tensor *images, const mt_grid_layout *layout) {
  if (check_images(images) < 0) return NULL;
  const int64_t n = images->shape[0], columns = layout->columns < n ? layout->columns : n;
  const int64_t rows = (n + columns - 1) / columns, padding = layout->padding;
  const int64_t height = padding + rows * (images->shape[1] * layout->scale + padding);
  const int64_t width = padding + columns * (images->shape[2] * layout->scale + padding);
  if (height > MAX_PIXELS || width > MAX_PIXELS || height * width > MAX_PIXELS)
    return mt_fail_null(MT_ERROR_ARGUMENT, "grid: %lld x %lld pixels, expected at most %lld in all", (long long)width,
                        (long long)height, (long long)MAX_PIXELS);
  mt_tensor *bytes = mt_as_bytes(images, "grid");
  const int64_t shape[3] = {height, width, 3};
  mt_tensor *canvas = bytes ? mt_tensor_new(MT_UINT8, 3, shape) : NULL;
  if (canvas && paste_all(canvas, bytes, layout, columns) < 0) {
    mt_release(canvas);
    canvas = NULL;
  }
  mt_release(bytes);
  return canvas;
}
