/* Invariants: images are numbered as they come; `next` is the first that nobody has taken, and all of batches before
 * `handed` have been handed out. Image n is row n % batch of slot n / batch % ahead, and is taken only when that slot's
 * batch is its own: when n / batch < handed + ahead. A row changes in one thread: who took it, until it is done; then,
 * when no row of the slot is left to do, who asks for the batch. The lock guards the numbers and the rows' states, not
 * the pixels. */
#include "data/loader.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/memory.h"
#include "core/threads.h"
#include "kernels/kernels.h"

typedef enum {
  ROW_OPEN,
  ROW_TAKEN,
  ROW_DONE,
  ROW_AGAIN /* memory ran out, or its thread was left behind by a fork: who asks for the batch makes it */
} row_state;

typedef struct {
  mt_tensor *images;
  uint8_t *states;
  char **problems;
  int64_t left; /* rows that are open or taken */
} slot;

/* What a thread works in. */
typedef struct {
  uint8_t *bytes, *view_work;
  float *image;
  char *augment_work;
} workplace;

struct mt_loader {
  mt_view *view;
  int32_t *order;
  int64_t total, batch, batches, ahead;
  mt_augment_plan plan;
  mt_augmentation steps[MT_AUGMENT_MAX_STEPS];
  size_t image_values, result_values;
  size_t workplace_bytes;
  char *workplaces; /* threads + 1; the first is the asker's */
  slot *slots;
  char **problems; /* of the batch that was handed out last */
  double waited;

  pthread_mutex_t lock;
  pthread_cond_t may_take, is_done;
  int64_t next, handed;
  bool stops;
  int threads;
  pthread_t *handles;
  mt_loader *before, *after; /* in the list of all */
};

static struct {
  pthread_mutex_t lock;
  mt_loader *first;
} all = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- one image ---- */

static size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

static workplace workplace_at(const mt_loader *l, int number) {
  char *at = l->workplaces + (size_t)number * l->workplace_bytes;
  workplace w;
  w.bytes = (uint8_t *)at;
  w.view_work = (uint8_t *)(at += aligned(l->image_values));
  w.image = (float *)(void *)(at += aligned(mt_view_work_bytes(l->view)));
  w.augment_work = at + aligned(l->image_values * sizeof(float));
  return w;
}

/* 0, or -1 with the error set; then the image is black. */
static int make_image(const mt_loader *l, int32_t position, const workplace *w, float *to) {
  if (mt_view_image(l->view, position - 1, w->bytes, w->view_work) < 0) {
    memset(to, 0, l->result_values * sizeof *to);
    return -1;
  }
  mt_kernels->bytes_to_unit(l->plan.count ? w->image : to, w->bytes, (int64_t)l->image_values);
  if (l->plan.count) mt_augment_image(&l->plan, w->image, position, w->augment_work, to);
  return 0;
}

/* The state that the row has then. */
static row_state make_row(mt_loader *l, int64_t n, const workplace *w) {
  slot *s = &l->slots[n / l->batch % l->ahead];
  const int64_t row = n % l->batch;
  if (make_image(l, l->order[n], w, mt_f32(s->images) + (size_t)row * l->result_values) == 0) return ROW_DONE;
  if (mt_error_last_kind() == MT_ERROR_MEMORY || !(s->problems[row] = strdup(mt_error_message()))) return ROW_AGAIN;
  return ROW_DONE;
}

/* ---- taking ---- */

/* With the lock: the number of an image to make, below `end`; -1 when there is none now. */
static int64_t take(mt_loader *l, int64_t end) {
  const int64_t room = (l->handed + l->ahead) * l->batch;
  if (l->next >= end || l->next >= room) return -1;
  l->slots[l->next / l->batch % l->ahead].states[l->next % l->batch] = ROW_TAKEN;
  return l->next++;
}

/* Without the lock, which it holds at the end. */
static void make_taken(mt_loader *l, int64_t n, const workplace *w) {
  slot *s = &l->slots[n / l->batch % l->ahead];
  const row_state state = make_row(l, n, w);
  pthread_mutex_lock(&l->lock);
  s->states[n % l->batch] = (uint8_t)state;
  if (--s->left == 0) pthread_cond_signal(&l->is_done);
}

