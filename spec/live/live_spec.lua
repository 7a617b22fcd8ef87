-- The page that a browser sees while work goes on.
local core = require "masktune.core"
local html = require "masktune.html"
local mt = require "masktune"
local process = require "support.process"
local refresh = require "masktune.html.refresh"
local stickers = require "support.stickers"
local watch = require "masktune.watch"

local q = process.quoted

--- A server of the core with a page, closed afterwards.
local function with_server(host, f, page)
  local server <close> = core.live.serve(host, 0)
  if page then server:publish(page) end
  f(server, ("http://%s/"):format(server:address()))
end

--- What curl gets: the status, the body, the fields of the answer.
local function get(url, more)
  local _, text = process.run(("curl -sS -i --noproxy '*' --max-time 20 %s %s"):format(more or "", q(url)))
  local head, body = text:match "^(.-)\r\n\r\n(.*)$"
  return tonumber((head or ""):match "^HTTP/1.1 (%d+)"), body, head or text
end

--- What comes back for some bytes, sent as they are; `python`: more of the client's script, behind `s` = the socket.
local function client(server, python)
  local host, port = server:address():match "^(.*):(%d+)$"
  local _, text = process.run(("timeout 60 python3 -c %s"):format(q(([[
import socket, sys, time
def connect():
    s = socket.create_connection((%q, %s)); s.settimeout(30); return s
def answer(s):
    data = b""
    while True:
        try: more = s.recv(65536)
        except ConnectionResetError: more = b""
        if not more: return data
        data += more
def status(bytes):
    s = connect(); s.sendall(bytes); return answer(s).split(b"\r\n")[0].decode()
%s]]):format(host:gsub("[%[%]]", ""), port, python))))
  return text
end

local has_curl, has_python = process.has "curl", process.has "python3"
local browser = process.has "chromium" and "chromium" or process.has "chromium-browser" and "chromium-browser"

