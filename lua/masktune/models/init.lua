--- The nets. One file a family, loaded when first used; a new one needs its file and nothing else (masktune.registry):
-- it returns a function (options) -> module, or several as `{entries = {resnet18 = ..., ...}}`.
-- @module masktune.models
return require("masktune.registry").new("masktune.models", { kind = "net" })
