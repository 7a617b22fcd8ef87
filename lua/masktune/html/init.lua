--- Pages of HTML that need nothing but themselves: style, script, pictures and charts are inside, so that a page can be
-- mailed, and opened without a network. Light and dark, narrow screens, print, keyboard.
-- @module masktune.html
local markup = require "masktune.markup"
local script = require "masktune.html.script"
local style = require "masktune.html.style"

local html = {}

local escape = markup.escape

--- Text as it stands in HTML: masktune.markup.escape.
-- @function html.escape
html.escape = escape

--- A picture as the source of an image: masktune.markup.source.
-- @function html.source
html.source = markup.source

--- A picture.
-- @tparam Tensor image as of html.source
-- @string alt what it shows, for those who do not see it
-- @tparam[opt] table options `lossless` (false), `width` in pixels of the page
-- @treturn string
function html.image(image, alt, options)
  local o = options or {}
  return ('<img src="%s" alt="%s" loading="lazy" decoding="async"%s>'):format(html.source(image, o.lossless),
    escape(alt), o.width and (' width="%d"'):format(o.width) or "")
end

--- A paragraph.
-- @string text plain text
-- @string[opt] class
-- @treturn string
function html.paragraph(text, class)
  return ("<p%s>%s</p>"):format(class and (' class="%s"'):format(class) or "", escape(text))
end

--- A list of paragraphs with a mark before each; "" for none.
-- @tparam {string,...} lines plain text
-- @treturn string
function html.list(lines)
  if #lines == 0 then return "" end
  local items = {}
  for i, line in ipairs(lines) do
    items[i] = ("<li>%s</li>"):format(escape(line))
  end
  return "<ul>" .. table.concat(items) .. "</ul>"
end

--- Whether a cell holds a number, perhaps with a deviation or a per cent sign.
local function is_numeric(cell)
  return tostring(cell):find "^%s*[+-]?%d[%d.,]*%s*%%?$" ~= nil or tostring(cell):find "^%s*[%d.]+ %+%- [%d.]+$" ~= nil
end

