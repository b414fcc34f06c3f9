#!/usr/bin/env bash
# chaos.sh [KILLS [SEED]]: encode, train and generate while ranks are killed, stopped and cut off from their disk; in the
# end datasets, weights and captures must equal those of a run that nobody disturbed, byte for byte.
#
# A disturbance is one of: kill -9 of a random rank, kill -9 of mpirun, SIGSTOP of a rank beyond the watchdog's limit,
# SIGTERM of the ranks (which must end with status 75). After each, every process of the job must be gone within 30
# seconds, and what is lost must be within its bound (losses.sh). The next attempt has 1 to 3 ranks. Between them, where
# tmpfs can be mounted: a full disk, a read-only output folder; and an input that vanishes. Each must give exit code 1 and
# one message, and the run after it must go on.
set -euo pipefail
cd "${ND_SOURCE:-$(dirname "$0")/../..}"
kills=${1:-12} seed=${2:-1}
# shellcheck source=tools/setup.sh
source tools/setup.sh # what mpirun needs to know of a small machine
bin=${ND_BIN:-$PWD/build/release/bin}
RANDOM=$seed
work=$(mktemp -d "${TMPDIR:-/tmp}/nd-chaos-XXXXXX")
out=$work/disk/out
cleanup() {
    pkill -9 -f "$work" 2>/dev/null || true
    # what was killed a moment ago may still hold the disk
    [ $mounted = no ] || umount "$work/disk" 2>/dev/null || umount -l "$work/disk" || true
    rm -rf "$work"
}
mounted=no
trap cleanup EXIT
fail() {
    echo "FAIL (seed $seed): $*" >&2
    grep -h 'error: ' "$work/log" >&2 2>/dev/null || tail -5 "$work/log" >&2 2>/dev/null || true
    exit 1
}
# shellcheck source=tests/chaos/losses.sh
source tests/chaos/losses.sh
mkdir -p "$work/disk" "$work/input"
if mount -t tmpfs -o size=64m tmpfs "$work/disk" 2>"$work/log"; then
    mounted=yes
else
    echo "full and read-only disks: not tested (only root can mount one: $(tail -1 "$work/log"))"
fi
cp data/sample/run1* data/sample/run2* data/sample/labels.csv "$work/input/"

interval=20 # steps between checkpoints
# shellcheck disable=SC2054 # lists of the settings
settings=(configs/demo.yaml threads=1 encode.memory=256k data.captures="$work/input" data.labels="$work/input/labels.csv"
    data.holdout=2 model.width=32 model.layers=2 model.head=16 model.packets=12 train.batch=12 train.deterministic=yes
    train.base.steps=200 train.control.steps=60 train.lora.steps=60 train.checkpoint_every="$interval"
    train.validate_every=50 comm.timeout=5 gen.flows=dns:24,web:24,ping:12,api:12 gen.batch=4 gen.steps=3)
