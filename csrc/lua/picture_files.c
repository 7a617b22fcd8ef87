/* Pictures from files: of any format, JPEG, and many files at once.
 *
 * What a core call allocates lives in a userdata made before the call, so that an error on the way releases it. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "image/files.h"
#include "image/format.h"
#include "image/jpeg.h"
#include "io/file.h"
#include "lua/picture_files.h"

#define TEXTS "masktune.Texts"

/* ---- one file ---- */

static mt_tensor *read_jpeg_file(const char *path, int channels, const int64_t min_size[2]) {
  mt_bytes bytes = {0};
  mt_tensor *image = NULL;
  if (mt_read_regular_file(path, SIZE_MAX, &bytes) == 0)
    image = mt_jpeg_decode(bytes.data, bytes.size, channels, min_size, path);
  mt_bytes_free(&bytes);
  return image;
}

typedef mt_tensor *file_reader(const char *path, int channels, const int64_t min_size[2]);

static int read_with(lua_State *L, file_reader *read) {
  static const char *const known[] = {"channels", "min_size", NULL};
  int64_t min_size[2];
  const char *path = mtl_check_path(L, 1);
  mtl_check_options(L, 2, known);
  const int channels = (int)mtl_option_integer(L, 2, "channels", 0, 1, 4);
  if (channels == 2) luaL_argerror(L, 2, "option 'channels': 1, 3 or 4 expected, got 2");
  mtl_option_pair(L, 2, "min_size", 0, 1, INT32_MAX, min_size);
  mt_tensor *image;
  MTL_NEW(L, image, read(path, channels, min_size));
  mtl_push_tensor(L, image);
  return 1;
}

/*** Reads a JPEG file. It is upright (EXIF); CMYK becomes RGB. A file that lacks only its end is read.
@function image.read_jpeg
@tparam string path
@tparam[opt] table options `channels` (1, 3 or 4: converted; default: as in the file, 1 or 3), `min_size` (an integer or
{height, width}: decoded at 1/8, 1/4 or 1/2 of its size where that is still not below)
@treturn Tensor uint8 {H,W,C} */
static int read_jpeg(lua_State *L) { return read_with(L, read_jpeg_file); }

/*** Reads an image file of any format in `image.formats()`, told by its contents and not by its name. It is upright
(EXIF). A file that is no regular one (a folder, a FIFO, a device) is refused at once.
@function image.read
@tparam string path
@tparam[opt] table options as for read_jpeg; `min_size` counts for JPEG files
@treturn Tensor uint8 {H,W,C} */
static int read_any(lua_State *L) { return read_with(L, mt_image_read); }

/*** Writes a JPEG file, which replaces an older one as a whole.
@function image.write_jpeg
@tparam string path
@tparam Tensor image {H,W}, {H,W,1} or {H,W,3}, also as a batch of one {1,H,W,C}; uint8, or float32 in [0,1] (clamped,
rounded)
@tparam[opt] table options `quality` (1 to 100; 90) */
static int write_jpeg(lua_State *L) {
  static const char *const known[] = {"quality", NULL};
  const char *path = mtl_check_path(L, 1);
  const mt_tensor *image = mtl_check_tensor(L, 2);
  mtl_check_options(L, 3, known);
  const int quality = (int)mtl_option_integer(L, 3, "quality", 90, 1, 100);
  MTL_DO(L, mt_jpeg_write(path, image, quality));
  return 0;
}

/* ---- formats ---- */

static void push_formats(lua_State *L, bool readable) {
  const mt_format *format;
  lua_newtable(L);
  for (int i = 0; (format = mt_format_at(i)) != NULL; i++) {
    if (!format->is_image || (format->decode != NULL) != readable) continue;
    lua_pushstring(L, format->name);
    lua_seti(L, -2, luaL_len(L, -2) + 1);
  }
}

/*** The formats of image files that this build reads, and those it only knows by name.
@function image.formats
@treturn {string,...} "PNG", "JPEG", "BMP", "PPM" (with PGM and PBM), "WebP" where libwebp was there at build time
@treturn {string,...} "GIF", "TIFF", "AVIF", "HEIC", ... */
static int formats(lua_State *L) {
  push_formats(L, true);
  push_formats(L, false);
  return 2;
}

/* ---- many files ---- */

mt_image_fit mtl_option_fit(lua_State *L, int arg) {
  static const char *const fits[] = {[MT_FIT_STRETCH] = "stretch", [MT_FIT_CROP] = "crop", NULL};
  return (mt_image_fit)mtl_option_choice(L, arg, "fit", MT_FIT_STRETCH, fits);
}

static int collect_texts(lua_State *L) {
  mtl_texts *list = luaL_checkudata(L, 1, TEXTS);
  for (int64_t i = 0; list->texts && i < list->count; i++) free(list->texts[i]);
  mt_free(list->texts);
  *list = (mtl_texts){0};
  return 0;
}

