#include "io/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "core/error.h"

int mt_lock_take(mt_lock *lock, const char *path) {
  const int descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (descriptor < 0) return mt_fail(MT_ERROR_IO, "cannot lock '%s': %s", path, strerror(errno));
  if (flock(descriptor, LOCK_EX | LOCK_NB) == 0) {
    lock->descriptor = descriptor;
    return 1;
  }
  const int reason = errno;
  close(descriptor);
  return reason == EWOULDBLOCK ? 0 : mt_fail(MT_ERROR_IO, "cannot lock '%s': %s", path, strerror(reason));
}

void mt_lock_release(mt_lock *lock) {
  if (lock->descriptor >= 0) close(lock->descriptor);
  lock->descriptor = -1;
}