typedef struct {
  mt_loader *loader;
  int number;
} post;

static void *work(void *argument) {
  const post mine = *(post *)argument;
  mt_loader *l = mine.loader;
  const workplace w = workplace_at(l, mine.number);
  free(argument);
  pthread_mutex_lock(&l->lock);
  while (!l->stops && l->next < l->total) {
    const int64_t n = take(l, l->total);
    if (n < 0) {
      pthread_cond_wait(&l->may_take, &l->lock);
      continue;
    }
    pthread_mutex_unlock(&l->lock);
    make_taken(l, n, &w);
  }
  pthread_mutex_unlock(&l->lock);
  return NULL;
}

/* ---- forks ---- */

/* No lock of ours may be held by a thread that the child does not have. */
static void before_fork(void) {
  pthread_mutex_lock(&all.lock);
  for (mt_loader *l = all.first; l; l = l->after) pthread_mutex_lock(&l->lock);
}

static void after_fork_in_parent(void) {
  for (mt_loader *l = all.first; l; l = l->after) pthread_mutex_unlock(&l->lock);
  pthread_mutex_unlock(&all.lock);
}

static void leave_threads_behind(mt_loader *l) {
  pthread_mutex_init(&l->lock, NULL);
  pthread_cond_init(&l->may_take, NULL);
  pthread_cond_init(&l->is_done, NULL);
  l->threads = 0;
  for (int64_t i = 0; i < l->ahead; i++) {
    slot *s = &l->slots[i];
    for (int64_t row = 0; row < l->batch; row++) {
      if (s->states[row] != ROW_TAKEN) continue;
      s->states[row] = ROW_AGAIN;
      s->left--;
    }
  }
}

static void after_fork_in_child(void) {
  pthread_mutex_init(&all.lock, NULL);
  for (mt_loader *l = all.first; l; l = l->after) leave_threads_behind(l);
}

