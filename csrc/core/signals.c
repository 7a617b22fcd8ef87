#include "core/signals.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "core/error.h"

static volatile sig_atomic_t caught;

/* SA_RESETHAND has put the default action of this signal back by now; the other one's goes with it. */
static void note(int signal_number) {
  caught = signal_number;
  signal(signal_number == SIGINT ? SIGTERM : SIGINT, SIG_DFL);
}

int mt_catch_signals(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = note;
  action.sa_flags = SA_RESTART | (int)SA_RESETHAND;
  sigemptyset(&action.sa_mask);
  caught = 0;
  if (sigaction(SIGINT, &action, NULL) == 0 && sigaction(SIGTERM, &action, NULL) == 0) return 0;
  return mt_fail(MT_ERROR_IO, "signals cannot be caught: %s", strerror(errno));
}

int mt_caught_signal(void) { return caught; }