describe("the server of a page", function()
  it("gives the last page, whole, to GET and HEAD", function()
    if not has_curl then return pending "no curl" end
    with_server("127.0.0.1", function(server, url)
      assert.equal(503, (get(url)))
      server:publish "first"
      server:publish("<p>second \xc3\xa9</p>" .. ("x"):rep(3000000))
      local status, body, head = get(url)
      assert.equal(200, status)
      assert.equal("<p>second \xc3\xa9</p>" .. ("x"):rep(3000000), body)
      assert.truthy(head:find("Content-Type: text/html; charset=utf-8", 1, true))
      status, body, head = get(url .. "?again", "--head")
      assert.equal(200, status)
      assert.equal("", body)
      assert.truthy(head:find("Content-Length: 3000016", 1, true), head)
    end)
  end)

  it("gives nothing else, takes nothing, and answers only to names of this machine", function()
    if not has_curl then return pending "no curl" end
    with_server("127.0.0.1", function(server, url)
      local port = server:address():match "%d+$"
      assert.equal(404, (get(url .. "run.json")))
      assert.equal(404, (get(url .. "../../etc/passwd", "--path-as-is")))
      local status, _, head = get(url, "-d x=y")
      assert.equal(405, status)
      assert.truthy(head:find("Allow: GET, HEAD", 1, true))
      assert.equal(405, (get(url, "-X DELETE")))
      assert.equal(421, (get(url, "-H 'Host: evil.example'")))
      assert.equal(200, (get(url, "-H 'Host: localhost:" .. port .. "'")))
      assert.equal(431, (get(url, "-H 'X: " .. ("x"):rep(20000) .. "'")))
      assert.equal(200, (get(url)))
    end, "page")
  end)

  it("refuses garbage, at once", function()
    if not has_python then return pending "no python3" end
    with_server("127.0.0.1", function(server)
      assert.equal(("HTTP/1.1 400 Bad Request\n"):rep(9) .. "HTTP/1.1 200 OK\nHTTP/1.1 421 Misdirected Request\n",
        client(server, [[
for bytes in (b"\x16\x03\x01\x02\x00", b"get / HTTP/1.1\r\n\r\n", b"\r\n", b"\0", b"GET / HTTP/2\r\n\r\n",
              b"GET /\r\n\r\n", b"GET x HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"A" * 100,
              b"GET / HTTP/1.1\nHOST: 127.0.0.1\n\n", b"GET / HTTP/1.1\r\n\r\n"):
    print(status(bytes))]]))
    end, "page")
  end)

  it("does not mind clients that hang, disconnect, or read slowly", function()
    if not has_python then return pending "no python3" end
    with_server("127.0.0.1", function(server)
      local text = client(server, [[
request = b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n"
silent = [connect() for _ in range(50)]
for s in silent[:5]: s.send(b"GET / HT")
for _ in range(20): connect().close()
for _ in range(5):
    s = connect(); s.sendall(request); s.recv(10); s.close()
slow = connect(); slow.sendall(request); slow.recv(10)
began = time.time()
print(status(request), time.time() - began < 5)
time.sleep(11)
print(status(request))]])
      assert.equal("HTTP/1.1 200 OK True\nHTTP/1.1 200 OK\n", text)
    end, ("x"):rep(8000000))
  end)

  it("is found by IPv6, and by one process at a time", function()
    if not has_curl then return pending "no curl" end
    local served = pcall(with_server, "::1", function(server, url)
      assert.equal(200, (get(url, "-g")))
      local port = math.tointeger(tonumber(server:address():match "%d+$"))
      assert.equal(("[::1]:%d"):format(port), server:address())
      assert.error_matches(function() mt.live("[::1]:" .. port) end,
        "serve: cannot listen at ::1, port %d+: Address already in use")
      server:close()
      assert.error_matches(function() server:address() end, "it is closed")
      mt.live("[::1]:" .. port):close()
    end, "page")
    if not served then pending "no IPv6 here" end
  end)

  it("says which addresses it understands", function()
    for text, expected in pairs {
      ["8080"] = "127.0.0.1 8080", [":80"] = "127.0.0.1 80", ["localhost:1"] = "127.0.0.1 1", ["[::1]:0"] = "::1 0",
      ["0.0.0.0:65535"] = "0.0.0.0 65535",
    } do
      assert.equal(expected, table.concat({ mt.live.address(text) }, " "))
    end
    for _, text in ipairs { "", "x", "127.0.0.1", "1.2.3.4:65536", "::1:80", "[::1]", "a:b", "127.0.0.1:80/" } do
      assert.is_nil((mt.live.address(text)), text)
      assert.error_matches(function() mt.live(text) end, "mt.live: argument 'address': ADDRESS:PORT", 1, true)
    end
    assert.error_matches(function() mt.live "somewhere:80" end, "host is 'somewhere', expected an address", 1, true)
    assert.error_matches(function() mt.live "192.0.2.1:0" end, "cannot listen at 192.0.2.1, port 0: ", 1, true)
  end)
end)

