/* Whole files and folders. Messages name the path and give the operating system's reason. */
#ifndef MT_IO_FILE_H
#define MT_IO_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/bytes.h"

/* Appends the file's contents to `out`; more than max_bytes (SIZE_MAX: no limit) is an error. An error
 * leaves `out` with the contents it had. */
int mt_read_file(const char *path, size_t max_bytes, mt_bytes *out);
/* The same of a regular file; what is none (a folder, a FIFO, a device) is refused at once and never waited for. */
int mt_read_regular_file(const char *path, size_t max_bytes, mt_bytes *out);

/* The first bytes of a regular file, `size` at most; how many there are, or -1 with an error. */
long mt_read_head(const char *path, void *into, size_t size);

/* The same for every name of one file or folder. */
typedef struct {
  uint64_t device, inode;
} mt_path_identity;

/* "file", "folder", "FIFO", "socket" or "device", after all symbolic links; NULL, without an error, for nothing that
 * can be reached. `identity` may be NULL. */
const char *mt_path_kind(const char *path, mt_path_identity *identity);
bool mt_file_exists(const char *path);
/* In bytes; -1, without an error, for what is no regular file that can be reached. */
int64_t mt_file_size(const char *path);
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
