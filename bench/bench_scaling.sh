#!/usr/bin/env bash
# bench_scaling.sh [BIN [MODEL_OUT]]: weak scaling of encoding and generation from one rank to two, one thread each.
#
# One rank does work W, two ranks do 2 W: ideally in the same time. What two cores of a machine can give at most is told by
# two runs of one rank at the same moment, which share memory, caches and clock but wait for nobody. Medians of three.
# W is a capture of a gigabyte made of data/sample that does not fit into encode.memory, and 288 flows of the demo's model
# (MODEL_OUT, default out/demo; one of a few steps is trained where there is none: it is as fast).
# Environment: SCALING_WHAT (encode generate), SCALING_MB, SCALING_MEMORY (256M), SCALING_FLOWS, TMPDIR (/dev/shm).
set -euo pipefail
shopt -s inherit_errexit # a figure of a command that failed is none
cd "$(dirname "$0")/.."
ROOT=$PWD
bin=${1:-build/release/bin} model=${2:-out/demo} mb=${SCALING_MB:-1000} flows=${SCALING_FLOWS:-288} memory=${SCALING_MEMORY:-256M}
work=$(mktemp -d -p "${TMPDIR:-/dev/shm}")
trap 'rm -rf "$work"' EXIT
. tools/setup.sh
launch() { # LOG RANKS COMMAND...
    local log=$work/log$1 n=$2
    shift 2
    mpirun.openmpi --bind-to none -np "$n" "$@" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
}
milliseconds() { # of a command
    local began
    began=$(date +%s%N)
    "$@"
    echo $((($(date +%s%N) - began) / 1000000))
}
both() { "$@" 1 & local first=$!; "$@" 2; wait $first; }
median() { printf '%s\n' "$@" | sort -n | sed -n 2p; }

# report NAME COMMAND: COMMAND RANKS NUMBER does the work of RANKS, into a place of its own.
report() {
    local one=() two=() apart=() took
    for _ in 1 2 3; do
        took=$(milliseconds "$2" 1 1)
        one+=("$took")
        took=$(milliseconds "$2" 2 1)
        two+=("$took")
        took=$(milliseconds both "$2" 1)
        apart+=("$took")
    done
    awk -v name="$1" -v one="$(median "${one[@]}")" -v two="$(median "${two[@]}")" -v apart="$(median "${apart[@]}")" 'BEGIN {
        printf "%s: W on 1 rank %.2f s, 2 W on 2 ranks %.2f s: %.3f of ideal; two runs of 1 rank at once %.2f s: %.3f\n",
            name, one / 1000, two / 1000, one / two, apart / 1000, one / apart }'
}

encode() { # encode RANKS NUMBER
    rm -rf "$work/out$2"
    launch "$2" "$1" "$bin/ndencode" out="$work/out$2" quiet=yes threads=1 encode.memory="$memory" \
        data.captures="$([ "$1" = 1 ] && echo "$work/$2.pcap" || echo "$work/1.pcap,$work/2.pcap")"
}

generate() { # generate RANKS NUMBER
    rm -rf "$work/out$2"
    launch "$2" "$1" "$bin/ndgen" configs/demo.yaml out="$model" quiet=yes threads=1 gen.total=$(($1 * flows)) gen.dir="$work/out$2"
}

train_briefly() {
    local settings=(configs/demo.yaml out="$model" quiet=yes train.base.steps=20 train.control.steps=5 train.lora.steps=5) mode
    "$bin/ndencode" "${settings[@]}" >/dev/null
    for mode in base control lora; do
        "$bin/ndtrain" "${settings[@]}" train.mode=$mode
    done
}

for what in ${SCALING_WHAT:-encode generate}; do
    if [ "$what" = encode ]; then
        for i in 1 2; do "$bin/repeat_capture" "$work/$i.pcap" "$mb"; done
        report "encode $mb MB a rank, encode.memory=$memory" encode
    else
        [ -e "$model/model/model_index.json" ] || { model=$work/model; train_briefly; }
        report "generate $flows flows a rank" generate
    fi
done
