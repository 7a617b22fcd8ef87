/* Files that are either the old ones or the new ones, whole, whatever happens in between.
 *
 * The bytes go to "<path>.partial" in the same folder; committing syncs them to disk, renames the file over
 * `path` and syncs the folder. Until the rename the old file is untouched. The temporary name is fixed, so that
 * what a killed process left behind is taken over by the next writer; a lock on it keeps two living writers apart. */
#ifndef MT_IO_ATOMIC_FILE_H
#define MT_IO_ATOMIC_FILE_H

#include <stddef.h>

typedef struct mt_atomic_file mt_atomic_file;

/* NULL with an error when the folder is missing, the path is something else than a regular file, or another writer is
 * at it. A symbolic link is followed: the file it points to is replaced. */
mt_atomic_file *mt_atomic_open(const char *path);
int mt_atomic_write(mt_atomic_file *file, const void *data, size_t size);
/* Ends the file in any case; on an error the temporary is removed. */
int mt_atomic_commit(mt_atomic_file *file);
void mt_atomic_abort(mt_atomic_file *file);

/* All of it at once. */
int mt_write_file(const char *path, const void *data, size_t size);

#endif
