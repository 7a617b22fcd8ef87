#include "explain/cam.h"

#include "autograd/tape.h"
#include "core/memory.h"
#include "core/threads.h"
#include "image/pixels.h"
#include "nn/capture.h"

#define CHUNK_BYTES ((int64_t)1536 << 10) /* of input: the widest activations are some ten times larger */
#define MIN_CHUNK 16                      /* every chunk folds and packs the net's weights once */
#define MAX_CHUNK 128
#define PARALLEL_FROM ((int64_t)1 << 14) /* values; below, starting threads costs more than they save */

/* ---- weight rules ---- */

/* xGradCAM (Fu et al. 2020): w_k = sum_ij( g_k A_k / (sum_ij A_k + 1e-7) ). */
static void weigh_xgradcam(const float *activation, const float *gradient, int64_t positions, int64_t channels,
                           double *weights, double *sums) {
  for (int64_t c = 0; c < channels; c++) weights[c] = sums[c] = 0.0;
  for (int64_t p = 0; p < positions; p++, activation += channels, gradient += channels) {
    for (int64_t c = 0; c < channels; c++) {
      sums[c] += activation[c];
      weights[c] += (double)gradient[c] * activation[c];
    }
  }
  for (int64_t c = 0; c < channels; c++) weights[c] /= sums[c] + 1e-7;
}

/* GradCAM (Selvaraju et al. 2017): w_k = mean_ij g_k. */
static void weigh_gradcam(const float *activation, const float *gradient, int64_t positions, int64_t channels,
                          double *weights, double *sums) {
  (void)activation;
  for (int64_t c = 0; c < channels; c++) sums[c] = 0.0;
  for (int64_t i = 0; i < positions * channels; i += channels)
    for (int64_t c = 0; c < channels; c++) sums[c] += gradient[i + c];
  for (int64_t c = 0; c < channels; c++) weights[c] = sums[c] / (double)positions;
}

const mt_cam_method mt_cam_methods[] = {
    {"xgradcam", weigh_xgradcam},
    {"gradcam", weigh_gradcam},
    {NULL, NULL},
};

/* ---- weights to heatmap ---- */

static void heat_of_image(const mt_cam_method *method, const float *activation, const float *gradient,
                          int64_t positions, int64_t channels, double *weights, float *heat) {
  method->weigh(activation, gradient, positions, channels, weights, weights + channels);
  for (int64_t p = 0; p < positions; p++) {
    const float *a = activation + p * channels;
    double sums[4] = {0.0}; /* four at a time hide the latency of the additions */
    int64_t c = 0;
    for (; c + 4 <= channels; c += 4)
      for (int i = 0; i < 4; i++) sums[i] += weights[c + i] * a[c + i];
    for (; c < channels; c++) sums[0] += weights[c] * a[c];
    const double sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    heat[p] = sum <= 0.0 ? 0.0f : (float)sum; /* NaN stays */
  }
}

typedef struct {
  const mt_cam_method *method;
  const float *activation, *gradient;
  int64_t positions, channels;
  double *weights; /* of each image, and as many sums */
  float *heat;
} heat_work;

static void heat_range(const void *context, int64_t begin, int64_t end) {
  const heat_work *w = context;
  const int64_t size = w->positions * w->channels;
  for (int64_t i = begin; i < end; i++)
    heat_of_image(w->method, w->activation + i * size, w->gradient + i * size, w->positions, w->channels,
                  w->weights + 2 * i * w->channels, w->heat + i * w->positions);
}

/* activation, gradient: {count,h,w,C}; heat: {count,h,w}. */
static int heat_of_images(const mt_cam_method *method, const mt_tensor *activation, const mt_tensor *gradient,
                          float *heat) {
  const int64_t count = activation->shape[0], channels = activation->shape[3];
  const int64_t positions = activation->shape[1] * activation->shape[2];
  double *weights = mt_alloc((size_t)(2 * count * channels) * sizeof *weights);
  if (!weights) return -1;
  const heat_work work = {method, mt_f32(activation), mt_f32(gradient), positions, channels, weights, heat};
  mt_parallel(count, mt_chunk(count, positions * channels, PARALLEL_FROM), heat_range, &work);
  mt_free(weights);
  return 0;
}

