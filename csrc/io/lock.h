/* A lock on a file, which one process at a time can hold: given back when it is released, or the process ends in
 * whatever way. Only those who ask for it are kept out. */
#ifndef MT_IO_LOCK_H
#define MT_IO_LOCK_H

typedef struct {
  int descriptor; /* -1 when it is not held */
} mt_lock;

/* Makes the file where it is missing. 1 when the lock is held now, 0 when another process (or another lock of this one)
 * holds it, -1 with an error where the file cannot be opened. */
int mt_lock_take(mt_lock *lock, const char *path);
void mt_lock_release(mt_lock *lock);

#endif
