-- A web server on 127.0.0.1 that behaves well or badly by the first part of the path:
--   /good/NAME the file; /moved/NAME a redirect to it; /wrong/NAME other gzipped bytes; /half/NAME half the file, said
--   to be all of it; /broken/NAME half of what Content-Length says; /slow/NAME no answer; anything else 404.
-- It runs in python3 and ends by itself after two minutes, should nobody stop it.
local loopback = {}

local program = [[
import gzip, http.server, os, sys, threading, time
folder, port_file = sys.argv[1:]

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        _, behaviour, name = self.path.split("/", 2)
        path = os.path.join(folder, name)
        if behaviour == "slow":
            time.sleep(30)
        if behaviour == "moved":
            self.send_response(302)
            self.send_header("Location", "/good/" + name)
            self.end_headers()
            return
        if behaviour not in ("good", "wrong", "half", "broken") or not os.path.exists(path):
            self.send_error(404)
            return
        body = open(path, "rb").read() if behaviour != "wrong" else gzip.compress(b"something else")
        half = body[:len(body) // 2]
        sent = body if behaviour in ("good", "wrong") else half
        self.send_response(200)
        self.send_header("Content-Length", str(len(sent if behaviour == "half" else body)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *arguments):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
with open(port_file + ".new", "w") as file:
    file.write(str(server.server_port))
os.rename(port_file + ".new", port_file)
threading.Timer(120, lambda: os._exit(0)).start()
server.serve_forever()
]]

local function succeeds(command) return os.execute("{ " .. command .. "; } >/dev/null 2>&1") == true end

--- Why there can be no such test here; nil when there can.
function loopback.missing()
  if not succeeds "python3 -c 'import http.server'" then return "python3 is not installed" end
  if not succeeds "command -v curl || command -v wget" then return "neither curl nor wget is installed" end
  if (os.getenv "http_proxy" or "") ~= "" and not (os.getenv "no_proxy" or ""):find("127.0.0.1", 1, true) then
    return "http_proxy is set, and no_proxy does not name 127.0.0.1"
  end
end

local function wait_for(path)
  for _ = 1, 100 do
    local file = io.open(path)
    if file then
      local text = file:read("a")
      file:close()
      return text
    end
    os.execute "sleep 0.1"
  end
  error("the loopback server did not start")
end

--- Serves `folder` (a path without quotes) and gives {url = "http://127.0.0.1:PORT/", stop = function}.
function loopback.start(folder)
  local script, port_file = os.tmpname(), os.tmpname()
  os.remove(port_file)
  local file <close> = assert(io.open(script, "w"))
  file:write(program)
  file:flush()
  local pipe = io.popen(("python3 %s %s %s >/dev/null 2>&1 & echo $!"):format(script, folder, port_file))
  local process = pipe:read("n")
  pipe:close()
  local port = wait_for(port_file)
  return {
    url = "http://127.0.0.1:" .. port .. "/",
    stop = function()
      os.execute("kill " .. process)
      os.remove(script)
      os.remove(port_file)
    end,
  }
end

return loopback