mt_tensor *mt_cam_heat(const mt_cam_method *method, const mt_tensor *activation, const mt_tensor *gradient) {
  if (mt_expect_dtype(activation, MT_FLOAT32, "cam", "activation") < 0 ||
      mt_expect_ndim(activation, 4, "cam", "activation", "{N,h,w,C}") < 0 ||
      mt_expect_dtype(gradient, MT_FLOAT32, "cam", "gradient") < 0 ||
      mt_expect_shape(gradient, 4, activation->shape, "cam", "gradient") < 0)
    return NULL;
  mt_tensor *heat = mt_tensor_new(MT_FLOAT32, 3, activation->shape);
  if (!heat || heat_of_images(method, activation, gradient, mt_f32(heat)) == 0) return heat;
  mt_release(heat);
  return NULL;
}

/* ---- one pass ---- */

typedef struct {
  const mt_cam_method *method;
  mt_module *model, *layer;
  const mt_tensor *images;
  const mt_cam_options *options;
  mt_tensor *heat, *predicted; /* heat is made by the first chunk, which knows its size */
} cam_run;

static int64_t argmax(const float *row, int64_t n) {
  int64_t best = 0;
  for (int64_t j = 1; j < n; j++)
    if (row[j] > row[best]) best = j;
  return best;
}

static int check_logits(const mt_tensor *logits, int64_t count) {
  char text[MT_SHAPE_TEXT];
  if (logits->dtype == MT_FLOAT32 && logits->ndim == 2 && logits->shape[0] == count && logits->shape[1] > 0) return 0;
  return mt_fail(MT_ERROR_ARGUMENT, "cam: the model gives %s of shape %s, expected float32 logits {%lld,k}",
                 mt_dtype_name(logits->dtype), mt_shape_text(logits->ndim, logits->shape, text), (long long)count);
}

/* The gradient of the sum of the target logits: 1 at each image's target. Also notes the predictions. */
static mt_tensor *target_gradient(cam_run *run, const mt_tensor *logits, int64_t first) {
  const int64_t count = logits->shape[0], classes = logits->shape[1];
  mt_tensor *gradient = mt_tensor_zeros(MT_FLOAT32, 2, logits->shape);
  if (!gradient) return NULL;
  for (int64_t i = 0; i < count; i++) {
    const int64_t best = argmax(mt_f32(logits) + i * classes, classes) + 1;
    const int64_t target = run->options->target    ? run->options->target
                           : run->options->targets ? mt_i32(run->options->targets)[first + i]
                                                   : best;
    if (target < 1 || target > classes) {
      mt_release(gradient);
      return mt_fail_null(MT_ERROR_ARGUMENT, "cam: target of image %lld is %lld, expected 1 to %lld",
                          (long long)(first + i + 1), (long long)target, (long long)classes);
    }
    mt_f32(gradient)[i * classes + target - 1] = 1.0f;
    mt_i32(run->predicted)[first + i] = (int32_t)best;
  }
  return gradient;
}

static int backward_to_layer(cam_run *run, mt_tensor *logits, const mt_tensor *activation, int64_t first) {
  mt_tensor *gradient = target_gradient(run, logits, first);
  if (!gradient) return -1;
  const int status = logits->requires_grad ? mt_backward(logits, gradient) : 0;
  mt_release(gradient);
  if (status == 0 && !activation->grad)
    return mt_fail(MT_ERROR_ARGUMENT, "cam: the model's logits do not depend on layer '%s'", run->options->layer);
  return status;
}

static int check_activation(cam_run *run, const mt_tensor *activation, int64_t count) {
  char text[MT_SHAPE_TEXT];
  if (!activation)
    return mt_fail(MT_ERROR_ARGUMENT, "cam: layer '%s' does not run in the model's forward pass", run->options->layer);
  if (activation->ndim != 4 || activation->shape[0] != count)
    return mt_fail(MT_ERROR_ARGUMENT, "cam: layer '%s' gives shape %s, expected {%lld,h,w,C}", run->options->layer,
                   mt_shape_text(activation->ndim, activation->shape, text), (long long)count);
  return 0;
}

