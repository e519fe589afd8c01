# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Completion of proxzzyctl and proxzzyd.  Commands and options are read from --help, so that they are those of the
# installed programs.

# The lines of `PROGRAM [WORD...] --help` that list commands: "host add NAME", "apply FILE".
_proxzzy_commands() {
    "$@" --help 2>/dev/null | sed -n '/^Commands:/,/^$/s/^  \([a-z][^ ]*\( [^ ][^ ]*\)*\)  .*/\1/p'
}

# Its options, each with the name of its value if it takes one: "--mac MAC", "--json".
_proxzzy_options() {
    "$@" --help 2>/dev/null | sed -n 's/^  \(-. \[ \)\?\(--[a-z-]*\)\( \]\)\?\( [A-Z][^ ]*\)\?.*/\2\4/p'
}

_proxzzy_values() { # OPTION CUR
    case $1 in
    --echo) compgen -W "answer ignore wake" -- "$2" ;;
    --identity) compgen -W "host proxy" -- "$2" ;;
    --log-level) compgen -W "debug info warn error" -- "$2" ;;
    --wake) compgen -W "tcp/ tcp/any udp/ udp/any" -- "$2" ;;
    --interface | -i) compgen -W "$(sed -n '3,$s/^ *\([^:]*\):.*/\1/p' /proc/net/dev)" -- "$2" ;;
    --bpffs | --hosts | --state) compgen -d -- "$2" ;;
    --control | --config | --*file | --pcap) compgen -f -- "$2" ;;
    esac
}

# Hosts of the daemon that answers, if one does and lets us ask.
_proxzzy_hosts() {
    "$@" hosts --json 2>/dev/null | grep -o '"name":"[^"]*"' | cut -d '"' -f 4
}

_proxzzy() {
    local program=$1 cur=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local -A takes_value=()
    local -a control=() words=() reply=()
    local i word option value command rest found='' takes=''
    COMPREPLY=()

    # the words of the command, without options and their values; which options take one depends on the command
    for _ in 1 2; do
        while read -r option value; do
            takes_value[$option]=$value
        done < <(_proxzzy_options "$program" "${words[@]}")
        takes_value[-i]=${takes_value[--interface]-}
        words=()
        for ((i = 1; i < COMP_CWORD; i++)); do
            word=${COMP_WORDS[i]}
            if [[ $word == --control && ${COMP_WORDS[i + 1]-} != = ]]; then
                control=(--control "${COMP_WORDS[i + 1]-}")
            fi
            if [[ $word != -* ]]; then
                words+=("$word")
            elif [[ ${COMP_WORDS[i + 1]-} == = ]]; then
                ((i += 2)) # --option = value, as readline splits it
            elif [[ -n ${takes_value[$word]-} ]]; then
                ((i++))
            fi
        done
    done

    if [[ $cur == = ]]; then
        cur=
    elif [[ $previous == = ]]; then
        previous=${COMP_WORDS[COMP_CWORD - 2]-}
    fi
    if [[ $previous == -* && -n ${takes_value[$previous]-} ]]; then
        mapfile -t reply < <(_proxzzy_values "$previous" "$cur")
    elif [[ $cur == -* ]]; then
        mapfile -t reply < <(compgen -W "$(_proxzzy_options "$program" "${words[@]}" | cut -d ' ' -f 1)" -- "$cur")
    else
        while read -r command; do
            rest=${command%%" NAME"*}
            rest=${rest%%" FILE"*}
            if [[ "${words[*]}" == "$rest" ]]; then
                found=$rest
                takes=${command#"$rest"}
            elif [[ ${#words[@]} == 0 || $rest == "${words[*]} "* ]]; then
                rest=${rest#"${words[*]}"}
                read -r word _ <<<"$rest"
                reply+=("$word")
            fi
        done < <(_proxzzy_commands "$program")
        if [[ $takes == " FILE" ]]; then
            mapfile -t reply < <(compgen -f -- "$cur")
        else
            if [[ $takes == " NAME" && $found != "host add" ]]; then
                mapfile -t reply < <(_proxzzy_hosts "$program" "${control[@]}")
            fi
            mapfile -t reply < <(compgen -W "${reply[*]}" -- "$cur" | sort -u)
        fi
    fi
    COMPREPLY=("${reply[@]}")
    if [[ ${#reply[@]} == 1 && ${reply[0]} == */ ]]; then
        compopt -o nospace 2>/dev/null # more is to come
    fi
}

complete -F _proxzzy proxzzyctl proxzzyd
