/* The directory of a zip archive (zip64 too), for archives whose entries are stored, not compressed: an entry is then a
 * range of the file. */
#ifndef MT_IO_ZIP_H
#define MT_IO_ZIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct {
  const char *name; /* not zero-terminated */
  size_t name_size;
  int64_t header; /* where its local header is */
  int64_t size;
  uint32_t crc;
  uint16_t method; /* 0: stored */
  uint16_t flags;
} mt_zip_entry;

/* Zero-initialised it is empty; mt_zip_close is always safe. */
typedef struct {
  FILE *file;
  const char *path; /* for messages */
  int64_t file_size;
  uint8_t *directory;
  mt_zip_entry *entries; /* sorted by name */
  size_t count;
} mt_zip;

bool mt_is_zip(const uint8_t *head, size_t size);

/* Entries that do not fit in the file together are an error. `file` and `path` must stay until mt_zip_close. */
int mt_zip_open(FILE *file, const char *path, mt_zip *out);
void mt_zip_close(mt_zip *zip);

const mt_zip_entry *mt_zip_find(const mt_zip *zip, const char *name, size_t name_size); /* NULL when absent, no error */
/* Where an entry's bytes begin; a compressed or encrypted one is an error. */
int mt_zip_locate(const mt_zip *zip, const mt_zip_entry *entry, int64_t *offset);

#endif
