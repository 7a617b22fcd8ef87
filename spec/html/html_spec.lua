local chart = require "masktune.html.chart"
local html = require "masktune.html"
local base64 = require "masktune.base64"
local mt = require "masktune"
local process = require "support.process"

local browser = process.run "command -v chromium" and "chromium" or process.run "command -v chromium-browser"
  and "chromium-browser"

--- The document after its scripts and `more` have run in a browser, and what the console said.
local function opened(folder, text, more)
  local path, log = folder .. "/page.html", folder .. "/log"
  mt.write_file(path, (text:gsub("</body>", function() return ("<script>%s</script></body>"):format(more) end)))
  local _, output = process.run(("HOME=%s timeout 60 %s --headless --no-sandbox --disable-gpu --enable-logging=stderr "
    .. "--user-data-dir=%s/profile --virtual-time-budget=5000 --dump-dom file://%s 2> %s"):format(folder, browser,
      folder, path, log))
  local console = {}
  for line in mt.read_file(log):gmatch "[^\n]+" do
    if line:find("CONSOLE", 1, true) then console[#console + 1] = line end
  end
  return output, console
end

local function picture(value)
  return html.source(mt.full({ 8, 8, 3 }, value, "uint8"))
end

local function gallery(count)
  local items, source = {}, picture(100)
  for i = 1, count do
    items[i] = {
      source = source, alt = "picture " .. i, caption = ("number %d"):format(i),
      values = { score = i * 7919 % count, class = i % 2 == 0 and "even" or "odd" },
    }
  end
  return html.gallery(items, { { name = "score", title = "score" }, { name = "class", title = "class" } }, "pictures")
end

local function page(body)
  return html.page { title = "A <page>", summary = "What it is & more.", sections = {
    { id = "all", title = "All of it", body = body }, { id = "none", title = "Nothing", body = "" },
  } }
end

describe("base64", function()
  it("is what the base64 program writes", function()
    process.with_folder(function(folder)
      for _, bytes in ipairs { "", "a", "ab", "abc", ("x"):rep(3071), ("\0\255z"):rep(5000) .. "q" } do
        mt.write_file(folder .. "/bytes", bytes)
        local _, text = process.run(("base64 -w0 %s/bytes"):format(folder))
        assert.equal(text, base64.encode(bytes))
      end
    end)
  end)
end)

describe("mt.html", function()
  it("says nothing of what is not there, and keeps what is from being taken for HTML", function()
    local text = page(html.paragraph "a < b & 'c' \xff")
    assert.truthy(text:find("<title>A &lt;page&gt;</title>", 1, true))
    assert.truthy(text:find("<p>a &lt; b &amp; &#39;c&#39; ?</p>", 1, true))
    assert.falsy(text:find('href="#none"', 1, true))
  end)

  it("needs nothing from elsewhere", function()
    local line = { name = "a", x = { 1, 2 }, y = { 3, 4 }, low = { 2, 3 }, high = { 4, 5 } }
    local drawing = mt.plot.lines { title = "t", x = { label = "x" }, y = { label = "y" }, series = { line } }
    local text = page(html.image(mt.rand(4, 4, 3), "noise") .. chart.of(drawing, "a chart"))
    for reference in text:gmatch '[sh]r[ce]f?="([^"]*)"' do
      assert.truthy(reference:find "^data:" or reference:find "^#", reference:sub(1, 60))
    end
    assert.falsy(text:gsub('xmlns="[^"]*"', ""):find "https?://")
    assert.falsy(text:find "url%([^#]")
  end)

  it("draws charts in the colours of the page", function()
    local history = { { epoch = 1, train_loss = 2, val_loss = 3 }, { epoch = 2, train_loss = 1, val_loss = 2 } }
    local text = chart.history(history)
    for _, part in ipairs { 'role="img" aria-label="Loss while training, by epoch', 'stroke="var(--s1)"',
      'stroke="var(--s2)"', 'fill="var(--ink)"', 'fill="var(--paper)"', ">validation</text>" } do
      assert.truthy(text:find(part, 1, true), part)
    end
    assert.falsy(text:find "#%x%x%x%x%x%x")
    assert.equal("", chart.history {})
  end)

  it("has tables and galleries that sort and filter in a browser, without a word on the console", function()
    if not browser then
      pending "no chromium (Debian's)"
      return
    end
    process.with_folder(function(folder)
      local text = page(html.table({ "name", "value" }, { { "b", 9.5 }, { "a", 10 }, { "c", "1,000" } }, "numbers")
        .. html.confusion({ { 3, 1 }, { 0, 4 } }, { "cat", "dog" }, "answers") .. gallery(2000))
      local dom, console = opened(folder, text, [[
        const said = [], column = n => [...document.querySelector("table").tBodies[0].rows]
          .map(row => row.cells[n].textContent).join(" ");
        const heads = document.querySelectorAll("table thead button");
        heads[1].click(); said.push(column(1));
        heads[1].click(); said.push(column(1));
        heads[0].click(); said.push(column(0));
        const began = performance.now(), sort = document.querySelector("[data-sort]");
        const tiles = () => [...document.querySelectorAll(".tiles figure")];
        sort.value = "score:-1"; sort.dispatchEvent(new Event("change"));
        said.push(tiles().slice(0, 3).map(f => f.dataset.score).join(" "));
        sort.value = "score:1"; sort.dispatchEvent(new Event("change"));
        said.push(tiles().slice(0, 3).map(f => f.dataset.score).join(" "));
        const filter = document.querySelector("[data-filter]");
        filter.value = "even"; filter.dispatchEvent(new Event("change"));
        said.push(tiles().filter(f => !f.hidden).length + " " + document.querySelector(".count").textContent);
        tiles().find(f => !f.hidden).dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
        said.push(document.getElementById("large").open + " " + document.querySelector("#large p").textContent);
        document.getElementById("theme").click();
        said.push(document.documentElement.className);
        said.push(document.body.scrollWidth <= innerWidth);
        said.push(performance.now() - began < 3000);
        const end = document.createElement("output"); end.id = "said"; end.textContent = said.join("|");
        document.body.append(end);]])
      assert.same({}, console)
      assert.equal("9.5 10 1,000|1,000 10 9.5|a b c|1999 1998 1997|0 1 2|1000 1000 pictures|true number 2000|"
        .. "dark|true|true", (dom:match '<output id="said">(.-)</output>'))
    end)
  end)
end)
