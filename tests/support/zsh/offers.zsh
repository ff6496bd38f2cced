# Prints what zsh offers at the end of each line of stdin, and <end> behind it.
# $1 is a folder with the completion script as _mproxy. Completion works in a
# terminal alone, so an interactive zsh is asked through a pseudo-terminal.
zmodload zsh/zpty
zpty asked zsh -f -i
until_seen() {
  local line
  while zpty -r asked line; do
    [[ $line == *"<offer>"* ]] && print -r -- ${${line##*<offer>}%%<>*}
    [[ $line == *"$1"* ]] && return
  done
  print -r -u2 -- "zsh has ended"
  exit 1
}
zpty -w asked "fpath=($1 \$fpath); source ${0:h}/asked.zsh"
until_seen "<ready>" >/dev/null
while IFS= read -r request; do
  zpty -w -n asked "$request"$'\t'
  until_seen "<end>"
  print -r -- "<end>"
done
zpty -d asked
