#!/bin/bash
# What ranks must have in common: configuration, build, data and clocks.
# usage: join.sh CLOCK-LIBRARY
source "$(dirname "$0")/common.sh"
clock=$1
# each SCRIPT: two ranks, SCRIPT decides by $r
each() {
    mpirun.openmpi --oversubscribe --bind-to none -np 2 bash -c 'r=$OMPI_COMM_WORLD_RANK; '"$1" "$ND_BIN/ndtrain" \
        "$work/tiny.yaml" train.base.steps=2 train.validate_every=2
}

expect 2 "rank 1: another configuration than rank 0: 'train.batch: 10', there 'train.batch: 8'" \
    each 'exec "$0" "$@" train.batch=$((8 + 2 * r))'
[ "$(grep -c error "$work/log")" -eq 1 ] || fail "the error was not printed once"
cp "$work/tiny.yaml" "$work/other.yaml"
echo 'name: other' >>"$work/other.yaml"
expect 2 "rank 1: another configuration than rank 0: 'name: \"\?other" each 'shift; [ $r = 0 ] && f=tiny || f=other
    exec "$0" "'"$work"'/$f.yaml" "$@"'
# The same settings from another place are the same.
cp "$work/tiny.yaml" "$work/copy.yaml"
each 'shift; [ $r = 0 ] && f=tiny || f=copy; exec "$0" "'"$work"'/$f.yaml" "$@" out="'"$work"'/copied"'

{ cat "$ND_BIN/ndtrain"; echo; } >"$work/ndtrain"
chmod +x "$work/ndtrain"
expect 2 "rank 1: another build of the program than rank 0: $work/ndtrain on " \
    each '[ $r = 0 ] || exec "'"$work"'/ndtrain" "$@"; exec "$0" "$@"'

mkdir "$work/here" "$work/there"
cp "$work/dataset.h5" "$work/here/"
expect 1 'rank 1: .*dataset.h5' each '[ $r = 0 ] && cd "'"$work"'/here" || cd "'"$work"'/there"
    exec "$0" "$@" data.dataset=dataset.h5 out="'"$work"'/x"'
[ "$(grep -c error "$work/log")" -eq 1 ] || fail "the error was not printed once"

# The other programs ask too.
for program in ndencode ndgen ndeval; do
    [ -x "$ND_BIN/$program" ] || continue
    expect 2 "rank 1: another configuration than rank 0: 'seed: 2', there 'seed: 1'" \
        each 'exec "${0%/*}/'$program'" "$1" seed=$((r + 1))'
done

# A build with AddressSanitizer wants its library first, and this one before it.
export ASAN_OPTIONS="${ASAN_OPTIONS:-}:verify_asan_link_order=0"
# clocks RANKS "SHIFT SHIFT..." KEY=VALUE...: each rank's clock, seconds ahead of the true one
clocks() {
    local n=$1 shifts=$2
    shift 2
    mpirun.openmpi --oversubscribe --bind-to none -np "$n" bash -c 'clocks=('"$shifts"')
        export LD_PRELOAD="'"$clock"'" CLOCK_SHIFT=${clocks[OMPI_COMM_WORLD_RANK]}; exec "$0" "$@"' "$ND_BIN/ndtrain" \
        "$work/tiny.yaml" train.base.steps=2 train.validate_every=2 "$@"
}
expect 1 "error: rank 1: the clock on $(hostname) is 3600 s ahead of that of rank 0 on $(hostname); 1 of the 1 ranks " \
    clocks 2 "0 3600" out="$work/clock"
[ "$(grep -c error "$work/log")" -eq 1 ] || fail "the error was not printed once"
[ ! -e "$work/clock" ] || fail "something was written though the clocks disagree"
expect 1 'error: rank 1: .* is 90 s behind .*; 2 of the 2 ranks .*, so that of rank 0 may be the wrong one: ' \
    clocks 3 "90 0 0" out="$work/clock"
expect 1 'error: rank 1: .* is 20 s ahead .* more than 10 s off' clocks 2 "0 20" out="$work/clock" comm.clock_limit=10
clocks 2 "0 20" out="$work/near"
clocks 2 "0 3600" out="$work/any" comm.clock_limit=0

# One rank under a launcher: the limit of the start ends with the start, and the run may take longer.
mpirun.openmpi --oversubscribe --bind-to none -np 1 bash -c 'echo $$ >"$0/rank-0"; exec "$@"' "$work" "$ND_BIN/ndtrain" \
    "$work/tiny.yaml" train.base.steps=100000 comm.timeout=2 out="$work/one" 2>"$work/log" &
pid=$!
wait_lines "$work/one/train/base/loss.jsonl" 20
sleep 2.5
kill -USR1 "$(cat "$work/rank-0")" || true
code=0
wait $pid || code=$?
[ $code -eq 75 ] || { cat "$work/log" >&2; fail "one rank for longer than comm.timeout: exit code $code"; }