__attribute__((constructor)) static void guard_forks(void) {
  pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

static void enlist(mt_loader *l) {
  pthread_mutex_lock(&all.lock);
  l->after = all.first;
  if (all.first) all.first->before = l;
  all.first = l;
  pthread_mutex_unlock(&all.lock);
}

static void delist(mt_loader *l) {
  pthread_mutex_lock(&all.lock);
  if (l->after) l->after->before = l->before;
  if (l->before)
    l->before->after = l->after;
  else if (all.first == l)
    all.first = l->after;
  pthread_mutex_unlock(&all.lock);
}

/* ---- life ---- */

static int64_t batch_size(const mt_loader *l, int64_t number) {
  const int64_t left = l->total - number * l->batch;
  return left < l->batch ? left : l->batch;
}

/* Opens a slot for a batch. */
static void open_slot(mt_loader *l, slot *s, int64_t number) {
  s->left = number < l->batches ? batch_size(l, number) : 0;
  memset(s->states, ROW_OPEN, (size_t)l->batch);
}

static mt_tensor *new_images(const mt_loader *l) {
  const mt_image_size size = l->plan.result;
  const int64_t shape[4] = {l->batch, size.height, size.width, size.channels};
  return mt_tensor_new(MT_FLOAT32, 4, shape);
}

static char **new_problems(const mt_loader *l) {
  char **problems = mt_alloc((size_t)l->batch * sizeof *problems);
  if (problems) memset(problems, 0, (size_t)l->batch * sizeof *problems);
  return problems;
}

static void free_problems(const mt_loader *l, char **problems) {
  for (int64_t i = 0; problems && i < l->batch; i++) free(problems[i]);
  mt_free(problems);
}

static int make_slots(mt_loader *l) {
  l->slots = calloc((size_t)l->ahead + 1, sizeof *l->slots);
  if (!l->slots) return mt_fail(MT_ERROR_MEMORY, "out of memory: cannot allocate a record of batches");
  for (int64_t i = 0; i < l->ahead; i++) {
    slot *s = &l->slots[i];
    s->images = new_images(l);
    s->states = mt_alloc((size_t)l->batch);
    s->problems = new_problems(l);
    if (!s->images || !s->states || !s->problems) return -1;
    open_slot(l, s, i);
  }
  l->problems = new_problems(l);
  return l->problems ? 0 : -1;
}

static int make_workplaces(mt_loader *l, int threads) {
  l->workplace_bytes = aligned(l->image_values) + aligned(mt_view_work_bytes(l->view)) +
                       (l->plan.count ? aligned(l->image_values * sizeof(float)) + l->plan.work_bytes : 0);
  l->workplaces = mt_alloc((size_t)(threads + 1) * l->workplace_bytes);
  l->handles = mt_alloc((size_t)threads * sizeof *l->handles);
  return l->workplaces && l->handles ? 0 : -1;
}

static int copy_order(mt_loader *l, const mt_tensor *order) {
  if (mt_expect_dtype(order, MT_INT32, "loader", "order") < 0 || mt_expect_ndim(order, 1, "loader", "order", "{n}") < 0)
    return -1;
  const int64_t count = mt_view_shape(l->view)[0];
  for (int64_t i = 0; i < order->count; i++)
    if (mt_i32(order)[i] < 1 || mt_i32(order)[i] > count)
      return mt_fail(MT_ERROR_ARGUMENT, "loader: order[%lld] is %d, expected 1 to %lld", (long long)i + 1,
                     mt_i32(order)[i], (long long)count);
  l->order = mt_alloc((size_t)order->count * sizeof *l->order);
  if (!l->order) return -1;
  memcpy(l->order, order->data, (size_t)order->count * sizeof *l->order);
  return 0;
}

static int set_up(mt_loader *l, const mt_loader_options *o) {
  const int64_t *shape = mt_view_shape(l->view);
  if (copy_order(l, o->order) < 0) return -1;
  memcpy(l->steps, o->steps, (size_t)o->step_count * sizeof *l->steps);
  l->plan = (mt_augment_plan){
      .key = o->key, .steps = l->steps, .count = o->step_count, .size = {shape[1], shape[2], shape[3]}};
  if (mt_augment_prepare(&l->plan) < 0) return -1;
  const mt_image_size result = l->plan.result;
  l->image_values = (size_t)(shape[1] * shape[2] * shape[3]);
  l->result_values = (size_t)(result.height * result.width * result.channels);
  return make_slots(l) < 0 || make_workplaces(l, o->threads) < 0 ? -1 : 0;
}

/* As many as can be had. */
static void start_threads(mt_loader *l, int wanted) {
  for (int i = 0; i < wanted; i++) {
    post *p = malloc(sizeof *p);
    if (!p) return;
    *p = (post){l, i + 1};
    if (!mt_start_thread(&l->handles[i], work, p)) {
      free(p);
      return;
    }
    l->threads++;
  }
}

static mt_loader *new_loader(const mt_loader_options *o) {
  mt_loader *l = calloc(1, sizeof *l);
  if (!l) return mt_fail_null(MT_ERROR_MEMORY, "out of memory: cannot allocate a loader");
  const int64_t images = o->order->count;
  pthread_mutex_init(&l->lock, NULL);
  pthread_cond_init(&l->may_take, NULL);
  pthread_cond_init(&l->is_done, NULL);
  l->view = mt_view_retain(o->view);
  l->batch = o->batch < images ? o->batch : images > 0 ? images : 1;
  l->batches = o->drop_last ? images / o->batch : (images + o->batch - 1) / o->batch;
  l->total = o->drop_last ? l->batches * o->batch : images;
  l->ahead = l->batches < o->ahead ? l->batches : o->ahead;
  return l;
}

mt_loader *mt_loader_new(const mt_loader_options *o) {
  mt_loader *l = new_loader(o);
  if (!l) return NULL;
  if (set_up(l, o) < 0) {
    mt_loader_free(l);
    return NULL;
  }
  enlist(l);
  start_threads(l, o->threads);
  return l;
}

static void stop_threads(mt_loader *l) {
  pthread_mutex_lock(&l->lock);
  l->stops = true;
  pthread_cond_broadcast(&l->may_take);
  pthread_mutex_unlock(&l->lock);
  for (int i = 0; i < l->threads; i++) pthread_join(l->handles[i], NULL);
}

void mt_loader_free(mt_loader *l) {
  if (!l) return;
  stop_threads(l);
  delist(l);
  for (int64_t i = 0; l->slots && i < l->ahead; i++) {
    mt_release(l->slots[i].images);
    mt_free(l->slots[i].states);
    free_problems(l, l->slots[i].problems);
  }
  free(l->slots);
  free_problems(l, l->problems);
  mt_free(l->workplaces);
  mt_free(l->handles);
  mt_free(l->order);
  mt_view_release(l->view);
  pthread_cond_destroy(&l->may_take);
  pthread_cond_destroy(&l->is_done);
  pthread_mutex_destroy(&l->lock);
  free(l);
}

/* ---- asking ---- */

static double seconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Until no row of the slot is open or taken; helps meanwhile. */
static void await_batch(mt_loader *l, slot *s) {
  const workplace w = workplace_at(l, 0);
  const int64_t end = l->handed * l->batch + batch_size(l, l->handed);
  pthread_mutex_lock(&l->lock);
  while (s->left > 0) {
    const int64_t n = take(l, end);
    if (n < 0) {
      pthread_cond_wait(&l->is_done, &l->lock);
      continue;
    }
    pthread_mutex_unlock(&l->lock);
    make_taken(l, n, &w);
  }
  pthread_mutex_unlock(&l->lock);
}

static int make_again(mt_loader *l, slot *s) {
  const workplace w = workplace_at(l, 0);
  for (int64_t row = 0, size = batch_size(l, l->handed); row < size; row++) {
    if (s->states[row] != ROW_AGAIN) continue;
    free(s->problems[row]); /* of a thread that was left behind */
    s->problems[row] = NULL;
    if (make_row(l, l->handed * l->batch + row, &w) == ROW_AGAIN)
      return mt_fail(MT_ERROR_MEMORY, "out of memory: reading %lld images", (long long)size);
    s->states[row] = ROW_DONE;
  }
  return 0;
}

/* The batch out of its slot, which gets other images where another batch follows. */
static int hand_out(mt_loader *l, slot *s, mt_loaded *loaded) {
  const int64_t size = batch_size(l, l->handed), following = l->handed + l->ahead;
  mt_tensor *fresh = NULL, *whole = s->images, *images = whole;
  if (size < l->batch) {
    int64_t shape[4];
    memcpy(shape, whole->shape, sizeof shape);
    shape[0] = size;
    images = mt_tensor_alias(whole, 0, 4, shape);
    if (!images) return -1;
  }
  if (following < l->batches && !(fresh = new_images(l))) {
    if (images != whole) mt_release(images);
    return -1;
  }
  if (images != whole) mt_release(whole);
  s->images = fresh;
  for (int64_t i = 0; i < l->batch; i++) {
    free(l->problems[i]);
    l->problems[i] = NULL;
  }
  char **problems = s->problems;
  s->problems = l->problems;
  l->problems = problems;
  loaded->images = images;
  loaded->count = size;
  loaded->problems = (const char *const *)problems;
  for (int64_t i = 0; i < size; i++) loaded->problem_count += problems[i] != NULL;
  pthread_mutex_lock(&l->lock);
  open_slot(l, s, following);
  l->handed++;
  pthread_cond_broadcast(&l->may_take);
  pthread_mutex_unlock(&l->lock);
  return 0;
}

static int next_batch(mt_loader *l, mt_loaded *loaded) {
  slot *s = &l->slots[l->handed % l->ahead];
  await_batch(l, s);
  return make_again(l, s) < 0 || hand_out(l, s, loaded) < 0 ? -1 : 0;
}

int mt_loader_next(mt_loader *l, mt_loaded *loaded) {
  *loaded = (mt_loaded){0};
  if (l->handed == l->batches) return 0;
  const double started = seconds_now();
  const int status = next_batch(l, loaded);
  l->waited += seconds_now() - started;
  return status;
}

double mt_loader_waited(const mt_loader *l) { return l->waited; }
