#!/usr/bin/env bash
# bench_train.sh scaling|slices [BIN [STEPS]]: steps of ndtrain with the default model, one thread a rank.
#
# scaling: 32 samples a rank, on one rank and on two, three times in turn. slices: what train.deterministic costs on one
# rank with a batch of 32. Medians over STEPS (default 30) steps from the tenth on.
set -euo pipefail
shopt -s inherit_errexit # a figure of a command that failed is none
cd "$(dirname "$0")/.."
what=${1:?scaling or slices} bin=${2:-build/release/bin} steps=${3:-30}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. tools/setup.sh
"$bin/ndencode" configs/demo.yaml quiet=yes out="$work" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }

# milliseconds RANKS KEY=VALUE...: median of a step
milliseconds() {
    local ranks=$1
    shift
    mpirun.openmpi --oversubscribe --bind-to none -np "$ranks" "$bin/ndtrain" configs/demo.yaml quiet=yes out="$work" threads=1 \
        train.resume=no train.base.steps=$((steps + 10)) train.validate_every=1000000 train.batch=$((32 * ranks)) \
        model.width=192 model.layers=6 "$@" >&2
    sed -n "s/.*\"flows_per_second\": \([0-9.e+]*\).*/\1/p" "$work/train/base/loss.jsonl" | tail -n +11 | sort -g |
        awk -v n=$((32 * ranks)) '{ rate[NR] = $1 } END { printf "%.1f\n", 1000 * n / rate[int((NR + 1) / 2)] }'
}

case $what in
scaling)
    for _ in 1 2 3; do
        one=$(milliseconds 1)
        two=$(milliseconds 2)
        awk -v one="$one" -v two="$two" \
            'BEGIN { printf "one rank %.1f ms, two ranks %.1f ms: %.1f %% of ideal\n", one, two, 100 * one / two }'
    done
    ;;
slices)
    took=$(milliseconds 1)
    echo "whole batch: $took ms"
    for slice in 16 8 4 2 1; do
        took=$(milliseconds 1 train.deterministic=yes train.slice=$slice)
        echo "slices of $slice: $took ms"
    done
    ;;
*) sed -n '2s/^# //p' "$0" >&2; exit 2 ;;
esac
