--- Whatever allocation fails, in whatever is going on: an error that says so, nothing kept, and the next call works.
local process = require "support.process"

local compiler = os.getenv("CC") or "cc"
local every = os.getenv "EVERY_ALLOCATION" -- as `make asan` wants it; elsewhere some of each subject will do

describe("an allocation that fails", function()
  local function check(kind, most)
    process.with_folder(function(folder)
      local library = folder .. "/failing.so"
      local built = process.run(("%s -std=gnu11 -O1 -g -fno-omit-frame-pointer -shared -fPIC %s -o %s %s"):format(
        compiler,
        "$(pkg-config --cflags lua5.4 2>/dev/null || pkg-config --cflags lua-5.4)",
        process.quoted(library),
        "spec/support/failing.c"
      ))
      if not built then
        pending "a library that makes allocations fail cannot be built here"
        return
      end
      -- Under the sanitizers, PRELOAD is what comes before them, and the dynamic linker's own blocks look like leaks.
      local suppressions = assert(io.open(folder .. "/linker", "w"))
      suppressions:write("leak:_dl_map_object_deps\nleak:dl_open_worker_begin\n")
      suppressions:close()
      local template = "PRELOAD=%s LD_PRELOAD=%s LUA_CPATH=%s ASAN_OPTIONS=verify_asan_link_order=0 LSAN_OPTIONS=%s"
      local environment = template:format(
        process.quoted(library),
        process.quoted(library),
        process.quoted(folder .. "/?.so;" .. package.cpath),
        process.quoted("suppressions=" .. folder .. "/linker:print_suppressions=0")
      )
      local ok, output = process.run(("%s %s spec/support/failing_allocations.lua %s %s %d"):format(
        environment,
        process.lua,
        kind,
        process.quoted(folder),
        most
      ))
      assert.is_true(ok, output)
      assert.matches("%d failures\n$", output)
    end)
  end

  it("of our own or of a library we use", function() check("native", every and 1000000 or 60) end)

  it("of the interpreter's own", function() check("lua", every and 100 or 20) end)
end)
