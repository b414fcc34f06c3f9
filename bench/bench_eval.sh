#!/usr/bin/env bash
# bench_eval.sh [BIN [RANKS]]: time and memory of a whole evaluation with five seeds, about 2,000 flows against 2,000.
#
# The sample captures, cut into flows at pauses of 0.8 s, stand on both sides: what is measured does not depend on how
# good a generator is, and a second run of other size tells how it grows (pauses of 0.1 s: about 8,500 flows).
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${1:-build/release/bin} ranks=${2:-2}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. tools/setup.sh
for pause in 0.8 0.1; do
    settings=(configs/demo.yaml quiet=yes out="$work" encode.timeout="$pause")
    "$bin/ndencode" "${settings[@]}" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
    began=$(date +%s.%N)
    mpirun.openmpi --oversubscribe --bind-to none -np "$ranks" /usr/bin/time -f %M -o "$work/memory" -a \
        "$bin/ndeval" "${settings[@]}" eval.synthetic="$work/dataset.h5" eval.seeds=5 >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
    ended=$(date +%s.%N)
    flows=$("$bin/ndencode" --info "$work/dataset.h5" | awk 'NR == 1 { print $2 }')
    awk -v flows="$flows" -v ranks="$ranks" -v began="$began" -v ended="$ended" -v kib="$(sort -n "$work/memory" | tail -1)" \
        'BEGIN { printf "%d flows on both sides, %d ranks, 5 seeds: %.1f s, at most %d MiB a rank\n", flows, ranks, ended - began, kib / 1024 }'
    rm -f "$work/memory"
done
