local mt = require "masktune"

describe("report.mean_std", function()
  it("gives the mean and the sample standard deviation", function()
    -- numpy: mean([1, 2, 4]) = 2.3333, std(ddof=1) = 1.5275
    assert.equal("2.33 +- 1.53", mt.report.mean_std({ 1, 2, 4 }, { digits = 2 }))
    assert.equal("98.4 +- 0.1", mt.report.mean_std({ 0.983, 0.985, 0.984 }, { scale = 100 }))
  end)

  it("gives a single value without a deviation", function()
    assert.equal("92.5", mt.report.mean_std { 92.46 })
  end)

  it("refuses an empty list and options it does not have", function()
    assert.error_matches(function() mt.report.mean_std {} end, "argument 'values': list of 1 or more")
    assert.error_matches(function() mt.report.mean_std({ 1 }, { precision = 1 }) end, "unknown option 'precision'")
  end)
end)

describe("report.percent", function()
  it("drops the digits that are only rounding, and keeps NaN", function()
    assert.equal(58.0, mt.report.percent(0.58)) -- 100 * 0.58 is 57.99999999999999
    local nan = mt.report.percent(0 / 0)
    assert.is_true(nan ~= nan)
  end)
end)

describe("report.table", function()
  it("aligns the first column to the left and the others to the right", function()
    assert.equal(table.concat {
      "method    original  biased\n",
      "--------  --------  ------\n",
      "ERM           85.0    72.1\n",
      "MaskTune      98.6\n",
    }, mt.report.table({ "method", "original", "biased" }, { { "ERM", "85.0", "72.1" }, { "MaskTune", "98.6" } }))
  end)

  it("counts characters, not bytes", function()
    assert.equal("é  b\n-  -\nx  1\n", mt.report.table({ "é", "b" }, { { "x", 1 } }))
  end)
end)

describe("CSV", function()
  local path

  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  local function content()
    local file <close> = assert(io.open(path, "rb"))
    return file:read("a")
  end

  it("quotes what RFC 4180 wants quoted", function()
    local line = mt.report.csv_line({ 1, 2.5, "a,b", 'say "hi"', "two\nlines", nil, true, math.huge }, 8)
    assert.equal('1,2.5,"a,b","say ""hi""","two\nlines",,true,inf\r\n', line)
  end)

  it("grows by one row at a time, from nothing", function()
    os.remove(path)
    mt.report.append_csv(path, { "epoch", "loss" }, { epoch = 1, loss = 0.5 })
    mt.report.append_csv(path, { "epoch", "loss" }, { epoch = 2 })
    assert.equal("epoch,loss\r\n1,0.5\r\n2,\r\n", content())
  end)

  it("replaces a file as a whole", function()
    mt.report.write_csv(path, { "a" }, { { a = 1 }, { a = "x" } })
    assert.equal("a\r\n1\r\nx\r\n", content())
  end)

  it("takes the rows of several runs, each as far as it has come", function()
    local write = mt.report.csv_by_run(path, { "seed", "epoch" })
    write(1, { { seed = 7, epoch = 1 } })
    write(1, { { seed = 7, epoch = 1 }, { seed = 7, epoch = 2 } })
    assert.equal("seed,epoch\r\n7,1\r\n7,2\r\n", content())
    write(2, { { seed = 8, epoch = 1 } })
    assert.equal("seed,epoch\r\n7,1\r\n7,2\r\n8,1\r\n", content())
  end)

  it("has rows for the epochs of a history and for a fine-tuning's candidates", function()
    local rows = mt.report.epoch_rows(3, "erm", { { epoch = 1, lr = 0.5 }, { epoch = 2, lr = 0.1 } })
    assert.same({ { seed = 3, stage = "erm", epoch = 1, lr = 0.5 }, { seed = 3, stage = "erm", epoch = 2, lr = 0.1 } },
      rows)
    rows = mt.report.epoch_rows(3, "masktune", { { lr = 0.1, k = 2, judged = { 0.9 }, val_accuracy = 0.9 } })
    assert.same({ { seed = 3, stage = "masktune", epoch = 1, lr = 0.1, k = 2, val_accuracy = 0.9 } }, rows)
    assert.has_no.errors(function() mt.report.write_csv(path, mt.report.epoch_columns, rows) end)
  end)

  it("refuses a file with other columns, and rows with unknown ones, and leaves the file alone", function()
    mt.report.write_csv(path, { "a", "b" }, {})
    assert.error_matches(function() mt.report.append_csv(path, { "a" }, { a = 1 }) end,
      "begins with 'a,b', expected the columns a")
    assert.error_matches(function() mt.report.append_csv(path, { "a", "b" }, { c = 1 }) end,
      "row has 'c', expected columns: a, b")
    assert.equal("a,b\r\n", content())
  end)

  it("names the file it cannot write", function()
    assert.error_matches(function() mt.report.write_csv("/nowhere/at/all.csv", { "a" }, {}) end, "/nowhere/at/all.csv")
  end)
end)
