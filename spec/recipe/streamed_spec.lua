local mt = require "masktune"
local process = require "support.process"
local tiny = require "support.tiny"

describe("a recipe on images that stay in their files", function()
  it("ends with the bits of one on the same images in memory", function()
    process.with_folder(function(folder)
      local set = tiny.data(24, 1)
      for n, label in ipairs(set.labels:totable()) do
        mt.make_directory(("%s/%d"):format(folder, label))
        mt.image.write_png(("%s/%d/%02d.png"):format(folder, label, n), set.images[n])
      end
      local function run(memory_limit)
        local images = mt.data.image_folder { root = folder, size = 16, memory_limit = memory_limit }
        local train, val = mt.data.split(images, { count = 8, seed = 1 })
        local model = tiny.model(1)
        local result = mt.masktune(model, {
          train = train, val = val, epochs = 2, batch = 8, lr = 0.05, k = 1, iterations = 2, accumulate = true,
          finetune_lr = "auto", protocol = "reference", progress = false,
        })
        return tiny.bytes(model:state_dict()), result.finetune.candidates
      end
      local function without_seconds(rows)
        for _, row in ipairs(rows) do
          row.seconds = nil
        end
        return rows
      end
      local weights, rows = run(2 << 30)
      local streamed_weights, streamed_rows = run(0)
      assert.is_true(weights == streamed_weights)
      assert.same(without_seconds(rows), without_seconds(streamed_rows))
      assert.is_number(rows[1].exchanged_accuracy)
    end)
  end)
end)
