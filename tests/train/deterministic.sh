#!/bin/bash
# train.deterministic: the bytes do not depend on the number of ranks, nor on where and how often the run was stopped.
source "$(dirname "$0")/common.sh"
launch() {
    local n=$1
    shift
    mpirun.openmpi --oversubscribe --bind-to none -np "$n" "$@"
}
settings=("$work/tiny.yaml" train.deterministic=yes train.batch=10 train.slice=2 train.base.steps=40
    train.validate_every=20 train.checkpoint_every=25 train.patience=3)
model=model/transformer/diffusion_pytorch_model.safetensors
text=model/text_encoder/model.safetensors

same_as_one() {
    cmp "$work/np1/$model" "$1/$model" || fail "$1: other weights"
    cmp "$work/np1/$text" "$1/$text" || fail "$1: other text encoder"
    diff <(losses "$work/np1/train/base") <(losses "$1/train/base") >/dev/null || fail "$1: other losses"
}

for n in 1 2 3 4; do
    launch $n "$ND_BIN/ndtrain" "${settings[@]}" out="$work/np$n"
    same_as_one "$work/np$n"
done
[ "$(losses "$work/np1/train/base" | grep -c validation_loss)" -eq 2 ] || fail "not two validations"
# The plain sum does differ, or this test would prove nothing.
launch 3 "$ND_BIN/ndtrain" "${settings[@]}" train.deterministic=no out="$work/plain"
cmp -s "$work/np1/$model" "$work/plain/$model" && fail "the plain sum of three ranks gives the same bytes"

# Stopped three times, and gone on with other numbers of ranks.
stop_after() {
    local ranks=$1 lines=$2 code=0 pid
    launch "$ranks" bash -c 'echo $$ >"$0/rank-$OMPI_COMM_WORLD_RANK"; exec "$@"' "$work" "$ND_BIN/ndtrain" \
        "${settings[@]}" train.base.steps=220 train.patience=0 out="$work/stopped" &
    pid=$!
    wait_lines "$work/stopped/train/base/loss.jsonl" "$lines"
    kill -USR1 "$(cat "$work/rank-0")"
    wait $pid || code=$?
    [ $code -eq 75 ] || fail "exit code $code instead of 75"
}
stop_after 3 15
stop_after 1 70
stop_after 4 130
launch 2 "$ND_BIN/ndtrain" "${settings[@]}" train.base.steps=220 train.patience=0 out="$work/stopped"
launch 1 "$ND_BIN/ndtrain" "${settings[@]}" train.base.steps=220 train.patience=0 out="$work/straight"
cmp "$work/straight/$model" "$work/stopped/$model" || fail "stopped three times: other weights"
diff <(losses "$work/straight/train/base") <(losses "$work/stopped/train/base") >/dev/null || fail "stopped: other losses"

# The other modes.
for mode in control lora; do
    for n in 1 3; do
        launch $n "$ND_BIN/ndtrain" "${settings[@]}" out="$work/np$n" train.mode=$mode train.$mode.steps=6 \
            train.validate_every=3 train.lora.labels=web
    done
done
for file in controlnet/diffusion_pytorch_model.safetensors lora/pytorch_lora_weights.safetensors; do
    cmp "$work/np1/model/$file" "$work/np3/model/$file" || fail "$file depends on the number of ranks"
done

# A rank that has failed before a step takes part in its sums, and then all end with the message.
launch 3 "$ND_BIN/ndtrain" "${settings[@]}" train.base.steps=100000 train.patience=0 train.checkpoint_every=10 \
    out="$work/bad" 2>"$work/log" &
ends_spoiled $! "$work/bad/train/base" "$work/log"

# What cannot be, and what must stay as it was.
expect 2 'not a multiple of train.slice' train train.deterministic=yes train.batch=10 train.slice=4
expect 2 '5 slices of 2 flows (train.slice) cannot be shared by 6 ranks' launch 6 "$ND_BIN/ndtrain" "${settings[@]}" out="$work/x"
expect 2 'threads = 1, this one has 2' train "${settings[@]:1}" out="$work/np1" threads=2
expect 2 'train.slice = 2, this one has 5' train "${settings[@]:1}" out="$work/np1" train.slice=5
expect 2 'train.deterministic = yes, this one has no' train "${settings[@]:1}" out="$work/np1" train.deterministic=no
