#!/usr/bin/env bash
# Rank 0's bytes reach all ranks, by MPI, TCP and files, in any order of starting and past what dead attempts left.
# usage: bootstrap.sh PROGRAM [MPIRUN OPTION...]
set -u
program=$1
shift
mpirun=("$@")
work=$(mktemp -d "${TMPDIR:-/tmp}/nd-bootstrap-XXXXXX")
trap 'rm -rf "$work"' EXIT
bad=0
port=$((20000 + $$ % 20000))

# same NAME RANKS FILE...: so many lines, all alike and not of zeros
same() {
    local name=$1 ranks=$2
    shift 2
    if [ "$(cat "$@" | grep -cE '^[0-9a-f]{256}$')" = "$ranks" ] && [ "$(cat "$@" | sort -u | wc -l)" = 1 ] &&
        ! grep -qE '^0*$' "$@"; then
        echo "ok   $name"
    else
        echo "FAIL $name:"
        head -c 2000 "$@" | sed 's/^/    /'
        bad=1
    fi
}

# processes NAME HOW SIZE FIRST...: ranks in this order of starting, a moment apart
processes() {
    local name=$1 how=$2 size=$3 rank
    shift 3
    rm -f "$work"/out-*
    for rank in "$@"; do
        timeout 20 "$program" alone "$how" "$rank" "$size" 10 >"$work/out-$rank" 2>&1 &
        sleep 0.05
    done
    wait
    same "$name" "$size" "$work"/out-*
}

processes "tcp: 3 processes" "tcp://127.0.0.1:$port" 3 0 1 2
processes "tcp: by name, rank 0 last" "tcp://localhost:$((port + 1))" 4 3 2 1 0
processes "tcp: alone" "tcp://localhost:$port" 1 0
processes "file: 3 processes" "file://$work/id" 3 0 1 2
processes "file: rank 0 last" "file://$work/id" 4 3 1 2 0
[ -z "$(find "$work" -name 'id*')" ] || { echo "FAIL file: something was left: $(ls "$work")"; bad=1; }

# Left by attempts that died: a question nobody waits for, and an answer to it.
printf 'dtoob-dn' >"$work/id.1"
head -c 32 /dev/zero >"$work/id.2"
head -c 160 /dev/urandom >"$work/id.1.answer"
timeout 20 "$program" alone "file://$work/stale" 1 2 0.1 >/dev/null 2>&1 # dies before rank 0 comes
timeout -s KILL 0.3 "$program" alone "file://$work/id" 1 3 10 >/dev/null 2>&1
processes "file: after dead attempts" "file://$work/id" 3 0 1 2

# Strangers on the port are hung up on.
timeout 20 "$program" alone "tcp://127.0.0.1:$((port + 2))" 0 2 10 >"$work/out-0" 2>&1 &
sleep 0.2
trap '' PIPE # the stranger's second piece may come when it has been hung up on
exec 3<>"/dev/tcp/127.0.0.1/$((port + 2))" && printf 'GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n' >&3 2>/dev/null
trap - PIPE
timeout 20 "$program" alone "tcp://127.0.0.1:$((port + 2))" 1 2 10 >"$work/out-1" 2>&1
exec 3>&-
wait
same "tcp: with a stranger" 2 "$work/out-0" "$work/out-1"

# refused NAME CODE PATTERN COMMAND...
refused() {
    local name=$1 code=$2 pattern=$3 rc=0
    shift 3
    timeout 20 "$@" >"$work/log" 2>&1 || rc=$?
    if [ $rc = "$code" ] && grep -qE -- "$pattern" "$work/log"; then
        echo "ok   $name"
    else
        echo "FAIL $name: exit code $rc"
        sed 's/^/    /' "$work/log"
        bad=1
    fi
}
refused "tcp: nobody comes" 1 'rank 1 and 1 others have not come to port' "$program" alone "tcp://localhost:$port" 0 3 0.3
refused "tcp: nobody answers" 1 'rank 0 does not answer at localhost' "$program" alone "tcp://localhost:$port" 1 3 0.3
refused "file: nobody comes" 1 'rank 1 and 1 others have not come' "$program" alone "file://$work/id" 0 3 0.3
refused "file: nobody answers" 1 'rank 0 does not answer at' "$program" alone "file://$work/id" 2 3 0.3
refused "another way" 2 "bootstrap 'udp://x': mpi, tcp" "$program" alone udp://x 0 2 1
refused "no port" 2 'tcp://HOST:PORT is wanted' "$program" alone tcp://x 0 2 1

if [ ${#mpirun[@]} -gt 0 ]; then
    for how in mpi "tcp://localhost:$((port + 3))" "file://$work/mpi-id"; do
        timeout 30 "${mpirun[@]}" -np 4 "$program" ranks "$how" 10 >"$work/ranks" 2>&1
        same "4 ranks: ${how%%:*}" 4 "$work/ranks"
    done
    ND_BOOTSTRAP="file://$work/chosen" timeout 30 "${mpirun[@]}" -np 2 "$program" ranks environment 10 >"$work/ranks" 2>&1
    same "2 ranks: chosen by the environment" 2 "$work/ranks"
fi
exit $bad