mtl_texts *mtl_push_texts(lua_State *L, int64_t count) {
  mtl_texts *list = lua_newuserdatauv(L, sizeof *list, 0);
  *list = (mtl_texts){.count = count};
  luaL_setmetatable(L, TEXTS);
  MTL_NEW(L, list->texts, mt_alloc((size_t)count * sizeof *list->texts));
  memset(list->texts, 0, (size_t)count * sizeof *list->texts);
  return list;
}

void mtl_clear_texts(mtl_texts *list) {
  for (int64_t i = 0; i < list->count; i++) {
    free(list->texts[i]);
    list->texts[i] = NULL;
  }
}

void mtl_push_text_table(lua_State *L, const char *const *texts, int64_t count) {
  lua_newtable(L);
  for (int64_t i = 0; i < count; i++) {
    if (!texts[i]) continue;
    lua_pushstring(L, texts[i]);
    lua_seti(L, -2, i + 1);
  }
}

/* A first try, cut short by lack of memory, may have left messages. */
static int read_afresh(const char *const *paths, mt_image_fit fit, mt_tensor *images, mtl_texts *messages) {
  mtl_clear_texts(messages);
  return mt_read_images(paths, fit, images, messages->texts);
}

/* The strings stay alive in the table at arg: those of a metatable's making would not. */
static void fill_paths(lua_State *L, int arg, const char **paths, int64_t count) {
  for (int64_t i = 0; i < count; i++) {
    if (lua_rawgeti(L, arg, i + 1) != LUA_TSTRING || strlen(lua_tostring(L, -1)) != lua_rawlen(L, -1))
      luaL_argerror(L, arg, lua_pushfstring(L, "paths[%I]: string without zero bytes expected", (LUAI_UACINT)(i + 1)));
    paths[i] = lua_tostring(L, -1);
    lua_pop(L, 1);
  }
}

const char **mtl_push_paths(lua_State *L, int arg, int64_t *count) {
  luaL_checktype(L, arg, LUA_TTABLE);
  *count = (int64_t)lua_rawlen(L, arg);
  const char **paths = lua_newuserdatauv(L, (size_t)*count * sizeof *paths, 0);
  fill_paths(L, arg, paths, *count);
  return paths;
}

/*** What files are, told by their first bytes and not by their names; threads share the work, and nothing is waited
for.
@function image.probe
@tparam {string,...} paths
@treturn {string,...} for each path: "folder", "FIFO", "socket", "device", "missing", "unreadable", "empty", the name of
a format (see formats; also "HTML", "Git LFS"), or "" for no known one */
static int probe(lua_State *L) {
  int64_t count;
  const char **paths = mtl_push_paths(L, 1, &count);
  const char **kinds = lua_newuserdatauv(L, (size_t)count * sizeof *kinds, 0);
  mt_probe_files(paths, count, kinds);
  lua_createtable(L, (int)(count < INT_MAX ? count : 0), 0);
  for (int64_t i = 0; i < count; i++) {
    lua_pushstring(L, kinds[i]);
    lua_seti(L, -2, i + 1);
  }
  return 1;
}

/*** Reads image files (see read) into images of one size; threads share the work. Where an image has to shrink, pixels
are averaged (Pillow's bilinear).
@function image.read_files
@tparam {string,...} paths
@tparam Tensor images uint8 {N,H,W,C}, filled: one image for each path, with C 1 (gray), 3 (RGB) or 4
@tparam[opt] table options `fit` ("stretch": the whole image; "crop": the largest middle part of H x W's proportions)
@treturn table position -> message, of the files that could not be read; their images are black */
static int read_files(lua_State *L) {
  static const char *const known[] = {"fit", NULL};

  int64_t count;
  luaL_checktype(L, 1, LUA_TTABLE);
  mt_tensor *images = mtl_check_target(L, 2);
  mtl_check_options(L, 3, known);
  const mt_image_fit fit = mtl_option_fit(L, 3);
  const char **paths = mtl_push_paths(L, 1, &count);
  if (images->ndim != 4 || images->shape[0] != count)
    luaL_argerror(L, 2, lua_pushfstring(L, "images {%I,H,W,C} expected, one for each path", (LUAI_UACINT)count));
  mtl_texts *messages = mtl_push_texts(L, count);
  MTL_DO(L, read_afresh(paths, fit, images, messages));
  mtl_push_text_table(L, (const char *const *)messages->texts, count);
  return 1;
}

static const luaL_Reg functions[] = {{"read", read_any},   {"read_jpeg", read_jpeg}, {"write_jpeg", write_jpeg},
                                     {"formats", formats}, {"probe", probe},         {"read_files", read_files},
                                     {NULL, NULL}};

void mtl_open_picture_files(lua_State *L) {
  static const luaL_Reg none[] = {{NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", collect_texts}, {NULL, NULL}};
  mtl_new_class(L, TEXTS, none, meta);
  luaL_getsubtable(L, -1, "image");
  luaL_setfuncs(L, functions, 0);
  lua_pop(L, 1);
}