--- A table whose columns sort when their heads are pressed.
-- @tparam {string,...} header
-- @tparam {{...},...} rows of text and numbers; plain, but for cells {html = ...}
-- @string caption what the table shows
-- @treturn string
function html.table(header, rows, caption)
  local parts = { ('<div class="scroll"><table class="sortable"><caption>%s</caption><thead><tr>'):format(
    escape(caption)) }
  for _, title in ipairs(header) do
    parts[#parts + 1] = ('<th scope="col"><button type="button">%s</button></th>'):format(escape(title))
  end
  parts[#parts + 1] = "</tr></thead><tbody>"
  for _, row in ipairs(rows) do
    parts[#parts + 1] = "<tr>"
    for i = 1, #header do
      local cell = row[i] == nil and "" or row[i]
      local tag = i == 1 and 'th scope="row"' or "td"
      local content = type(cell) == "table" and cell.html or escape(cell)
      parts[#parts + 1] = ("<%s%s>%s</%s>"):format(tag, is_numeric(cell) and ' class="number"' or "", content,
        tag:match "%a+")
    end
    parts[#parts + 1] = "</tr>"
  end
  parts[#parts + 1] = "</tbody></table></div>"
  return table.concat(parts)
end

--- How often each class was taken for each, darker where it is more of the row.
-- @tparam {{integer,...},...} counts [true class][answer]
-- @tparam {string,...} names of the classes
-- @string caption
-- @treturn string
function html.confusion(counts, names, caption)
  local header, rows = { "true class" }, {}
  for i, name in ipairs(names) do
    header[i + 1] = name
  end
  for i, row in ipairs(counts) do
    local sum = 0
    for _, count in ipairs(row) do
      sum = sum + count
    end
    rows[i] = { names[i] }
    for j, count in ipairs(row) do
      local share = sum > 0 and count / sum or 0
      rows[i][j + 1] = { html = ('<span class="cell %s" style="--share:%.3f">%d</span>'):format(
        i == j and "right" or "wrong", share, count) }
    end
  end
  return html.table(header, rows, caption)
end

--- A gallery whose pictures can be sorted, filtered and enlarged.
-- @tparam {table,...} items `source` (as from html.source), `alt`, `caption`, `values` (name -> number or text)
-- @tparam {table,...} keys what can be sorted by (numbers) or filtered by (texts): {name =, title =}
-- @string title
-- @treturn string
function html.gallery(items, keys, title)
  local parts = { ('<div class="gallery" role="group" aria-label="%s"><div class="controls">'):format(escape(title)) }
  local sorts, filters = { '<option value="">as they come</option>' }, {}
  for _, key in ipairs(keys) do
    local texts, numeric, seen = {}, false, {}
    for _, item in ipairs(items) do
      local value = item.values[key.name]
      numeric = numeric or type(value) == "number"
      if type(value) == "string" and not seen[value] then
        seen[value] = true
        texts[#texts + 1] = value
      end
    end
    if numeric then
      for _, way in ipairs { { -1, "highest" }, { 1, "lowest" } } do
        sorts[#sorts + 1] = ('<option value="%s:%d">%s, %s first</option>'):format(key.name, way[1], escape(key.title),
          way[2])
      end
    elseif #texts > 1 then
      table.sort(texts)
      local options = { '<option value="">all</option>' }
      for _, text in ipairs(texts) do
        options[#options + 1] = ("<option>%s</option>"):format(escape(text))
      end
      filters[#filters + 1] = ('<label>%s <select data-filter="%s">%s</select></label>'):format(escape(key.title),
        key.name, table.concat(options))
    end
  end
  parts[#parts + 1] = ('<label>sort by <select data-sort>%s</select></label>%s<span class="count" aria-live="polite">'
    .. '%d pictures</span></div><div class="tiles">'):format(table.concat(sorts), table.concat(filters), #items)
  for _, item in ipairs(items) do
    local data = {}
    for _, key in ipairs(keys) do
      local value = item.values[key.name]
      if value ~= nil then data[#data + 1] = (' data-%s="%s"'):format(key.name, escape(value)) end
    end
    parts[#parts + 1] = ('<figure tabindex="0"%s><img src="%s" alt="%s" loading="lazy" decoding="async">'
      .. "<figcaption>%s</figcaption></figure>"):format(table.concat(data), item.source, escape(item.alt),
      escape(item.caption))
  end
  parts[#parts + 1] = "</div></div>"
  return table.concat(parts)
end

--- A page.
-- @tparam table page `title`, `summary` (a sentence or two), `sections`: list of {id =, title =, body = HTML}; sections
-- without a body are left out; `script` that the page runs beside its own
-- @treturn string
function html.page(page)
  local links, sections = {}, {}
  for _, section in ipairs(page.sections) do
    if section.body and #section.body > 0 then
      links[#links + 1] = ('<li><a href="#%s">%s</a></li>'):format(section.id, escape(section.title))
      sections[#sections + 1] = ('<section id="%s"><h2>%s</h2>%s</section>'):format(section.id, escape(section.title),
        section.body)
    end
  end
  return table.concat {
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">',
    ("<title>%s</title><style>%s</style></head><body>"):format(escape(page.title), style),
    '<a class="skip" href="#main">to the content</a><header><h1>', escape(page.title), "</h1>",
    html.paragraph(page.summary, "summary"),
    '<button type="button" id="theme" aria-pressed="false">dark</button></header><nav aria-label="sections"><ul>',
    table.concat(links), '</ul></nav><main id="main">', table.concat(sections), "</main>",
    '<dialog id="large" aria-label="enlarged picture"><form method="dialog"><button>close</button></form>',
    '<img alt=""><p></p></dialog><script>', script, page.script or "", "</script></body></html>\n",
  }
end

return html
