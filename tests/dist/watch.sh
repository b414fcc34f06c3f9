#!/usr/bin/env bash
# A rank that is stopped ends the whole job within the limit, with one message that says who is missing.
# usage: watch.sh PROGRAM MPIRUN OPTION...
set -u
program=$1
shift
work=$(mktemp -d "${TMPDIR:-/tmp}/nd-watch-XXXXXX")
trap 'rm -rf "$work"' EXIT
bad=0

# start HOW LIMIT RANKS: in the background, its numbers in $work/ranks
start() {
    rm -rf "$work/ranks"
    mkdir "$work/ranks"
    timeout -k 5 30 "${mpirun[@]}" -np "$3" "$program" "$1" "$2" "$work/ranks" >"$work/log" 2>&1 &
    job=$!
}

# stop_rank RANK: once all are there, and a little later
stop_rank() {
    local i
    for ((i = 0; i < 1000; i++)); do
        [ -s "$work/ranks/$1" ] && break
        sleep 0.01
    done
    sleep 0.3
    kill -STOP "$(cat "$work/ranks/$1")"
}

# lives PROCESS: a zombie that nobody has buried yet does not
lives() {
    [ -r "/proc/$1/stat" ] && [ "$(sed 's/.*) \(.\).*/\1/' "/proc/$1/stat" 2>/dev/null || echo Z)" != Z ]
}

# ends NAME CODE LINES PATTERN: how the job ends, how many lines match
ends() {
    local name=$1 code=$2 lines=$3 pattern=$4 rc=0 n started=$SECONDS
    wait $job || rc=$?
    n=$(grep -cE -- "$pattern" "$work/log")
    for rank in "$work"/ranks/*; do
        lives "$(cat "$rank")" && sleep 1 # the launcher ended first
        lives "$(cat "$rank")" && { echo "FAIL $name: rank ${rank##*/} is still there"; bad=1; }
    done
    if [ $rc = "$code" ] && [ "$n" = "$lines" ]; then
        echo "ok   $name ($((SECONDS - started)) s): $(grep -E -- "$pattern" "$work/log" | cut -c1-200)"
    else
        echo "FAIL $name: exit code $rc (wanted $code), $n lines with '$pattern' (wanted $lines):"
        sed 's/^/    /' "$work/log"
        bad=1
    fi
}

mpirun=("$@")
start steps 1 3
stop_rank 2
ends "rank 2 of 3 stopped" 1 1 'error: rank 0 on .*step [0-9].*has not ended for 1\.[0-9] s.*not there: rank 2 on .*no sign of life'
start steps 1 3
stop_rank 0
ends "rank 0 of 3 stopped" 1 1 'error: rank 2 on .*not there: rank 0 on .*no sign of life'
start items 1 3
stop_rank 0
ends "rank 0 stopped, others ask it for work" 1 1 'error: rank 2 on .*next work item.*not there: rank 0 on'
start items 1 4
stop_rank 0
stop_rank 1
ends "half of the ranks stopped, as if their node was" 1 1 'error: rank 3 on .*next work item.*not there: rank 0 on .*, rank 1 on .*no sign'
start busy 0.5 3
ends "a busy rank is waited for" 0 0 error
start late 0.5 3
ends "a late rank in step is not" 1 1 'error: rank 0 on .*barrier.*not there: rank 2 on .*alive, computing'
start end 0.5 2
stop_rank 1
ends "stopped while the others end" 1 1 'error: rank 0 on .*last agreement.*rank 1 on'
start astray 0.5 3
ends "calls that do not belong together" 1 1 'error: rank 0 on .*all ranks are alive and there'
start steps 0 2
stop_rank 1
sleep 1
kill -CONT "$(cat "$work/ranks/1")"
ends "limit 0: never" 0 0 error
exit $bad
