--- mt.op: differentiable operations written in Lua.
local mt = require "masktune"
local gradcheck = require "support.gradcheck"
local process = require "support.process"
local reference = require "support.reference"

local function fails(f, message) assert.error_matches(f, message) end

local square = mt.op{
  name = "square",
  forward = function(context, x)
    context:save(x)
    return x * x
  end,
  backward = function(context, gradient) return gradient * context.saved[1] * 2 end,
}

--- x * factor, whose backward gives what it is told to give.
local function told(gradients)
  return mt.op{
    name = "told",
    forward = function(_, x, factor) return x * factor end,
    backward = function(...) return gradients(...) end,
  }
end

local function leaf(...) return mt.tensor({ ... }, { requires_grad = true }) end

describe("mt.op", function()
  it("is differentiable", function()
    gradcheck.check{
      ours = function(x) return square(x + 1) * 3 end,
      reference = function(x) return reference.map(x, function(v) return 3 * (v + 1) ^ 2 end) end,
      inputs = { { shape = { 3, 4 } } },
    }
  end)

  it("takes several tensors and other values, in any order", function()
    local scaled_product = mt.op{
      forward = function(context, scale, a, name, b)
        assert(name == "name")
        context.scale = scale
        context:save(a)
        context:save(b)
        return a:matmul(b) * scale
      end,
      backward = function(context, gradient)
        local a, b = table.unpack(context.saved)
        gradient = gradient * context.scale
        return nil, gradient:matmul(b:transpose()), nil, a:transpose():matmul(gradient)
      end,
    }
    gradcheck.check{
      ours = function(a, b) return scaled_product(2.5, a, "name", b, nil) end,
      reference = function(a, b)
        return reference.build({ 2, 2 }, function(p)
          local sum = 0.0
          for k = 1, 3 do sum = sum + a[(p[1] - 1) * 3 + k] * b[(k - 1) * 2 + p[2]] end
          return 2.5 * sum
        end)
      end,
      inputs = { { shape = { 2, 3 } }, { shape = { 3, 2 } } },
    }
  end)

  it("can keep its result for backward", function()
    local exponential = mt.op{
      forward = function(context, x)
        local y = x:exp()
        context:save(y)
        return y
      end,
      backward = function(context, gradient) return gradient * context.saved[1] end,
    }
    gradcheck.check{
      ours = exponential,
      reference = function(x) return reference.map(x, math.exp) end,
      inputs = { { shape = { 5 } } },
    }
  end)

  it("nests: in forward, in backward, and one after the other", function()
    local cube = mt.op{
      name = "cube",
      forward = function(context, x)
        context:save(x)
        return square(x) * x
      end,
      backward = function(context, gradient) return square(context.saved[1]) * 3 * gradient end,
    }
    gradcheck.check{
      ours = function(x) return cube(square(x)) + cube(x) end,
      reference = function(x) return reference.map(x, function(v) return v ^ 6 + v ^ 3 end) end,
      inputs = { { shape = { 4 } } },
    }
  end)

  it("records nothing inside forward, and nothing at all where no gradient is wanted", function()
    local inside
    local watching = mt.op{
      forward = function(_, x)
        inside = { mt.is_grad_enabled(), (x * 2):requires_grad() }
        return x * 2
      end,
      backward = function(_, gradient) return gradient * 2 end,
    }
    assert.is_true(watching(leaf(1, 2)):requires_grad())
    assert.same({ false, false }, inside)
    assert.is_true(mt.is_grad_enabled())
    assert.is_false(watching(mt.ones(2)):requires_grad())
    mt.no_grad(function()
      assert.is_false(watching(leaf(1, 2)):requires_grad())
      assert.is_false(mt.is_grad_enabled())
    end)
    assert.is_false(square(mt.ones(2)):requires_grad())
  end)

  it("may return what it was given, and integers, which have no gradient", function()
    local reversal = mt.op{
      forward = function(_, x) return x end,
      backward = function(_, gradient) return -gradient end,
    }
    local x = leaf(1, 2)
    local y = reversal(x)
    assert.is_false(x == y)
    assert.same({ 1.0, 2.0 }, y:totable())
    y:sum():backward()
    assert.same({ -1.0, -1.0 }, x:grad():totable())
    local signs = mt.op{ forward = function(_, t) return t:gt(0) end, backward = function() end }
    assert.equal("uint8", signs(x):dtype())
    assert.is_false(signs(x):requires_grad())
  end)

  it("lets backward write into the gradient it gets", function()
    local doubling = mt.op{
      forward = function(_, x) return x * 2 end,
      backward = function(_, gradient)
        gradient:copy(gradient * 2)
        return gradient
      end,
    }
    local a, b = leaf(1, 2), leaf(3, 4);
    (doubling(a) + b):sum():backward() -- both sides of the sum share one gradient
    assert.same({ 2.0, 2.0 }, a:grad():totable())
    assert.same({ 1.0, 1.0 }, b:grad():totable())
  end)

  it("keeps gradients apart that backward returns twice or keeps", function()
    local kept
    local sum = mt.op{
      forward = function(_, a, b) return a + b end,
      backward = function(_, gradient)
        kept = gradient:transpose() * 3
        return kept, kept
      end,
    }
    local a, b = mt.ones(2, 2, { requires_grad = true }), mt.ones(2, 2, { requires_grad = true })
    sum(a, b):sum():backward()
    a:grad():fill(7)
    kept:fill(8)
    assert.same({ { 3.0, 3.0 }, { 3.0, 3.0 } }, b:grad():totable())
  end)

  it("gives leaves gradients that can be written to, whatever view backward returned", function()
    local turned = mt.op{
      forward = function(_, x) return x:transpose() end,
      backward = function(_, gradient) return gradient:transpose() end,
    }
    local x = mt.ones(2, 3, { requires_grad = true })
    turned(square(turned(turned(x)))):sum():backward()
    x:grad():fill(0)
    assert.same({ 2, 3 }, x:grad():shape())
  end)

  it("takes nil for an argument without a gradient, and what needs none is not looked at", function()
    local first = mt.op{
      forward = function(_, a, b) return a * b end,
      backward = function(_, gradient) return gradient, nil end,
    }
    local a, b = leaf(1, 2), leaf(3, 4)
    first(a, b):sum():backward()
    assert.same({ 1.0, 1.0 }, a:grad():totable())
    assert.is_nil(b:grad())
    local junk = mt.op{
      forward = function(_, x, y) return x * y end,
      backward = function(_, gradient) return gradient, "unused" end,
    }
    junk(a, mt.ones(2)):sum():backward()
    assert.same({ 2.0, 2.0 }, a:grad():totable())
  end)

  it("outlives the function that made the result", function()
    local x = leaf(3)
    local y = mt.op{
      name = "gone",
      forward = function(_, t) return t * 2 end,
      backward = function(_, gradient) return gradient * 2 end,
    }(x)
    collectgarbage()
    fails(function() y:fill(1) end, "the result of gone, recorded for backward")
    y:backward()
    collectgarbage()
    assert.equal(2.0, x:grad():item())
    fails(function() y:backward() end, "the graph through gone was already walked")
  end)

  it("trains a module", function()
    mt.manual_seed(3)
    local net = mt.nn.Module{
      inner = mt.nn.Linear(4, 8),
      outer = mt.nn.Linear(8, 2),
      forward = function(self, x) return self.outer(square(self.inner(x))) end,
    }
    local x = mt.randn(32, 4)
    local labels = (x ^ 2):sum(2):gt(4):to "int32" + 1
    local optimizer = mt.optim.sgd(net:parameters(), { lr = 0.05 })
    local first, last
    for _ = 1, 60 do
      local loss = mt.cross_entropy(net(x), labels)
      optimizer:zero_grad()
      loss:backward()
      optimizer:step()
      first, last = first or loss:item(), loss:item()
    end
    assert.is_true(last < 0.7 * first)
  end)
end)

