/* Ctrl-C and SIGTERM as a flag that long work looks at between two steps, so that it can end in order. A second Ctrl-C
 * or SIGTERM ends the process at once, as it would have without any of this. */
#ifndef MT_CORE_SIGNALS_H
#define MT_CORE_SIGNALS_H

/* From now on SIGINT and SIGTERM set the flag. Returns -1 with an error where the system refuses. */
int mt_catch_signals(void);

/* The signal that came since, 0 for none. */
int mt_caught_signal(void);

#endif