stages=(encode base control lora gen)
command_of() { # command_of STAGE OUT: the words of the command, in `command`
    case $1 in
    encode) command=("$bin/ndencode") ;;
    gen) command=("$bin/ndgen") ;;
    *) command=("$bin/ndtrain") ;;
    esac
    command+=("${settings[@]}" out="$2")
    case $1 in base | control | lora) command+=(train.mode="$1") ;; esac
}
files_of() { # what a stage makes
    case $1 in
    encode) echo dataset.h5 ;;
    base) echo model/transformer/*.safetensors model/text_encoder/*.safetensors ;;
    control) echo model/controlnet/*.safetensors ;;
    lora) echo model/lora/*.safetensors ;;
    gen) echo generated/dataset.h5 generated/raw.h5 generated/all.pcap generated/flows.csv ;;
    esac
}
compare() { # compare STAGE: with the undisturbed run, byte for byte
    local file
    for file in $(cd "$whole" && files_of "$1"); do
        cmp "$whole/$file" "$out/$file" >&2 || fail "$1: $file differs from that of the undisturbed run"
    done
}
undo() { # undo STAGE: as if it had never run
    case $1 in
    encode) rm -f "$out/dataset.h5" ;;
    gen) rm -rf "$out/generated" ;;
    base) rm -rf "$out/train/base" "$out/model" ;;
    control) rm -rf "$out/train/control" "$out/model/controlnet" ;;
    lora) rm -rf "$out/train/lora" "$out/model/lora" ;;
    esac
}
launch() { # launch RANKS: `command` in the background, its mpirun in $job
    mpirun.openmpi --oversubscribe --bind-to none -np "$1" "${command[@]}" >"$work/log" 2>&1 &
    job=$!
}
ranks_of_job() { pgrep -f "^$bin/nd.* out=$out" || true; }
gone() { # gone WHAT VICTIM: every process of the job ends within 30 seconds
    local i left
    for ((i = 0; i < 300; i++)); do
        left=$(ranks_of_job)
        [ -z "$left" ] && ! kill -0 "$job" 2>/dev/null && return
        # Stopped when the others had nothing left to wait for: nobody is there to notice but the launcher, which waits.
        if [ "$i" = 200 ] && [ "$left" = "$2" ] && grep -q '^State:.*stopped' "/proc/$2/status" 2>/dev/null; then
            kill -9 "$2"
            done_to[stopped last]=$((${done_to[stopped last]:-0} + 1))
        fi
        sleep 0.1
    done
    pgrep -af "$work" >&2 || true
    fail "processes are left 30 seconds after: $1"
}
end_job() { # into $code
    code=0
    wait "$job" 2>/dev/null || code=$?
}

echo "undisturbed run"
whole=$work/whole
for stage in "${stages[@]}"; do
    command_of "$stage" "$whole"
    started=$(date +%s%N)
    "${command[@]}" >"$work/log" 2>&1 || fail "undisturbed $stage"
    declare "took_$stage=$((($(date +%s%N) - started) / 1000000))"
done

declare -A done_to
finished=0
disturb() { # disturb STAGE: one attempt that something happens to
    local stage=$1 took="took_$1" ranks=$((RANDOM % 3 + 1)) what pids victim i
    command_of "$stage" "$out"
    before_attempt "$stage"
    launch $ranks
    for ((i = 0; i < 100; i++)); do # from their first sign of life on, anywhere in their work
        [ -z "$(ranks_of_job)" ] || break
        sleep 0.02
    done
    sleep "$(awk -v ms="${!took}" -v r="$RANDOM" 'BEGIN { printf "%.3f", r / 32768 * (ms / 1000 + 0.2) }')"
    mapfile -t pids < <(ranks_of_job)
    if [ ${#pids[@]} = 0 ]; then # it was faster: good, once more from the start
        wait "$job" 2>/dev/null || fail "$stage ended by itself with an error"
        compare "$stage"
        compare_said "$stage"
        undo "$stage"
        expected="" marks=""
        finished=$((finished + 1))
        return
    fi
    disturbed=$((disturbed + 1))
    victim=${pids[RANDOM % ${#pids[@]}]}
    case $((RANDOM % 8)) in
    0) what=launcher; kill -9 "$job" 2>/dev/null || true ;;
    1) what=term; kill -TERM "${pids[@]}" 2>/dev/null || true ;;
    2) if [ $ranks -gt 1 ]; then what=stop; kill -STOP "$victim" 2>/dev/null || true; else what="kill"; kill -9 "$victim" 2>/dev/null || true; fi ;;
    *) what="kill"; kill -9 "$victim" 2>/dev/null || true ;;
    esac
    gone "$what of $stage on $ranks ranks" "$victim"
    end_job
    # 143: it came before the program could take it
    [ $what != term ] || [ $code = 75 ] || [ $code = 0 ] || [ $code = 143 ] || fail "$stage: SIGTERM gave exit code $code"
    [ $what != term ] || what="term ($code)"
    done_to[$what]=$((${done_to[$what]:-0} + 1))
    compare_said "$stage"
    measure_loss "$stage" $ranks "$what"
}

refused() { # refused STAGE PATTERN: the command ends with 1 and one line that says why
    local code=0
    command_of "$1" "$out"
    timeout 60 "${command[@]}" >"$work/log" 2>&1 || code=$?
    [ $code = 1 ] || fail "$1: exit code $code instead of 1 ($2)"
    [ "$(grep -c 'error: ' "$work/log")" = 1 ] || fail "$1: not one message ($2)"
    grep -qi "$2" "$work/log" || fail "$1: no message about: $2"
}
starve() { # starve STAGE: no space, no write, no input
    if [ $mounted = yes ]; then
        head -c 100M /dev/zero >"$work/disk/ballast" 2>/dev/null || true
        refused "$1" 'no space'
        rm "$work/disk/ballast"
        mount -o remount,ro "$work/disk"
        refused "$1" 'read-only'
        mount -o remount,rw "$work/disk"
    fi
    if [ "$1" = encode ]; then
        mv "$work/input" "$work/away"
        refused encode "$work/input"
        mv "$work/away" "$work/input"
    elif [ "$1" != gen ]; then
        mv "$out/dataset.h5" "$out/away.h5"
        refused "$1" 'dataset.h5'
        mv "$out/away.h5" "$out/dataset.h5"
    fi
}

each=$(((kills + ${#stages[@]} - 1) / ${#stages[@]}))
for stage in "${stages[@]}"; do
    expected="" marks=""
    echo "$stage: $each disturbances (undisturbed: $(declare -n t=took_$stage; echo "$t") ms)"
    disturbed=0
    while [ $disturbed -lt $each ]; do
        disturb "$stage"
        if [ $disturbed = 1 ] && [ "${starved:-}" != "$stage" ]; then
            starve "$stage"
            starved=$stage
        fi
    done
    command_of "$stage" "$out"
    launch $((RANDOM % 3 + 1))
    end_job
    [ $code = 0 ] || fail "$stage: exit code $code when left alone"
    compare_said "$stage"
    compare "$stage"
done
find "$out" -name '*.part' -o -name 'parts' -o -name '*.lock' | grep . >&2 && fail "leftovers"
tell_losses
for what in "${!done_to[@]}"; do printf '%s %s, ' "${done_to[$what]}" "$what"; done
echo "$finished times finished before that; all results equal"
