-- Runs busted under the interpreter that runs this file, wherever busted is installed:
-- lua5.4 spec/run.lua [busted's options] [files]. `make test` sets the paths.
require "busted.runner"({ standalone = false })
