/* Only MPI's point-to-point messages are used, never waiting in MPI itself: what waits is ours (dist/world.c), so that
 * it can sleep, and end with a diagnosis. Calls are serialised by the caller.
 *
 * At the end of a process, however it comes about: with status 0 the rank says that it leaves, waits until all do, and
 * finalises; with another one it ends the whole run. (A process that is killed leaves that to the launcher.) */
#include "mpi/transport.h"

#include <limits.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LEAVING_TAG 32767    /* MPI's least upper bound of tags */
#define LEAVING_SECONDS 3600 /* for the others to end as well: rank 0 may have a report to write */
#define MOST_ABORT_SECONDS 5
#define HEAD_START_SECONDS 1.0
#define LAST_WORDS_SECONDS 0.3 /* for the launcher to pass on what was printed */

static char last_problem[MPI_MAX_ERROR_STRING];

static int checked(int code) {
  int length;
  if (code == MPI_SUCCESS) return 0;
  MPI_Error_string(code, last_problem, &length);
  return -1;
}

static const char *problem_text(void) { return last_problem; }

static void *keep(MPI_Request request, int code) {
  if (checked(code) < 0) return NULL;
  MPI_Request *kept = malloc(sizeof *kept);
  if (kept) *kept = request;
  return kept;
}

static void *send_bytes(const void *data, size_t bytes, int to, int tag) {
  MPI_Request request;
  const int code = MPI_Isend(data, (int)bytes, MPI_BYTE, to, tag, MPI_COMM_WORLD, &request);
  return keep(request, code);
}

static void *receive_bytes(void *data, size_t bytes, int from, int tag) {
  MPI_Request request;
  const int code = MPI_Irecv(data, (int)bytes, MPI_BYTE, from, tag, MPI_COMM_WORLD, &request);
  return keep(request, code);
}

static int test_request(void *request) {
  int done = 0;
  if (checked(MPI_Test(request, &done, MPI_STATUS_IGNORE)) < 0) return -1;
  if (done) free(request);
  return done;
}

static int leaving_rank(void) {
  MPI_Status status;
  int found = 0;
  if (MPI_Iprobe(MPI_ANY_SOURCE, LEAVING_TAG, MPI_COMM_WORLD, &found, &status) != MPI_SUCCESS || !found) return -1;
  return status.MPI_SOURCE;
}

static void nap(double seconds) {
  const time_t whole = (time_t)seconds;
  nanosleep(&(struct timespec){whole, (long)(1e9 * (seconds - (double)whole))}, NULL);
}

static void end_all(int status) {
  fflush(NULL);
  alarm(MOST_ABORT_SECONDS); /* should MPI hang, the process dies all the same, and the launcher sees it */
  nap(LAST_WORDS_SECONDS);
  MPI_Abort(MPI_COMM_WORLD, status);
}

static mt_transport transport = {
    .send = send_bytes,
    .receive = receive_bytes,
    .test = test_request,
    .left = leaving_rank,
    .problem = problem_text,
    .abort = end_all,
};

/* ---- the end ---- */

static int all_left(MPI_Request *requests, int count) {
  const time_t began = time(NULL);
  for (int left = 0; left < count; nap(0.001)) {
    for (int done = 1; left < count && done; left += done)
      if (MPI_Test(&requests[left], &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) return 0;
    if (left < count && time(NULL) - began > LEAVING_SECONDS) return 0;
  }
  return 1;
}

static int leave(void) {
  static char word = 1, heard;
  MPI_Request *requests = malloc(2 * (size_t)transport.size * sizeof *requests);
  int count = 0;
  if (!requests) return 0;
  for (int rank = 0; rank < transport.size; rank++) {
    if (rank == transport.rank) continue;
    MPI_Isend(&word, 1, MPI_BYTE, rank, LEAVING_TAG, MPI_COMM_WORLD, &requests[count++]);
    MPI_Irecv(&heard, 1, MPI_BYTE, rank, LEAVING_TAG, MPI_COMM_WORLD, &requests[count++]);
  }
  const int left = all_left(requests, count);
  free(requests);
  return left;
}

static void at_exit(int status, void *nothing) {
  int finalized = 0;
  (void)nothing;
  MPI_Finalized(&finalized);
  if (finalized) return;
  if (status != 0) {
    if (transport.rank > 0) nap(HEAD_START_SECONDS); /* where all end so, the first says it */
    fprintf(stderr, "masktune: rank %d of %d has ended with status %d: the run ends\n", transport.rank, transport.size,
            status);
    end_all(status);
  } else if (leave()) {
    MPI_Finalize();
  } else {
    fprintf(stderr, "masktune: rank %d of %d has waited %d seconds for the others to end: the run ends\n",
            transport.rank, transport.size, LEAVING_SECONDS);
    end_all(1);
  }
}

/* ---- the beginning ---- */

/* How many ranks the launcher has started, by what it tells its children; 0 where it says nothing. */
static int launched(void) {
  static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    const char *text = getenv(names[i]);
    if (text) return atoi(text);
  }
  return 0;
}

static const char *library_name(void) {
  static char name[64];
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length;
  MPI_Get_library_version(text, &length);
  text[strcspn(text, "\n,")] = 0;
  for (char *tab = strchr(text, '\t'); tab; tab = strchr(tab, '\t')) *tab = ' ';
  snprintf(name, sizeof name, "%.63s", text);
  return name;
}

static int describe_world(char *problem) {
  const int wanted = launched();
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  MPI_Comm_rank(MPI_COMM_WORLD, &transport.rank);
  MPI_Comm_size(MPI_COMM_WORLD, &transport.size);
  transport.library = library_name();
  if (wanted > 1 && transport.size == 1) {
    snprintf(problem, MT_MPI_PROBLEM,
             "the launcher has started %d ranks, but %s sees one: masktune/mpi.so was built with another MPI than the "
             "launcher's",
             wanted, transport.library);
    return -1;
  }
  if (transport.size <= MT_MOST_RANKS) return 0;
  snprintf(problem, MT_MPI_PROBLEM, "%d ranks, expected at most %d", transport.size, MT_MOST_RANKS);
  return -1;
}

const mt_transport *mt_mpi_start(char *problem) {
  static int started = 0;
  int provided = 0;
  if (started) return &transport;
  if (MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &provided) != MPI_SUCCESS) {
    snprintf(problem, MT_MPI_PROBLEM, "MPI cannot be started");
    return NULL;
  }
  started = 1;
  on_exit(at_exit, NULL);
  if (describe_world(problem) < 0) return NULL;
  if (provided >= MPI_THREAD_SERIALIZED) return &transport;
  snprintf(problem, MT_MPI_PROBLEM, "%s gives no support for threads (MPI_THREAD_SERIALIZED expected)",
           transport.library);
  return NULL;
}