describe("the live page", function()
  it("shows work, trainings and notes as they are told", function()
    if not has_curl then return pending "no curl" end
    local page <close> = mt.live("0", "A <title>")
    local _, text = get(page.url)
    assert.truthy(text:find("<title>A &lt;title&gt;</title>", 1, true))
    local bar = mt.progress { total = 10, label = "epoch 1/2", unit = "images", stream = io.tmpfile() }
    bar:update(5, { loss = 0.25 })
    watch.tell("epoch", { label = "ERM", epochs = 3, history = { { epoch = 1, train_loss = 0.5, seconds = 61 } } })
    watch.tell("note", "a < b")
    _, text = get(page.url)
    assert.truthy(text:find('<progress max="10" value="5"', 1, true))
    assert.truthy(text:find("5/10, loss 0.2500", 1, true))
    assert.truthy(text:find("<h3>ERM: 1 of at most 3 epochs, at most 2:02 left</h3>", 1, true))
    assert.truthy(text:find("Loss while training", 1, true))
    assert.falsy(text:find("Accuracy while training", 1, true))
    assert.truthy(text:find("<li>a &lt; b</li>", 1, true))
    page:close()
    watch.tell("note", "nobody hears")
    assert.is_nil((get(page.url)))
  end)

  it("goes on where a page cannot be made, and says so", function()
    local said = {}
    local before = mt.notice.to(function(line) said[#said + 1] = line end)
    do
      local page <close> = mt.live "0"
      watch.tell("epoch", { label = "x", epochs = 2, history = { { epoch = 1, train_loss = 0 } } })
      assert.is_string(page.url)
    end
    mt.notice.to(before)
    assert.equal(1, #said)
    assert.truthy(said[1]:find "^the live page could not be made: ", said[1])
  end)

  it("renews itself in a browser, without a word on the console", function()
    if not browser then return pending "no chromium (Debian's)" end
    process.with_folder(function(folder)
      with_server("127.0.0.1", function(server, url)
        local count = 0
        local function publish()
          count = count + 1
          server:publish(html.page {
            title = "t", summary = "", sections = { { id = "n", title = "n", body = "<i>" .. count .. "</i>" } },
            script = refresh .. "document.body.dataset.first = document.querySelector('i').textContent;",
          })
        end
        publish()
        os.execute(("{ HOME=%s timeout 60 %s --headless --no-sandbox --disable-gpu --enable-logging=stderr "
          .. "--user-data-dir=%s/profile --virtual-time-budget=9000 --dump-dom %s >%s/dom 2>%s/log; touch %s/done; } &")
          :format(folder, browser, folder, url, folder, folder, folder))
        local ends = mt.clock() + 60
        while not mt.file_exists(folder .. "/done") and mt.clock() < ends do
          publish()
          os.execute "sleep 0.02"
        end
        local dom, log = mt.read_file(folder .. "/dom"), mt.read_file(folder .. "/log")
        local first, last = tonumber(dom:match 'data%-first="(%d+)"'), tonumber(dom:match "<i>(%d+)</i>")
        assert.is_true(first < last, ("%s %s"):format(first, last))
        assert.falsy(log:find("CONSOLE", 1, true), log)
      end)
    end)
  end)
end)

describe("--serve", function()
  local command = ("exec env LC_ALL=C %s lua/masktune/command/masktune train --net small_cnn --size 28 --batch 16 "
    .. "--lr 0.05 --threads 1 --data "):format(q(process.lua))

  local function with_images(f)
    process.with_folder(function(folder)
      stickers.write(stickers.data { count = 60, seed = 1, size = 28, place = "corner" }, folder .. "/images")
      f(folder, command .. folder .. "/images --out " .. folder)
    end)
  end

  it("changes no bit of what is trained", function()
    with_images(function(folder, train)
      for _, more in ipairs { "/plain --epochs 3", "/live --epochs 3 --serve 0" } do
        local ok, output = process.run("(" .. train .. more .. ")")
        assert.is_true(ok, output)
      end
      assert.equal(mt.md5(mt.read_file(folder .. "/plain/initial.safetensors")),
        mt.md5(mt.read_file(folder .. "/live/initial.safetensors")))
    end)
  end)

  it("shows a training that goes on, and ends with it", function()
    if not has_curl then return pending "no curl" end
    with_images(function(folder, train)
      local pipe = io.popen(("(%s/out --epochs 100000 --serve 127.0.0.1:0) >%s/err 2>&1 & echo $!"):format(train,
        folder))
      local pid = pipe:read "n"
      pipe:close()
      local url, text
      for _ = 1, 300 do
        os.execute "sleep 0.1"
        url = mt.read_file(folder .. "/err"):match "Live page: (%S+)"
        text = url and select(2, get(url)) or ""
        if text:find("epochs, at most", 1, true) then break end
      end
      os.execute("kill " .. pid)
      assert.truthy(text:find("epochs, at most", 1, true), mt.read_file(folder .. "/err"))
      assert.truthy(text:find("<title>masktune train --net small_cnn", 1, true))
      for _ = 1, 100 do
        if get(url) == nil then break end
        os.execute "sleep 0.1"
      end
      assert.is_nil((get(url)))
    end)
  end)

  it("fails at the start where it cannot be", function()
    with_images(function(_, train)
      with_server("127.0.0.1", function(server)
        local ok, output = process.run(("(%s/out --serve %s)"):format(train, server:address()))
        assert.is_false(ok)
        assert.truthy(output:find("^masktune train: %-%-serve: cannot listen at 127.0.0.1, port %d+: Address already "
          .. "in use\n$"), output)
        ok, output = process.run(("(%s/out --serve nonsense)"):format(train))
        assert.is_false(ok)
        assert.equal("masktune train: --serve: ADDRESS:PORT such as 127.0.0.1:8080 or [::1]:8080 expected, got "
          .. "'nonsense'\n", output)
      end)
    end)
  end)
end)
