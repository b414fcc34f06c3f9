#!/bin/bash
# Attempts at one output: killed at any instant, at the same time, cut off and healed, with a disk that fails.
source "$(dirname "$0")/common.sh"
model=model/transformer/diffusion_pytorch_model.safetensors
settings=(train.base.steps=120 train.checkpoint_every=3 train.keep_checkpoints=2)
out=$work/out

train "${settings[@]}" out="$work/whole"

# Killed again and again, at instants spread over start, steps and writes: what is left always goes on.
RANDOM=7
kills=0 before=-1
for ((i = 0; i < 25; i++)); do
    code=0
    "$ND_BIN/ndtrain" "$work/tiny.yaml" "${settings[@]}" 2>"$work/log" &
    pid=$!
    sleep "0.$(printf %03d $((20 + RANDOM % 180)))"
    kill -KILL $pid 2>/dev/null || true
    wait $pid 2>/dev/null || code=$?
    [ $code -eq 0 ] && break
    [ $code -eq 137 ] || { cat "$work/log" >&2; fail "after $kills kills: exit code $code"; }
    kills=$((kills + 1))
    newest=$(ls -d "$out"/train/base/checkpoint-*/DONE 2>/dev/null | sed 's/.*checkpoint-\([0-9]*\).*/\1/' | sort -n | tail -1) || true
    [ "${newest:-0}" -ge "$before" ] || fail "after $kills kills the newest checkpoint is ${newest:-none}, it was $before"
    before=${newest:-0}
done
[ $kills -ge 3 ] || fail "only $kills kills before the end"
train "${settings[@]}"
cmp "$work/whole/$model" "$out/$model" || fail "after $kills kills: other weights"
diff <(losses "$work/whole/train/base") <(losses "$out/train/base") >/dev/null || fail "after $kills kills: other losses"
[ -z "$(find "$out/train" -name '*.part*' -o -name '*.lock*')" ] || fail "something was left: $(find "$out/train")"
echo "$kills kills"

# Two at a time: the second is refused, the first does not notice.
long=(train.base.steps=100000 train.checkpoint_every=20 out="$work/two")
"$ND_BIN/ndtrain" "$work/tiny.yaml" "${long[@]}" 2>"$work/first" &
pid=$!
wait_lines "$work/two/train/base/loss.jsonl" 30
expect 1 "process $pid on .* has been at work here since" train "${long[@]}"
expect 1 "process $pid on .* has been at work here since" train "${long[@]}" train.resume=no
kill -0 $pid || fail "the first attempt ended"
[ -d "$work/two/train/base" ] || fail "the second attempt removed the folder"

# Another experiment's folder.
kill -TERM $pid
wait $pid || true
expect 2 'that run had name = experiment, this one has other' train "${long[@]}" name=other

# Cut off and requeued: the later attempt takes over, the earlier one wakes up, sees it and leaves everything alone.
healed=(train.base.steps=300 train.checkpoint_every=5 out="$work/healed")
SLURM_JOB_ID=9 "$ND_BIN/ndtrain" "$work/tiny.yaml" "${healed[@]}" 2>"$work/first" &
pid=$!
wait_lines "$work/healed/train/base/loss.jsonl" 30
kill -STOP $pid
expect 0 "taken over from process $pid" env SLURM_JOB_ID=9 SLURM_RESTART_COUNT=1 "$ND_BIN/ndtrain" "$work/tiny.yaml" \
    "${healed[@]}" quiet=no
touch "$work/mark"
sleep 0.05
kill -CONT $pid
code=0
wait $pid || code=$?
[ $code -eq 1 ] || fail "the healed attempt ended with $code"
grep -q 'nothing more is written' "$work/first" || { cat "$work/first" >&2; fail "the healed attempt does not say why"; }
[ -z "$(find "$work/healed" -newer "$work/mark" -type f)" ] || fail "the healed attempt wrote: $(find "$work/healed" -newer "$work/mark")"

# A checkpoint that cannot be written ends the run, on all ranks, with one message.
launch=()
if command -v mpirun.openmpi >/dev/null; then
    launch=(mpirun.openmpi --oversubscribe --bind-to none -np 2)
fi
"${launch[@]}" "$ND_BIN/ndtrain" "$work/tiny.yaml" train.base.steps=100000 train.checkpoint_every=10 out="$work/bad" \
    2>"$work/first" &
ends_spoiled $! "$work/bad/train/base" "$work/first"
