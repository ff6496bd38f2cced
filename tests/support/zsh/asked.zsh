# Makes an interactive zsh tell each completion that it would show, in a line.
PS1= PS2= RPS1=
unsetopt prompt_cr prompt_sp
zle_bracketed_paste=()
autoload -Uz compinit
compinit -D -u
# Every completion function gives its words to this builtin.
compadd() {
  # Asked to fill arrays of its caller, it offers nothing yet.
  if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then
    builtin compadd "$@"
    return
  fi
  local -a hits
  local hit
  builtin compadd -A hits "$@"
  for hit in $hits; do print -r -- "<offer>$hit<>"; done
  builtin compadd "$@"
}
zle -C plainly complete-word _main_complete
complete-and-say() {
  zle plainly
  print -r -- "<end>"
  BUFFER=
}
zle -N complete-and-say
bindkey '^I' complete-and-say
# Unlike the line that sourced this, which the terminal echoes.
print -r -- "<rea""dy>"
