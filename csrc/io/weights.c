#include "io/weights.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

void mt_weights_free(mt_weights *weights) {
  for (size_t i = 0; i < weights->n_tensors; i++) {
    free(weights->tensors[i].name);
    mt_release(weights->tensors[i].tensor);
  }
  for (size_t i = 0; i < weights->n_metadata; i++) {
    free(weights->metadata[i].key);
    free(weights->metadata[i].value);
  }
  free(weights->tensors);
  free(weights->metadata);
  *weights = (mt_weights){0};
}

/* ---- kinds of files: one row each ---- */

#define PROBE_SIZE 16

typedef struct {
  bool (*probe)(const uint8_t *head, size_t size); /* size <= PROBE_SIZE */
  int (*read)(FILE *file, const char *path, mt_weights *out);
} file_kind;

static const file_kind kinds[] = {
    {mt_is_safetensors, mt_safetensors_read},
    {mt_is_torch_zip, mt_torch_read_zip},
    {mt_is_torch_pickles, mt_torch_read_pickles},
};

static int read_by_kind(FILE *file, const char *path, mt_weights *out) {
  uint8_t head[PROBE_SIZE];
  const size_t size = fread(head, 1, sizeof head, file);
  if (ferror(file)) return mt_fail(MT_ERROR_IO, "load: cannot read '%s': %s", path, strerror(errno));
  rewind(file);
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
    if (kinds[i].probe(head, size)) return kinds[i].read(file, path, out);
  return mt_fail(MT_ERROR_FORMAT, "load: '%s' is neither a safetensors file nor one that torch.save wrote", path);
}

int mt_weights_load(const char *path, mt_weights *out) {
  FILE *file = fopen(path, "rbe");
  if (!file) return mt_fail(MT_ERROR_IO, "load: cannot open '%s': %s", path, strerror(errno));
  const int status = read_by_kind(file, path, out);
  fclose(file);
  return status;
}
