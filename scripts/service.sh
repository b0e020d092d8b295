# shellcheck shell=bash
# Start, find and stop the service of this directory. The caller has set `repository`, `state_dir` and
# `binary` and has read `report.sh`.
: "${state_dir:?}" "${binary:?}"

# The process id that was written down, if it still is this directory's service and not a stranger
# who got the same number.
service_pid() {
    local pid program
    pid=$(cat "$state_dir/pid" 2>/dev/null) && [[ $pid =~ ^[0-9]+$ ]] || return 1
    program=$(readlink "/proc/$pid/exe" 2>/dev/null) || return 1
    # A rebuild unlinks the binary of a running process, which the kernel then shows so.
    [[ ${program% (deleted)} == "$binary" ]] && echo "$pid"
}

service_runs() { service_pid >/dev/null; }

stop_service() {
    local pid
    if ! pid=$(service_pid); then
        rm -f "$state_dir/pid"
        note "CoSage does not run here"
        return
    fi
    kill -TERM "$pid"
    timeout 60 tail --pid="$pid" -f /dev/null ||
        fail "CoSage (process $pid) does not end; look at $state_dir/log/cosage.log, then: kill -KILL $pid"
    rm -f "$state_dir/pid"
    done_line "CoSage has ended"
}

# Whether something listens on HOST:PORT already.
port_is_taken() {
    local host=${1%:*} port=${1##*:}
    host=${host#[} host=${host%]}
    case $host in
    0.0.0.0 | '') host=127.0.0.1 ;;
    ::) host=::1 ;;
    esac
    (exec 3<>"/dev/tcp/$host/$port") 2>/dev/null
}

require_free_port() {
    ! port_is_taken "$1" ||
        fail "something else listens on $1; stop it, or choose another address with $2=127.0.0.1:PORT ./up"
}

# The same look before minutes of building, where the address is known without the binary.
require_early_port() {
    [[ ! -e cosage.toml && -z ${COSAGE_CONFIG:-} ]] || return 0
    require_free_port "${COSAGE_LISTEN:-127.0.0.1:4024}" COSAGE_LISTEN
    [[ ${COSAGE_STREAM_LISTEN:-} == off ]] ||
        require_free_port "${COSAGE_STREAM_LISTEN:-127.0.0.1:4033}" COSAGE_STREAM_LISTEN
}

start_in_background() {
    local log=$state_dir/log/cosage.log pid turn
    setsid "$binary" serve >"$log" 2>&1 </dev/null &
    pid=$!
    echo "$pid" >"$state_dir/pid"
    for ((turn = 0; turn < 600; turn++)); do
        ! curl -fs -o /dev/null --max-time 2 "$(api_url)/readyz" || return 0
        if ! kill -0 "$pid" 2>/dev/null; then
            rm -f "$state_dir/pid"
            fail "CoSage ended at once: $(last_words "$log") (whole log: $log)"
        fi
        sleep 0.05
    done
    fail "CoSage is not ready after 30 s: $(last_words "$log") (whole log: $log)"
}

# Sets `api_address` and `stream_address`, which the caller reads, to what the service will listen on, whichever way it was configured.
read_addresses() {
    local settings
    # It says on standard error what is wrong, one line for each mistake.
    settings=$("$binary" check) || fail "the settings or the catalogue need a correction, see above; then run this again"
    api_address=$(awk '$1 == "COSAGE_LISTEN" { print $2 }' <<<"$settings")
    # shellcheck disable=SC2034 # `up` reads it.
    stream_address=$(awk '$1 == "COSAGE_STREAM_LISTEN" { print $2 }' <<<"$settings")
}

# An address to reach a listener by: a wildcard is reached on loopback.
api_url() { sed -e 's#^0\.0\.0\.0:#127.0.0.1:#' -e 's#^\[::\]:#[::1]:#' -e 's#^#http://#' <<<"$api_address"; }

how_to_try() {
    cat <<TRY

  Open   $(api_url)/
  Try    curl $(api_url)/api/vm/any/allocate -H 'Content-Type: application/json' -d '{"vm": "firefox", "env": {}}'

TRY
}
