/* A magic number, the protocol 1001, a dict about the machine, the object, the list of keys; then for each key 8 bytes
 * with the number of items, and the items. */
#include "io/torch_pickles.h"

#include <string.h>

#include "core/error.h"

#define PROTOCOL 1001
static const char magic[10] = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

#define fail_pickles(path, format, ...) mt_fail(MT_ERROR_FORMAT, "load: '%s': " format, path, __VA_ARGS__)

static int check_machine(const char *path, const mt_pickle_value *info) {
  if (info->kind != MT_PICKLE_DICT) return fail_pickles(path, "%s", "torch.save did not write it");
  for (size_t i = 0; i < info->items->count; i += 2) {
    const mt_pickle_value *key = &info->items->values[i];
    if (mt_pickle_is_text(key, "little_endian") && key[1].integer == 0)
      return fail_pickles(path, "%s", "its byte order is big-endian, expected little-endian");
  }
  return 0;
}

static bool is_magic(const mt_pickle_value *value) {
  return value->kind == MT_PICKLE_LONG && value->size == sizeof magic && memcmp(value->text, magic, sizeof magic) == 0;
}

int mt_torch_next_object(mt_pickle *pickle, const char *path, mt_pickle_value *object, mt_pickle_value *keys) {
  mt_pickle_value protocol, info;
  *keys = (mt_pickle_value){.kind = MT_PICKLE_NONE};
  if (mt_pickle_next(pickle, object) < 0) return -1;
  if (!is_magic(object)) return 0;
  if (mt_pickle_next(pickle, &protocol) < 0) return -1;
  if (protocol.kind != MT_PICKLE_INTEGER || protocol.integer != PROTOCOL)
    return fail_pickles(path, "torch.save's protocol is not %d", PROTOCOL);
  if (mt_pickle_next(pickle, &info) < 0 || check_machine(path, &info) < 0) return -1;
  if (mt_pickle_next(pickle, object) < 0 || mt_pickle_next(pickle, keys) < 0) return -1;
  if (keys->kind == MT_PICKLE_LIST) return 0;
  return fail_pickles(path, "the keys of its storages are %s, expected a list", mt_pickle_kind_name(keys->kind));
}

/* ---- a storage by itself ---- */

/* Its items stand at `items` in `rest` bytes: their number and they themselves. */
static int add_storage(mt_torch_objects *o, const mt_torch_storage *inner, const uint8_t *items, size_t rest,
                       mt_pickle_value *result) {
  int64_t count;
  if (rest < sizeof count) return 0;
  memcpy(&count, items, sizeof count);
  if (count != inner->count || (uint64_t)count > (rest - sizeof count) / inner->item) return 0;
  mt_torch_storage *s = mt_torch_add_storage(o);
  if (!s) return -1;
  *s = (mt_torch_storage){.format = inner->format,
                          .type = inner->type,
                          .item = inner->item,
                          .count = count,
                          .first = inner->first,
                          .n_items = inner->n_items,
                          .bytes = items + sizeof count,
                          .offset = -1};
  *result = mt_torch_value(MT_TORCH_STORAGE, o->n_storages - 1);
  return 1;
}

static int read_bytes(mt_torch_objects *o, mt_pickle *pickle, const mt_torch_objects *inner,
                      const mt_pickle_value *bytes, mt_pickle_value *result) {
  mt_pickle_value object, keys;
  if (mt_torch_next_object(pickle, o->path, &object, &keys) < 0) return -1;
  if (!mt_torch_is(&object, MT_TORCH_STORAGE) || keys.kind != MT_PICKLE_LIST || keys.items->count != 1) return 0;
  const mt_torch_storage *s = &inner->storages[object.integer / 4];
  const size_t at = mt_pickle_position(pickle);
  if (!s->format || s->bytes) return 0; /* the name of its type would not outlive the inner pickle */
  return add_storage(o, s, (const uint8_t *)bytes->text + at, bytes->size - at, result);
}

/* What is inside must not have another inside: nothing bounds how deep that would go. Where it is damaged, only the
 * tensors that need it are. */
int mt_torch_storage_of_bytes(mt_torch_objects *o, const mt_pickle_items *args, mt_pickle_value *result) {
  if (o->is_inner || args->count != 1 || args->values[0].kind != MT_PICKLE_STRING) return 0;
  const mt_pickle_value *bytes = &args->values[0];
  mt_torch_objects inner = {.path = o->path, .is_inner = true};
  mt_pickle *pickle = mt_pickle_new(bytes->text, bytes->size, o->path, &mt_torch_hooks, &inner);
  const int status = pickle ? read_bytes(o, pickle, &inner, bytes, result) : -1;
  mt_pickle_free(pickle);
  mt_torch_objects_free(&inner);
  return status < 0 && mt_error_last_kind() != MT_ERROR_MEMORY ? 0 : status;
}
