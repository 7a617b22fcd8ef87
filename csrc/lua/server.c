/* A page over HTTP (serve/server.h), as masktune.live uses it. */
#include "serve/server.h"

#include "lua/binding.h"

#define SERVER "masktune.Server"

static void release_server(void *server) { mt_server_free(server); }

static mt_server **check_slot(lua_State *L) { return luaL_checkudata(L, 1, SERVER); }

static mt_server *check_server(lua_State *L) {
  mt_server *server = *check_slot(L);
  if (!server) luaL_argerror(L, 1, "it is closed");
  return server;
}

/*** Listens for browsers; a thread answers each with the page that was published last.
@function live.serve
@tparam string host an address of this machine, as numbers
@tparam integer port 0: any free one
@treturn Server closed by `server:close()`, its collection or the end of the process */
static int serve(lua_State *L) {
  const char *host = luaL_checkstring(L, 1);
  const int port = (int)mtl_check_integer(L, 2, 0, 65535);
  mt_server *server;
  MTL_NEW(L, server, mt_server_new(host, port));
  mtl_push_owner(L, server, release_server, SERVER, 0);
  return 1;
}

/*** Sets the page.
@function Server:publish
@tparam string html */
static int publish(lua_State *L) {
  size_t size;
  mt_server *server = check_server(L);
  const char *html = luaL_checklstring(L, 2, &size);
  MTL_DO(L, mt_server_publish(server, html, size));
  return 0;
}

/*** Where it listens.
@function Server:address
@treturn string "127.0.0.1:8080", "[::1]:8080" */
static int address(lua_State *L) {
  lua_pushstring(L, mt_server_address(check_server(L)));
  return 1;
}

/*** Ends it; a second call does nothing.
@function Server:close */
static int close_server(lua_State *L) {
  mt_server **slot = check_slot(L);
  mt_server_free(*slot);
  *slot = NULL;
  return 0;
}

static const luaL_Reg functions[] = {{"serve", serve}, {NULL, NULL}};
static const luaL_Reg methods[] = {
    {"publish", publish},
    {"address", address},
    {"close", close_server},
    {NULL, NULL},
};
static const luaL_Reg metamethods[] = {{"__gc", close_server}, {"__close", close_server}, {NULL, NULL}};

void mtl_open_server(lua_State *L) {
  mtl_new_class(L, SERVER, methods, metamethods);
  lua_newtable(L);
  luaL_setfuncs(L, functions, 0);
  lua_setfield(L, -2, "live");
}
