# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by the tests of this folder and of tests/hosts: a tiny experiment on part of the sample captures, what one
# machine alone makes of it, and words for what is expected.
set -euo pipefail
cd "${ND_SOURCE:?}"
bin=${ND_BIN:?}
[[ $bin == /* ]] || bin=$PWD/$bin
# shellcheck source=tools/setup.sh
source tools/setup.sh # what mpirun needs to know of a small machine
bad=0 passed=0
began=$SECONDS

skip() { echo "skipped: $*"; exit 77; }
ok() { passed=$((passed + 1)); printf 'ok   %3d s  %s\n' $((SECONDS - began)) "$*"; }
fail() { bad=$((bad + 1)); printf 'FAIL %3d s  %s\n' $((SECONDS - began)) "$*"; }

# check "WHAT" COMMAND...
check() {
    local what=$1
    shift
    if "$@"; then ok "$what"; else fail "$what"; fi
}

# wait_for SECONDS COMMAND...: the seconds are for a machine with nothing else to do; four times as many are waited.
wait_for() {
    local end=$((SECONDS + 4 * $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.1
    done
}

lines() { [ -f "$1" ] && [ "$(wc -l <"$1")" -ge "$2" ]; } # FILE N: it has so many lines
has() { grep -qs -- "$1" "${@:2}"; }

tiny_config() { # FILE: an experiment of seconds, long enough to be stopped in the middle of its base
    cat >"$1" <<YAML
out: $work/unnamed
quiet: yes
threads: 1
data: {captures: [data/sample/run1.pcap.gz, data/sample/run3.pcap.gz], labels: data/sample/labels.csv, holdout: [3]}
model: {packets: 8, width: 32, layers: 2, head: 16, text_width: 16, text_layers: 1, vocabulary: 32}
train:
  batch: 8
  warmup: 5
  validate_every: 200
  checkpoint_every: 100
  base: {steps: 1200, exclude: [api]}
  control: {steps: 60}
  lora: {steps: 40}
gen: {flows: {dns: 9, web: 9, api: 6}, batch: 4, steps: 3}
eval: {seeds: 1, trees: 10, images: no, tools: no}
YAML
}

# The whole chain on this machine, two ranks, without Slurm and network: what other ways must equal.
local_run() { # OUT
    local mode
    local run=(timeout -k 5 300 mpirun.openmpi --bind-to none -np 2 --mca btl "self,vader")
    "${run[@]}" "$bin/ndencode" "$config" out="$1" >"$work/local.log"
    for mode in base control lora; do
        "${run[@]}" "$bin/ndtrain" "$config" out="$1" train.mode=$mode >>"$work/local.log"
    done
    "${run[@]}" "$bin/ndgen" "$config" out="$1" >>"$work/local.log"
}

# The files whose bytes are promised, below OUT.
encoded=(dataset.h5)
trained=(model/transformer/diffusion_pytorch_model.safetensors model/text_encoder/model.safetensors
    model/controlnet/diffusion_pytorch_model.safetensors model/lora/pytorch_lora_weights.safetensors)
generated=(generated/{all,dns,web,api}.pcap generated/flows.csv generated/dataset.h5 generated/raw.h5)

same() { # OUT OTHER FILE...
    local file
    for file in "${@:3}"; do
        cmp "$1/$file" "$2/$file" || return 1
    done
}

readable() { # CAPTURE FLOWS.CSV: tshark reads every packet that flows.csv counts
    local want
    want=$(awk -F, 'NR > 1 { n += $12 } END { print n + 0 }' "$2")
    [ "$want" -gt 0 ] && [ "$(tshark -n -r "$1" -T fields -e frame.number 2>/dev/null | wc -l)" = "$want" ]
}

finish() { # the last word: exit code
    echo "$passed passed, $bad failed, $((SECONDS - began)) s"
    [ $bad = 0 ]
}
