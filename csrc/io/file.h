/* Whole files and folders. Messages name the path and give the operating system's reason. */
#ifndef MT_IO_FILE_H
#define MT_IO_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "io/bytes.h"

/* Appends the file's contents to `out`; more than max_bytes (SIZE_MAX: no limit) is an error. An error
 * leaves `out` with the contents it had. */
int mt_read_file(const char *path, size_t max_bytes, mt_bytes *out);

bool mt_file_exists(const char *path);
/* With all folders above it; one that exists already is no error. */
int mt_make_directory(const char *path);
/* A file that is not there is no error. */
int mt_remove_file(const char *path);

typedef struct {
  char **names; /* sorted by byte value, without . and .. */
  size_t count, capacity;
} mt_name_list;

/* `out` is empty before, and after an error. */
int mt_list_directory(const char *path, mt_name_list *out);
void mt_name_list_free(mt_name_list *list);

#endif
