local mt = require "masktune"

describe("md5", function()
  it("gives the sums of RFC 1321, A.5", function()
    for text, sum in pairs{
      [""] = "d41d8cd98f00b204e9800998ecf8427e",
      ["a"] = "0cc175b9c0f1b6a831c399e269772661",
      ["abc"] = "900150983cd24fb0d6963f7d28e17f72",
      ["message digest"] = "f96b697d7cb7938d525a2f31aaf161d0",
      ["abcdefghijklmnopqrstuvwxyz"] = "c3fcd3d76192e4007dfb496cca67e13b",
      ["ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"] = "d174ab98d277d9f5a5611c2c9f419d9f",
      [("1234567890"):rep(8)] = "57edf4a22be3c955ac49da2e2107b67a",
    } do
      assert.equal(sum, mt.md5(text))
    end
  end)

  it("is right on both sides of every block border", function()
    -- Python: hashlib.md5(hashlib.md5(b"x" * n).hexdigest() joined for n in 0..200).hexdigest()
    local sums = {}
    for n = 0, 200 do
      sums[#sums + 1] = mt.md5(("x"):rep(n))
    end
    assert.equal("1f0d9d949b2c16e511c7083a082d1828", mt.md5(table.concat(sums)))
  end)

  it("takes strings only", function()
    assert.error_matches(function()
      mt.md5(3)
    end, "string expected, got number")
  end)
end)
