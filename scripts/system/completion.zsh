#compdef proxzzyctl proxzzyd
# SPDX-License-Identifier: Apache-2.0
# Completion of proxzzyctl and proxzzyd.  Commands and options are read from --help, so that they are those of the
# installed programs.

# Specifications for _arguments of the options that `PROGRAM [WORD...] --help` lists.
_proxzzy_specs() {
    local line name value text action
    for line in ${(f)"$("$@" --help 2>/dev/null)"}; do
        [[ $line =~ '^  (-. \[ )?(--[a-z-]+)( \])?( [A-Z][^ ]*)?( \(=[^ ]*\))? +(.*)$' ]] || continue
        name=$match[2] value=${match[4]# } text=${match[6]//[\[\]:]/ }
        action=
        case $name in
        --echo) action='(answer ignore wake)' ;;
        --identity) action='(host proxy)' ;;
        --log-level) action='(debug info warn error)' ;;
        --wake) action='(tcp/any udp/any)' ;;
        --interface) action='_net_interfaces' ;;
        --bpffs|--hosts|--state) action='_files -/' ;;
        --control|--config|--*file|--pcap) action='_files' ;;
        esac
        # what may be given several times need not be known: each may be completed again
        print -r -- "*$name${value:+=}[$text]${value:+:$value:$action}"
    done
}

_proxzzy() {
    local program=$words[1] line rest other=
    local -a typed control specs commands found
    local -i i
    typed=()
    specs=(${(f)"$(_proxzzy_specs $program)"})
    # the words of the command, without options and their values; which options take one depends on the command
    for ((i = 2; i < CURRENT; i++)); do
        case $words[i] in
        --control) control=(--control $words[i+1]) ;;
        --control=*) control=($words[i]) ;;
        esac
        [[ $words[i] == -* || -n ${(M)specs:#\*${words[i-1]}=*} ]] && continue
        typed+=($words[i])
        specs=(${(f)"$(_proxzzy_specs $program $typed)"})
    done
    commands=(${(f)"$($program --help 2>/dev/null | sed -n '/^Commands:/,/^$/s/^  //p')"})
    for line in $commands; do
        rest=${line%%  *}
        if [[ "$typed" == "${rest% NAME}" && $rest == *NAME && "$typed" != "host add" ]]; then
            found=(${(f)"$($program $control hosts --json 2>/dev/null | grep -o '"name":"[^"]*"' | cut -d '"' -f 4)"})
        elif [[ "$typed" == "${rest% FILE}" && $rest == *FILE ]]; then
            other=_files
        elif [[ -z "$typed" || $rest == "$typed "* ]]; then
            rest=${${rest#"$typed"}# }
            [[ $rest == NAME ]] || found+=(${rest%% *})
        fi
    done
    _arguments -S $specs "*:word:${other:-(${(u)found})}"
}

_proxzzy "$@"
