#!/bin/bash
# Stopped, killed and started over: a run that goes on ends with the bytes of one that was never stopped.
source "$(dirname "$0")/common.sh"
settings=(train.base.steps=600 train.checkpoint_every=50)
whole=$work/whole
model=model/transformer/diffusion_pytorch_model.safetensors
text=model/text_encoder/model.safetensors

same_as_whole() {
    cmp "$whole/$model" "$1/$model" || fail "$1: other weights"
    cmp "$whole/$text" "$1/$text" || fail "$1: other text encoder"
    diff <(losses "$whole/train/base") <(losses "$1/train/base") >/dev/null || fail "$1: other losses"
}

train "${settings[@]}" out="$whole"
[ "$(losses "$whole/train/base" | grep -c '"loss"')" -eq 600 ] || fail "not 600 steps"
# (The one before the last may be a few steps late: it waits until its forerunner is on disk.)
ls "$whole/train/base" | grep checkpoint | sort -t- -k2n | tr '\n' ' ' | grep -qx 'checkpoint-5[5-9][0-9] checkpoint-600 ' ||
    fail "not the newest two checkpoints"

# interrupt SIGNAL LINES CODE: start the run in $work/out, signal it when it has that many lines
interrupt() {
    local code=0
    "$ND_BIN/ndtrain" "$work/tiny.yaml" "${settings[@]}" 2>"$work/log" &
    local pid=$!
    wait_lines "$work/out/train/base/loss.jsonl" "$2"
    kill "-$1" "$pid"
    wait "$pid" || code=$?
    [ "$code" -eq "$3" ] || { cat "$work/log" >&2; fail "exit code $code instead of $3 after SIG$1"; }
}

interrupt TERM 20 75
ls "$work"/out/train/base/checkpoint-*/DONE >/dev/null || fail "stopped without a checkpoint"
[ ! -e "$work/out/model" ] || fail "stopped, but wrote a model"
interrupt USR1 150 75
interrupt KILL 300 137
train "${settings[@]}"
same_as_whole "$work/out"

# Finished: run again, nothing is done and nothing touched.
touch "$work/mark"
expect 0 'finished before, after 600 steps' train "${settings[@]}" quiet=no
[ -z "$(find "$work/out" -newer "$work/mark" -type f)" ] || fail "a finished run wrote files"

# The model was lost: it is written again from the last checkpoint, without a step.
rm -r "$work/out/model"
train "${settings[@]}"
same_as_whole "$work/out"

# Another configuration does not go on, and says why; asked to, it starts over.
expect 2 'train.batch = 8, this one has 4' train "${settings[@]}" train.batch=4
expect 2 'seed = 1, this one has 2' train "${settings[@]}" seed=2
expect 2 'model.width = 32, this one has 48' train "${settings[@]}" model.width=48
expect 2 'train.base.steps = 600, this one has 601' train "${settings[@]}" train.base.steps=601
expect 2 'data.holdout' train "${settings[@]}" data.holdout=day-2
train train.base.steps=3 train.resume=no
[ "$(losses "$work/out/train/base" | grep -c '"loss"')" -eq 3 ] || fail "train.resume=no did not start over"
