#include "io/weights.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/error.h"
#include "io/safetensors.h"
#include "io/torch_file.h"

/* ---- the set ---- */

/* Makes room for one more item in an array of `count`. */
static int reserve_one(void **items, size_t count, size_t *capacity, size_t item_size) {
  if (count < *capacity) return 0;
  const size_t wanted = *capacity ? 2 * *capacity : 32;
  void *grown = realloc(*items, wanted * item_size);
  if (!grown) return mt_fail(MT_ERROR_MEMORY, "out of memory: list of %zu tensors", wanted);
  *items = grown;
  *capacity = wanted;
  return 0;
}

int mt_weights_add(mt_weights *weights, const char *name, mt_tensor *tensor) {
  char *own_name = strdup(name);
  if (own_name && reserve_one((void **)&weights->tensors, weights->n_tensors, &weights->tensors_capacity,
                              sizeof *weights->tensors) == 0) {
    weights->tensors[weights->n_tensors++] = (mt_named_tensor){own_name, tensor};
    return 0;
  }
  free(own_name);
  mt_release(tensor);
  return mt_fail(MT_ERROR_MEMORY, "out of memory: list of tensors");
}

int mt_weights_add_metadata(mt_weights *weights, const char *key, const char *value) {
  if (reserve_one((void **)&weights->metadata, weights->n_metadata, &weights->metadata_capacity,
                  sizeof *weights->metadata) < 0)
    return -1;
  const mt_text_pair pair = {strdup(key), strdup(value)};
  if (pair.key && pair.value) {
    weights->metadata[weights->n_metadata++] = pair;
    return 0;
  }
  free(pair.key);
  free(pair.value);
  return mt_fail(MT_ERROR_MEMORY, "out of memory: metadata");
}

int mt_weights_add_notice(mt_weights *weights, const char *format, ...) {
  char text[2048];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (reserve_one((void **)&weights->notices, weights->n_notices, &weights->notices_capacity,
                  sizeof *weights->notices) < 0)
    return -1;
  char *own = strdup(text);
  if (!own) return mt_fail(MT_ERROR_MEMORY, "out of memory: notices");
  weights->notices[weights->n_notices++] = own;
  return 0;
}

void mt_weights_leave_out(mt_weights *weights, const char *name, const char *problem) {
  const size_t used = strlen(weights->left_out), room = sizeof weights->left_out - used;
  const int n = snprintf(weights->left_out + used, room, "%s'%.100s' (%.100s)", used ? ", " : "", name, problem);
  if (n < 0 || (size_t)n >= room) weights->left_out[used] = '\0';
  weights->n_left_out++;
}

void mt_weights_free(mt_weights *weights) {
  for (size_t i = 0; i < weights->n_tensors; i++) {
    free(weights->tensors[i].name);
    mt_release(weights->tensors[i].tensor);
  }
  for (size_t i = 0; i < weights->n_metadata; i++) {
    free(weights->metadata[i].key);
    free(weights->metadata[i].value);
  }
  for (size_t i = 0; i < weights->n_notices; i++) free(weights->notices[i]);
  free(weights->tensors);
  free(weights->metadata);
  free(weights->notices);
  *weights = (mt_weights){0};
}

/* ---- kinds of files: one row each ---- */

#define PROBE_SIZE 512

typedef struct {
  bool (*probe)(const uint8_t *head, size_t size); /* size <= PROBE_SIZE */
  int (*read)(FILE *file, const char *path, const mt_load_request *request, mt_weights *out);
} file_kind;

static const file_kind kinds[] = {
    {mt_is_safetensors, mt_safetensors_read},
    {mt_is_torch_zip, mt_torch_read_zip},
    {mt_is_torch_pickles, mt_torch_read_pickles},
};

