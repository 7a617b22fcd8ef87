--- Completion for shells.
local cli = require "masktune.cli"
local sorted_names = require("masktune.names").sorted

--- The words that complete a command: its options, and the values of those that choose.
local function script(programs)
  local names, cases = sorted_names(programs), {}
  for i, name in ipairs(names) do
    local words = {}
    for _, option in ipairs(programs[name].options) do
      words[#words + 1] = "--" .. option.name
    end
    cases[i] = ("    %s) words='%s' ;;"):format(name, table.concat(words, " "))
  end
  return ([[
# bash completion of masktune: source <(masktune completion bash)
_masktune() {
  local word=${COMP_WORDS[COMP_CWORD]} words=
  if [ "$COMP_CWORD" = 1 ]; then
    COMPREPLY=($(compgen -W '%s --help --version' -- "$word"))
    return
  fi
  case ${COMP_WORDS[1]} in
%s
  esac
  case $word in
    -*) COMPREPLY=($(compgen -W "$words" -- "$word")) ;;
    *) COMPREPLY=($(compgen -f -- "$word")) ;;
  esac
}
complete -o filenames -F _masktune masktune
]]):format(table.concat(names, " "), table.concat(cases, "\n"))
end

return {
  summary = "prints a script that completes the command in bash",
  argument = { name = "SHELL", key = "shell", kind = cli.kinds.choice { "bash" }, optional = true, help = "bash" },
  options = {},
  example = "source <(masktune completion bash)",
  run = function()
    local text = script(require("masktune.command").programs())
    return { script = text }, text
  end,
}
