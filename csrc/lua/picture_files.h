/* Lists of paths as arguments, and of messages about files as results. */
#ifndef MT_LUA_PICTURE_FILES_H
#define MT_LUA_PICTURE_FILES_H

#include "image/files.h"
#include "lua/binding.h"

/* The strings of the list at arg, in a userdata that is left on the stack; they live as long as the list does. */
const char **mtl_push_paths(lua_State *L, int arg, int64_t *count);

/* Option `fit`: "stretch" or "crop". */
mt_image_fit mtl_option_fit(lua_State *L, int arg);

/* Messages that a core call allocates; a userdata that frees them. */
typedef struct {
  int64_t count;
  char **texts; /* NULL for none */
} mtl_texts;

mtl_texts *mtl_push_texts(lua_State *L, int64_t count);
void mtl_clear_texts(mtl_texts *list);

/* Pushes position -> text, of those that are not NULL. */
void mtl_push_text_table(lua_State *L, const char *const *texts, int64_t count);

#endif