/* What else stands where weights are expected, by its first bytes, in lower case where they are letters. */
static const struct {
  const char *head;
  size_t size;
  const char *what;
} others[] = {
    {"version https://git-lfs", 23, "it is a pointer of git-lfs, not the file itself: 'git lfs pull' fetches that"},
    {"<!doctype", 9, "it is a web page (a download that went wrong?)"},
    {"<html", 5, "it is a web page (a download that went wrong?)"},
    {"<?xml", 5, "it is XML (a download that went wrong?)"},
    {"\x93numpy", 6, "it is an array of NumPy's (.npy): write it as safetensors to load it here"},
    {"\x89hdf\r\n\x1a\n", 8, "it is an HDF5 file (Keras?): write its arrays as safetensors to load them here"},
    {"gguf", 4, "it is a GGUF file"},
    {"\x1f\x8b", 2, "it is compressed with gzip: uncompress it first"},
    {"\x42zh", 3, "it is compressed with bzip2: uncompress it first"},
    {"\xfd\x37zxz", 5, "it is compressed with xz: uncompress it first"},
    {"\x28\xb5\x2f\xfd", 4, "it is compressed with zstd: uncompress it first"},
    {"{", 1, "it is JSON, perhaps an index that names the files with the weights"},
};

static uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 'a' - 'A') : c; }

static bool begins_with(const uint8_t *head, size_t size, const char *text, size_t length) {
  for (size_t i = 0; i < length; i++)
    if (i == size || lower(head[i]) != lower((uint8_t)text[i])) return false;
  return true;
}

/* The beginning of a short text, for a message: what a server said instead of the file. "" for what is no text. */
static const char *text_of(const uint8_t *head, size_t size, char text[81]) {
  size_t n = 0;
  while (n < 80 && n < size && head[n] >= ' ' && head[n] < 0x7f) n++;
  const bool is_text = n > 0 && (n == 80 || n == size || head[n] == '\n' || head[n] == '\r');
  memcpy(text, head, is_text ? n : 0);
  text[is_text ? n : 0] = '\0';
  return text;
}

static int fail_unknown(const char *path, const uint8_t *head, size_t size) {
  char text[81];
  if (size == 0) return mt_fail(MT_ERROR_FORMAT, "load: '%s' is empty", path);
  for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
    if (begins_with(head, size, others[i].head, others[i].size))
      return mt_fail(MT_ERROR_FORMAT, "load: '%s': %s", path, others[i].what);
  if (size == PROBE_SIZE && memcmp(head + 257, "ustar", 5) == 0)
    return mt_fail(MT_ERROR_FORMAT, "load: '%s': it is a tar archive", path);
  text_of(head, size, text);
  return mt_fail(MT_ERROR_FORMAT, "load: '%s' is neither a safetensors file nor one that torch.save wrote%s%s%s", path,
                 *text ? " (it begins with '" : "", text, *text ? "')" : "");
}

static int read_by_kind(FILE *file, const char *path, const mt_load_request *request, mt_weights *out) {
  uint8_t head[PROBE_SIZE];
  const size_t size = fread(head, 1, sizeof head, file);
  if (ferror(file)) return mt_fail(MT_ERROR_IO, "load: cannot read '%s': %s", path, strerror(errno));
  rewind(file);
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
    if (kinds[i].probe(head, size)) return kinds[i].read(file, path, request, out);
  return fail_unknown(path, head, size);
}

static int say_left_out(const char *path, mt_weights *out) {
  if (out->n_left_out == 0) return 0;
  if (out->n_tensors == 0)
    return mt_fail(MT_ERROR_FORMAT, "load: '%s': none of its tensors can be read here: %s", path, out->left_out);
  return mt_weights_add_notice(out, "load: '%s': left out %zu tensor%s that cannot be read here: %s", path,
                               out->n_left_out, out->n_left_out == 1 ? "" : "s", out->left_out);
}

int mt_weights_load(const char *path, const mt_load_request *request, mt_weights *out) {
  struct stat info;
  /* before opening: a pipe would be waited for */
  if (stat(path, &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode))
    return mt_fail(MT_ERROR_IO, "load: '%s' is not a regular file", path);
  FILE *file = fopen(path, "rbe");
  if (!file) return mt_fail(MT_ERROR_IO, "load: cannot open '%s': %s", path, strerror(errno));
  const int status = read_by_kind(file, path, request, out);
  fclose(file);
  return status < 0 ? -1 : say_left_out(path, out);
}
