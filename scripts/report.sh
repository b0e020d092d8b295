# shellcheck shell=bash
# How the scripts talk: short lines, one per step, and one clear line when something is in the way.
: "${state_dir:?}"

# Colour only where somebody looks at it.
if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
    style_bold=$'\e[1m' style_good=$'\e[32m' style_bad=$'\e[31m' style_faint=$'\e[2m' style_end=$'\e[0m'
else
    style_bold='' style_good='' style_bad='' style_faint='' style_end=''
fi

done_line() { printf '%s✓%s %s\n' "$style_good" "$style_end" "$*"; }
note() { printf '%s· %s%s\n' "$style_faint" "$*" "$style_end"; }
heading() { printf '%s%s%s\n' "$style_bold" "$*" "$style_end"; }

# Ends the script with one line that says what is wrong and what to do about it.
fail() {
    printf '%s✗ %s%s\n' "$style_bad" "$*" "$style_end" >&2
    exit 1
}

# The last line of a log that says anything, cut to a terminal's width.
last_words() {
    [[ -s $1 ]] || return 0
    # As text (-a) also where the cut went through a letter of several bytes.
    tail -c 4000 "$1" | tr '\r' '\n' | sed 's/\x1b\[[0-9;]*[A-Za-z]//g' | grep -a -v '^[[:space:]]*$' | tail -n 1 | cut -c 1-160
}

# The jobs of `side_by_side` that still run, as process groups.
declare -A running_jobs=()

end_jobs() {
    local pid
    for pid in "${running_jobs[@]}"; do
        kill -TERM -- "-$pid" 2>/dev/null || true
    done
    running_jobs=()
}
trap end_jobs EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Runs jobs side by side, each with a log of its own, and shows how far they are until all have ended.
# Arguments: NAME=COMMAND …, where COMMAND is a function or a program without arguments.
# A failed job ends the others, and the script with the job's last words.
side_by_side() {
    local job name log line shown='' began_at=$SECONDS status
    for job in "$@"; do
        name=${job%%=*}
        # A process group of its own, so that ending a job also ends the compilers below it.
        set -m
        "${job#*=}" >"$state_dir/log/$name.log" 2>&1 </dev/null &
        set +m
        running_jobs[$name]=$!
    done
    while ((${#running_jobs[@]})); do
        wait_a_moment "${running_jobs[@]}"
        line=''
        for name in "${!running_jobs[@]}"; do
            log=$state_dir/log/$name.log
            if kill -0 "${running_jobs[$name]}" 2>/dev/null; then
                line+="$name: $(last_words "$log")   "
                continue
            fi
            status=0
            wait "${running_jobs[$name]}" || status=$?
            unset "running_jobs[$name]"
            [[ ! -t 1 ]] || printf '\r\e[K'
            if ((status)); then
                tail -n 20 "$log" >&2
                explain_failure "$name" "$log"
            fi
            done_line "$name: ready ($((SECONDS - began_at)) s)"
        done
        [[ -n $line ]] || continue
        line="[$((SECONDS - began_at)) s] $line"
        if [[ -t 1 ]]; then
            printf '\r\e[K%s' "${line:0:$(($(tput cols 2>/dev/null || echo 100) - 1))}"
        elif (((SECONDS - began_at) % 15 == 14)) && [[ $line != "$shown" ]]; then
            note "$line"
            shown=$line
        fi
    done
}

# Returns when one of the processes ends, or after a second.
wait_a_moment() {
    local pid deadline=$((SECONDS + 1))
    while ((SECONDS < deadline)); do
        for pid in "$@"; do
            kill -0 "$pid" 2>/dev/null || return 0
        done
        sleep 0.1
    done
}

# The causes that a newcomer meets most often, each with what to do.
explain_failure() {
    local name=$1 log=$2
    if grep -qiE 'no space left on device|disk quota exceeded' "$log"; then
        fail "$name: the disk is full; free some space (docker image prune removes unused images) and run this again"
    elif grep -qiE 'could not resolve|temporary failure (in name resolution|resolving)|network is unreachable|failed to download|spurious network error|could not connect to' "$log"; then
        fail "$name: something could not be downloaded; check the network and run this again (whole log: $log)"
    fi
    fail "$name failed: $(last_words "$log") (whole log: $log)"
}
