/**
 * Completion for the shells: each asks `hostel completion words -- WORDS…` on Tab, so that it always fits the command. The answer is a
 * candidate a line, with its help behind a tab, or one line `:files` or `:dirs`.
 */

const bash = `# bash completion for hostel; load it with: source <(hostel completion bash)
_hostel() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" word line
  local -a words=()
  # bash takes --option=value for three words.
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do [[ $word == '=' ]] || words+=("$word"); done
  [[ $cur == '=' ]] && cur=''
  COMPREPLY=()
  while IFS= read -r line; do
    case $line in
      :files) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
      :dirs) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
      *) line=\${line%%$'\\t'*}; [[ $line == "$cur"* ]] && COMPREPLY+=("$line") ;;
    esac
  done < <("\${COMP_WORDS[0]}" completion words -- "\${words[@]}" "$cur" 2>/dev/null)
}
complete -F _hostel hostel
`

const zsh = `#compdef hostel
# zsh completion for hostel; load it with: source <(hostel completion zsh)
_hostel() {
  local line
  local -a items
  while IFS= read -r line; do
    case $line in
      :files) _files; return ;;
      :dirs) _files -/; return ;;
      *) items+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}") ;;
    esac
  done < <("\${(Q)words[1]}" completion words -- "\${(@Q)words[2,CURRENT]}" 2>/dev/null)
  (( $#items )) && _describe hostel items
}
if [ "$funcstack[1]" = _hostel ]; then _hostel "$@"; else compdef _hostel hostel; fi
`

const fish = `# fish completion for hostel; load it with: hostel completion fish | source
function __hostel_complete
  set -l words (commandline -opc)
  set -l current (commandline -ct)
  for line in ($words[1] completion words -- $words[2..-1] "$current" 2>/dev/null)
    switch $line
      case ':files'
        __fish_complete_path "$current"
      case ':dirs'
        __fish_complete_directories "$current"
      case '*'
        echo $line
    end
  end
end
complete -c hostel -f -a '(__hostel_complete)'
`

export const completionScripts = { bash, zsh, fish }
