--- The methods, found by name: `mt.methods.erm(model, options)`, or `mt.masktune(model, {method = "erm", ...})`.
-- One file each; a new one needs its file and nothing else (masktune.registry); what it returns is described in
-- masktune.recipe.method_registry. `print(mt.methods)` lists them.
-- @module masktune.methods
return require "masktune.recipe.method_registry"("masktune.methods", "mt.methods")