describe("errors in an operation", function()
  local x = leaf(1, 2)

  it("name it, in forward", function()
    local function forward(f) return mt.op{ name = "odd", forward = f, backward = function() end } end
    fails(function() forward(function() error "boom" end)(x) end, "op 'odd', forward: .*operation_spec.lua:%d+: boom")
    fails(function() forward(function(_, t) return t + mt.ones(3) end)(x) end, "op 'odd', forward: .*add: shapes {2}")
    fails(function() forward(function() end)(x) end, "op 'odd', forward: 0 values returned, expected one tensor")
    fails(function() forward(function(_, t) return t, t end)(x) end, "forward: 2 values returned, expected one tensor")
    fails(function() forward(function() return 3 end)(x) end, "forward: a number returned, expected a tensor")
    fails(function() forward(function(context) context:save(3) end)(x) end, "masktune.Tensor expected, got number")
    fails(function() forward(function(context, t) context.saved = { 3 } return t end)(x) end,
      "context.saved is not what save%(%) made it")
    local problem = {}
    local _, caught = pcall(forward(function() error(problem) end), x)
    assert.is_true(caught == problem)
    assert.is_true(mt.is_grad_enabled())
  end)

  it("name it, in backward", function()
    local function backward(f) return function() told(f)(x, 2):sum():backward() end end
    fails(backward(function() error "boom" end), "op 'told', backward: .*operation_spec.lua:%d+: boom")
    fails(backward(function(_, gradient) return gradient + mt.ones(3) end), "op 'told', backward: .*add: shapes {2}")
    fails(backward(function() error{} end), "op 'told', backward: table: ")
    fails(backward(function() error(setmetatable({}, { __tostring = error })) end),
      "op 'told', backward: an error that is no text")
    assert.is_true(mt.is_grad_enabled())
    assert.is_nil(x:grad())
  end)

  it("name the gradient that is wrong", function()
    local function backward(...)
      local gradients = table.pack(...)
      return function() told(function() return table.unpack(gradients, 1, gradients.n) end)(x, 2):sum():backward() end
    end
    fails(backward(), "op 'told', backward: .*0 gradients returned, expected 2: one for each argument")
    fails(backward(mt.ones(2), nil, nil), "backward: .*3 gradients returned, expected 2")
    fails(backward(mt.ones(3)), "backward: .*the gradient for argument 1 is float32 {3}, expected float32 {2}")
    fails(backward(mt.ones(2):to "int32"), "the gradient for argument 1 is int32 {2}, expected float32 {2}")
    fails(backward(2), "the gradient for argument 1 is a number, expected a tensor {2} or nil")
    fails(backward(mt.ones(2), mt.ones(2)), "a gradient for argument 2, which is no tensor; expected nil")
    assert.is_nil(x:grad())
    backward(mt.ones(2), nil)()
    backward(mt.ones(2))()
    assert.same({ 2.0, 2.0 }, x:grad():totable())
    x:zero_grad()
  end)

  it("of the options are named", function()
    fails(function() mt.op() end, "table expected, got no value")
    fails(function() mt.op{ forward = function() end } end, "option 'backward': function expected, got nil")
    fails(function() mt.op{ forward = 3, backward = function() end } end, "option 'forward': function expected, got 3")
    fails(function() mt.op{ forwards = 3 } end, "unknown option 'forwards', expected one of: forward, backward, name")
    fails(function() mt.op{ name = {} } end, "option 'name': string expected, got table")
  end)

  it("leave everything as it was", function()
    local broken = true
    local sometimes = mt.op{
      name = "sometimes",
      forward = function(_, t) return t * 2 end,
      backward = function(_, gradient)
        if broken then error "not yet" end
        return gradient * 2
      end,
    }
    local w = leaf(1, 2)
    fails(function() sometimes(w):sum():backward() end, "not yet")
    assert.is_nil(w:grad())
    broken = false
    sometimes(w):sum():backward()
    assert.same({ 2.0, 2.0 }, w:grad():totable())
  end)

  it("are raised when a saved tensor was changed in place", function()
    local w, factor = leaf(1, 2), mt.ones(2)
    local scaled = mt.op{
      name = "scaled",
      forward = function(context, t, by)
        context:save(by)
        return t * by
      end,
      backward = function(context, gradient) return gradient * context.saved[1], nil end,
    }
    local loss = scaled(w, factor):sum()
    factor[1] = 5
    fails(function() loss:backward() end, "a tensor that scaled needs was changed in place after the forward pass")
    loss = scaled(w, factor):sum()
    factor[{ { 1, 2 } }] = 3
    fails(function() loss:backward() end, "a tensor that scaled needs was changed in place")
  end)

  it("come instead of a crash when backward walks the same graph, or drops it", function()
    local loss
    local again = mt.op{
      name = "again",
      forward = function(_, t) return t * 2 end,
      backward = function(_, gradient)
        loss:backward()
        return gradient * 2
      end,
    }
    loss = again(x):sum()
    fails(function() loss:backward() end, "op 'again', backward: .*already walked")
    loss = again(leaf(1))
    fails(function() loss:backward() end, "op 'again', backward: ")
    loss = nil
    local dropping = mt.op{
      forward = function(_, t) return t * 2 end,
      backward = function(_, gradient)
        getmetatable(loss).__gc(loss)
        loss = nil
        collectgarbage()
        return gradient * 2
      end,
    }
    local w = leaf(1, 2)
    loss = dropping(dropping(w * 2)):sum()
    local ok, message = pcall(loss.backward, loss)
    assert.is_false(ok)
    assert.matches("backward", message)
    local once = true
    local dropping_once = mt.op{
      forward = function(_, t) return t * 2 end,
      backward = function(_, gradient)
        if once then
          once = false
          getmetatable(loss).__gc(loss)
          loss = nil
          collectgarbage()
        end
        return gradient * 2
      end,
    }
    loss = dropping_once(dropping_once(w * 2)):sum()
    loss:backward()
    assert.same({ 8.0, 8.0 }, w:grad():totable())
  end)

  it("come instead of a crash when forward lets go of its arguments", function()
    local careless = mt.op{
      forward = function(_, t)
        local y = t * 2
        getmetatable(t).__gc(t)
        return y
      end,
      backward = function(_, gradient) return gradient end,
    }
    assert.is_false(careless(leaf(1, 2)):requires_grad())
  end)
end)