/* Makes the heatmaps' tensor, or checks that this chunk's have the same size. */
static int fit_heat(cam_run *run, const mt_tensor *activation) {
  const int64_t shape[3] = {run->images->shape[0], activation->shape[1], activation->shape[2]};
  if (run->heat) return mt_expect_shape(run->heat, 3, shape, "cam", "heat of an earlier batch");
  run->heat = mt_tensor_new(MT_FLOAT32, 3, shape);
  return run->heat ? 0 : -1;
}

static int explain_chunk(cam_run *run, mt_tensor *logits, mt_tensor *activation, int64_t first, int64_t count) {
  if (check_activation(run, activation, count) < 0 || check_logits(logits, count) < 0 ||
      backward_to_layer(run, logits, activation, first) < 0 || fit_heat(run, activation) < 0)
    return -1;
  const int64_t positions = activation->shape[1] * activation->shape[2];
  return heat_of_images(run->method, activation, activation->grad, mt_f32(run->heat) + first * positions);
}

static int run_chunk(cam_run *run, int64_t first, int64_t count) {
  mt_tensor *images = mt_image_range(run->images, first, count);
  if (!images) return -1;
  mt_layer_tap tap = {.module = run->layer};
  mt_capture capture = {.taps = &tap, .count = 1, .gradients = true};
  mt_tensor *logits = mt_capture_forward(&capture, run->model, images);
  mt_release(images);
  const int status = logits ? explain_chunk(run, logits, tap.value, first, count) : -1;
  mt_release(logits);
  mt_capture_release(&capture);
  return status;
}

/* ---- all images ---- */

static int check_images(const mt_tensor *images, const mt_tensor *targets) {
  char text[MT_SHAPE_TEXT];
  if (images->dtype == MT_INT32) return mt_fail(MT_ERROR_ARGUMENT, "cam: images is int32, expected float32 or uint8");
  if (images->ndim != 4 || images->count == 0)
    return mt_fail(MT_ERROR_ARGUMENT, "cam: images has shape %s, expected {N,H,W,C} with at least one image%s",
                   mt_shape_text(images->ndim, images->shape, text), mt_image_hint(images));
  if (!targets) return 0;
  if (mt_expect_dtype(targets, MT_INT32, "cam", "target") < 0) return -1;
  return mt_expect_shape(targets, 1, images->shape, "cam", "target");
}

static int64_t default_chunk(const mt_tensor *images) {
  const int64_t bytes = images->count / images->shape[0] * (int64_t)sizeof(float);
  const int64_t fitting = CHUNK_BYTES / bytes;
  return fitting < MIN_CHUNK ? MIN_CHUNK : fitting > MAX_CHUNK ? MAX_CHUNK : fitting;
}

static int run_chunks(cam_run *run) {
  const int64_t n = run->images->shape[0];
  const int64_t chunk = run->options->batch ? run->options->batch : default_chunk(run->images);
  run->predicted = mt_tensor_new(MT_INT32, 1, run->images->shape);
  int status = run->predicted ? 0 : -1;
  for (int64_t first = 0; status == 0 && first < n; first += chunk)
    status = run_chunk(run, first, n - first < chunk ? n - first : chunk);
  return status;
}

int mt_cam(const mt_cam_method *method, mt_module *model, const mt_tensor *images, const mt_cam_options *options,
           mt_tensor **heat, mt_tensor **predicted) {
  cam_run run = {.method = method, .model = model, .images = images, .options = options};
  if (check_images(images, options->targets) < 0) return -1;
  run.layer = mt_module_find(model, options->layer);
  if (!run.layer) return -1;
  if (run_chunks(&run) < 0) {
    mt_release(run.heat);
    mt_release(run.predicted);
    return -1;
  }
  *heat = run.heat;
  *predicted = run.predicted;
  return 0;
}
