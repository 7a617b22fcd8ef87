/* Rows of one size in a file that is filled in any order, and loses nothing but the row in hand when the process is
 * killed.
 *
 * It is a safetensors file of a tensor with the rows and an int32 tensor {N} with their checks: the CRC-32 of each row,
 * 0 for one that is not there yet. Until all rows are there it is called "<path>.partial", is locked by the one process
 * that fills it, and the next one goes on with it; then its bytes are synced to disk and it is renamed. So what has the
 * name is whole, and a row of a partial file counts only when its check is right.
 *
 * Rows are read with pread and not through a mapping: the page cache holds them just the same, without a copy of ours;
 * but a file that is cut short while in use is an error here, where a mapping would kill the process (SIGBUS), and what
 * was read does not count as resident memory. */
#ifndef MT_IO_ROW_FILE_H
#define MT_IO_ROW_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mt_row_file mt_row_file;

/* header: what a safetensors file of these rows begins with, length included; it says all that the rows depend on, and
 * a file that begins otherwise is an error. Folders must exist. shared: other processes may have it open so, who put
 * other rows; it is made whole by a process that has it alone. */
mt_row_file *mt_row_file_open(const char *path, const void *header, size_t header_size, int64_t count, size_t row_bytes,
                              bool shared);
mt_row_file *mt_row_file_retain(mt_row_file *file);
void mt_row_file_release(mt_row_file *file); /* NULL is allowed */

int64_t mt_row_file_count(const mt_row_file *file);
size_t mt_row_file_row_bytes(const mt_row_file *file);
/* How many rows are there; the whole file: count. */
int64_t mt_row_file_present(const mt_row_file *file);

/* Row i (from 0): 1 when it is there and was read, 0 when it is not there, -1 on an error. Several threads may call
 * this and _put, but for one row only one of them _put. */
int mt_row_file_get(mt_row_file *file, int64_t i, void *row);
/* The last row that was missing makes the file whole. */
int mt_row_file_put(mt_row_file *file, int64_t i, const void *row);

#endif