describe("an operation's memory", function()
  --- Contexts that are still there.
  local function watched()
    local alive = setmetatable({}, { __mode = "k" })
    local watching = mt.op{
      forward = function(context, x)
        alive[context] = true
        context:save(x)
        return x * x
      end,
      backward = function(context, gradient) return gradient * context.saved[1] * 2 end,
    }
    return watching, function()
      collectgarbage()
      collectgarbage()
      local n = 0
      for _ in pairs(alive) do n = n + 1 end
      return n
    end
  end

  it("goes with the node, or as soon as backward has run", function()
    local watching, alive = watched()
    local x = mt.ones(2, { requires_grad = true })
    local y = watching(watching(x))
    assert.equal(2, alive())
    y:sum():backward()
    assert.equal(0, alive())
    y = watching(x) -- luacheck: ignore 311
    assert.equal(1, alive())
    y = nil -- luacheck: ignore 311
    assert.equal(0, alive())
    pcall(watching, mt.ones(2))
    assert.equal(0, alive())
  end)

  it("leaves nothing in the registry", function()
    local x = mt.ones(2, { requires_grad = true })
    local function contexts()
      local n = 0
      for _, value in pairs(debug.getregistry()) do
        local meta = type(value) == "table" and getmetatable(value)
        if meta and rawget(meta, "__name") == "masktune.Context" then n = n + 1 end
      end
      return n
    end
    collectgarbage()
    local before = contexts()
    local y = square(x)
    assert.equal(before + 1, contexts())
    y:sum():backward()
    for i = 1, 100 do
      y = square(square(x))
      if i % 2 == 0 then y:sum():backward() end
      pcall(function() told(function() error "x" end)(x, 2):sum():backward() end)
    end
    y = nil -- luacheck: ignore 311
    collectgarbage()
    assert.equal(before, contexts())
  end)

  -- In a process of its own: what a process held before decides when it collects.
  it("stays flat in a training loop that never collects", function()
    local ok, output = process.run(process.lua .. " -e " .. process.quoted [[
      local mt = require "masktune"
      mt.set_num_threads(1)
      local square = mt.op{
        forward = function(context, x)
          context:save(x)
          return x * x
        end,
        backward = function(context, gradient) return gradient * context.saved[1] * 2 end,
      }
      local w, highest = mt.randn(500, 1000, { requires_grad = true }), 0
      for _ = 1, 120 do
        local loss = square(square(w)):mean()
        loss:backward()
        w:zero_grad()
        highest = math.max(highest, mt.memory().live)
      end
      print("highest " .. highest)]])
    assert.is_true(ok, output)
    assert.is_true(tonumber(output:match "highest (%d+)") < 100 * 2 ^ 20, output)
  end)

  it("is returned when backward fails", function()
    local w = mt.randn(500, 1000, { requires_grad = true })
    collectgarbage()
    local before = mt.memory().live
    for _ = 1, 20 do
      pcall(function() told(function() error "x" end)(square(w), 2):mean():backward() end)
    end
    collectgarbage()
    assert.equal(before, mt.memory().live)
  end)
end)

