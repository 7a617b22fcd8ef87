/* Named tensors with text metadata, as files hold them, and the kinds of files they come in. */
#ifndef MT_IO_WEIGHTS_H
#define MT_IO_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/tensor.h"

typedef struct {
  char *name;
  mt_tensor *tensor;
} mt_named_tensor;

typedef struct {
  char *key, *value;
} mt_text_pair;

/* Zero-initialised it is empty; mt_weights_free is always safe. */
typedef struct {
  mt_named_tensor *tensors;
  size_t n_tensors, tensors_capacity;
  mt_text_pair *metadata;
  size_t n_metadata, metadata_capacity;
  char **notices; /* what whoever asked should know: what was chosen, what was left out */
  size_t n_notices, notices_capacity;
  size_t n_left_out;
  char left_out[512]; /* the first of them */
} mt_weights;

/* Reasons to leave a tensor out. */
#define MT_TOO_MANY_AXES "more axes than we have"
#define MT_TOO_LARGE_INTEGER "an integer that does not fit in int32"

/* What is wanted of a file. */
typedef struct {
  const char *key;    /* the part that is meant, "a.b"; NULL: the only or the most likely one */
  bool metadata_only; /* no tensors */
} mt_load_request;

/* Takes over the reference to tensor, also on error. */
int mt_weights_add(mt_weights *weights, const char *name, mt_tensor *tensor);
int mt_weights_add_metadata(mt_weights *weights, const char *key, const char *value);
int mt_weights_add_notice(mt_weights *weights, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* One tensor of the file cannot be had, for this reason; the others can. mt_weights_load says so in a notice. */
void mt_weights_leave_out(mt_weights *weights, const char *name, const char *problem);
void mt_weights_free(mt_weights *weights);

/* Reads a file of any known kind, told by its contents. Where tensors were left out and nothing else is there, that is
 * an error. On error `out` may hold a part: free it. */
int mt_weights_load(const char *path, const mt_load_request *request, mt_weights *out);

#endif
