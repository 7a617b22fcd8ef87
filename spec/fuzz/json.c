/* The JSON reader, asked for whatever comes next; and asked for the wrong things. */
#include "io/json.h"
#include "support.h"

static int walk(mt_json *json, mt_bytes *text, unsigned wrong);

static int walk_members(mt_json *json, mt_bytes *text, unsigned wrong) {
  int more = mt_json_enter_object(json);
  while (more == 0 && (more = mt_json_next_key(json, text)) == 1) more = walk(json, text, wrong);
  return more;
}

static int walk_elements(mt_json *json, mt_bytes *text, unsigned wrong) {
  int more = mt_json_enter_array(json);
  while (more == 0 && (more = mt_json_next_element(json)) == 1) more = walk(json, text, wrong);
  return more;
}

static char next_character(const mt_json *json) {
  const char *at = json->at;
  while (at < json->end && (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n')) at++;
  return at < json->end ? *at : '\0';
}

static int walk(mt_json *json, mt_bytes *text, unsigned wrong) {
  int64_t number;
  const char next =
      wrong && (unsigned)(json->at - json->start) % 7 == wrong ? "{[\"1t"[wrong % 5] : next_character(json);
  if (next == '{') return walk_members(json, text, wrong);
  if (next == '[') return walk_elements(json, text, wrong);
  if (next == '"') return mt_json_string(json, text);
  if (next >= '0' && next <= '9') return mt_json_unsigned(json, &number);
  return mt_json_skip(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  mt_bytes text = {0};
  fuzz_limit_allocations(10 * size + (1 << 16));
  for (unsigned wrong = 0; wrong < 3; wrong++) {
    mt_json json = mt_json_reader((const char *)data, size, "input");
    if (walk(&json, &text, wrong) == 0) mt_json_end(&json);
  }
  mt_json json = mt_json_reader((const char *)data, size, "input");
  if (mt_json_skip(&json) == 0) mt_json_end(&json);
  mt_bytes_free(&text);
  return 0;
}