describe("operations in coroutines", function()
  it("run forward in one, backward in another, and on the main thread", function()
    local x = leaf(3)
    local y
    coroutine.wrap(function() y = square(x) end)()
    coroutine.wrap(function() y:backward() end)()
    assert.equal(6.0, x:grad():item())
    x:zero_grad()
    coroutine.wrap(function() y = square(x) end)()
    collectgarbage()
    y:backward()
    assert.equal(6.0, x:grad():item())
  end)

  it("pass errors on, also those of yielding", function()
    local yielding = mt.op{
      name = "yielding",
      forward = function(_, x) return x * 2 end,
      backward = function(_, gradient)
        coroutine.yield()
        return gradient
      end,
    }
    local x = leaf(1)
    local ok, message = coroutine.resume(coroutine.create(function() yielding(x):backward() end))
    assert.is_false(ok)
    assert.matches("op 'yielding', backward: .*yield", message)
    local waiting = mt.op{
      name = "waiting",
      forward = function(_, t)
        coroutine.yield()
        return t
      end,
      backward = function() end,
    }
    ok, message = coroutine.resume(coroutine.create(function() waiting(x) end))
    assert.is_false(ok)
    assert.matches("op 'waiting', forward: .*yield", message)
    assert.is_true(mt.is_grad_enabled())
  end)

  it("are collected with a coroutine that was left in the middle", function()
    local x = leaf(1)
    for _ = 1, 50 do
      local thread = coroutine.create(function()
        local y = square(x)
        coroutine.yield()
        y:backward()
      end)
      coroutine.resume(thread)
    end
    collectgarbage()
    square(x):backward()
    assert.equal(2.0, x:grad():item())
  end)
end)
