#!/bin/sh
# spec/fuzz/run.sh TARGETS SECONDS RUNS TARGET...: feeds each reader damaged files, for SECONDS or until RUNS (-1: no limit).
# TARGETS is the folder of the built fuzz targets; seeds, and what libFuzzer learns, go below it. Ends at the first
# crash, leak, hang over a second, or allocation beyond the limit, with the file in TARGETS/found.
set -eu
targets=$1 seconds=$2 runs=$3
shift 3
mkdir -p "$targets/found"
# a file a millisecond is too slow: in memory where that can be
memory=/dev/shm
[ -w "$memory" ] || memory=$targets
scratch=$(mktemp -d "$memory/fuzz.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
"${LUA:-lua5.4}" spec/fuzz/seeds.lua "$targets/seeds"
for target in "$@"; do
  case $target in
    idx | cifar10 | svhn | tar)
      echo "$target: mutations in Lua, under the sanitizers"
      limit=$runs
      [ "$runs" != -1 ] || limit=
      # shellcheck disable=SC2086 # no word where there is no limit
      FUZZ_FOLDER=$scratch FUZZ_FOUND=$targets/found .ci/asan "$PWD/${SAN_BUILD:-.build-asan}" lua5.4 spec/fuzz/readers.lua "$target" "$seconds" $limit
      ;;
    *)
      mkdir -p "$targets/corpus/$target"
      log=$targets/$target.log
      "$targets/$target" -max_total_time="$seconds" -runs="$runs" -max_len=8192 -timeout="${FUZZ_TIMEOUT:-1}" -malloc_limit_mb=64 \
        -rss_limit_mb=1024 -print_final_stats=1 -verbosity=0 -artifact_prefix="$targets/found/$target-" \
        "$targets/corpus/$target" "$targets/seeds/$target" >"$log" 2>&1 || { cat "$log"; exit 1; }
      echo "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") files, $(sed -n 's/^stat::peak_rss_mb: *//p' "$log") MiB at most"
      ;;
  esac
done
