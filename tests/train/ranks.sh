#!/bin/bash
# One rank with 2B samples and two ranks with B are the same training up to rounding, and ranks stop and fail together.
#
# Tolerance of a loss. A float sum of m terms is off by at most c sqrt(m) u times the sum of their sizes, u = 2^-24, but
# for a chance of 2 exp(-c^2 / 2) (Higham and Mary 2019); c = 5 here. At the first step the weights are equal, and a loss
# is the mean of m = B L C squares: off by 5 sqrt(m) u of itself. Later the weights differ as well. A weight's gradient
# sums over m = B L tokens; terms that cancel at random are sqrt(m) times larger than their sum, so it is off by 5 m u of
# its size. An AdamW step divides by that size: a weight moves away by at most rate * 5 m u a step, and the loss by the
# gradient times that, with sum |gradient| <= sqrt(P) * norm for P weights.
source "$(dirname "$0")/common.sh"
launch() {
    local n=$1
    shift
    mpirun.openmpi --oversubscribe --bind-to none -np "$n" "$@"
}
settings=("$work/tiny.yaml" train.base.steps=10 train.base.learning_rate=3e-3
    train.validate_every=5)

for n in 1 2 3 4; do
    launch $n "$ND_BIN/ndtrain" "${settings[@]}" out="$work/np$n"
    losses "$work/np$n/train/base" >"$work/np$n.txt"
done
weights=$("$ND_BIN/ndtrain" "${settings[@]}" out="$work/dry" --dry-run | sed -n 's/.*trained \([0-9]*\).*/\1/p')

# step, loss (of training or validation), gradient norm
numbers() {
    sed -n -e 's/.*"step": \([^,]*\), "loss": \([^,]*\), "gradient_norm": \([^,]*\),.*/\1 \2 \3/p' \
        -e 's/.*"step": \([^,]*\), "validation_loss": \([^,]*\),.*/\1 \2 0/p' "$1"
}

# compare FILE FILE: prints the largest difference of two losses in units of the tolerance
compare() {
    paste <(numbers "$1") <(numbers "$2") | awk -v P="$weights" '
        $1 != $4 { print "none"; exit }
        { d = $2 > $5 ? $2 - $5 : $5 - $2; u = 2 ^ -24; n = 8 * 8 * 293; norm = $3 > norm ? $3 : norm
          limit = 5 * sqrt(n) * u * $2 + ($1 - 1) * 3e-3 * 5 * 64 * u * sqrt(P) * norm
          worst = d / limit > worst ? d / limit : worst }
        END { if (NR != 12) print "none"; else printf "%.6f\n", worst }'
}
for n in 2 3 4; do
    worst=$(compare "$work/np1.txt" "$work/np$n.txt")
    echo "$n ranks: largest difference $worst of the tolerance"
    awk -v w="$worst" 'BEGIN { exit !(w != "none" && w <= 1) }' || fail "$n ranks: losses differ by $worst tolerances"
done
# The tolerance can be missed: another seed does, and so does a learning rate that is one percent off.
for change in seed=2 train.base.learning_rate=3.03e-3; do
    "$ND_BIN/ndtrain" "${settings[@]}" out="$work/other-$change" $change
    losses "$work/other-$change/train/base" >"$work/other.txt"
    worst=$(compare "$work/np1.txt" "$work/other.txt")
    echo "$change: largest difference $worst of the tolerance"
    awk -v w="$worst" 'BEGIN { exit !(w > 1) }' || fail "$change is within the tolerance ($worst)"
done

# The same number of ranks gives the same bytes.
launch 3 "$ND_BIN/ndtrain" "${settings[@]}" out="$work/again"
cmp "$work/np3/model/transformer/diffusion_pytorch_model.safetensors" \
    "$work/again/model/transformer/diffusion_pytorch_model.safetensors" || fail "three ranks twice: other weights"

# Other modes run on several ranks.
for mode in control lora; do
    launch 2 "$ND_BIN/ndtrain" "${settings[@]}" out="$work/np2" train.mode=$mode train.$mode.steps=4 \
        train.lora.labels=web
done
[ -s "$work/np2/model/lora/pytorch_lora_weights.safetensors" ] || fail "no LoRA from two ranks"

# Errors end all ranks with the code and one message.
expect 2 'cannot be shared by 4 ranks' launch 4 "$ND_BIN/ndtrain" "${settings[@]}" train.batch=3 out="$work/x"
expect 1 'none.h5' launch 2 "$ND_BIN/ndtrain" "${settings[@]}" data.dataset="$work/none.h5" out="$work/x"
[ "$(grep -c 'none.h5' "$work/log")" -eq 1 ] || fail "the error was not printed once"

# A signal that one rank alone sees stops all; another number of ranks goes on from there.
long=("$work/tiny.yaml" train.base.steps=600 train.checkpoint_every=100 out="$work/long")
code=0
launch 2 bash -c 'echo $$ >"$0/rank-$OMPI_COMM_WORLD_RANK"; exec "$@"' "$work" "$ND_BIN/ndtrain" "${long[@]}" &
pid=$!
wait_lines "$work/long/train/base/loss.jsonl" 20
kill -USR1 "$(cat "$work/rank-1")"
wait $pid || code=$?
[ $code -eq 75 ] || fail "exit code $code instead of 75 after SIGUSR1 to rank 1"
launch 2 "$ND_BIN/ndtrain" "${long[@]}"
launch 2 "$ND_BIN/ndtrain" "${long[@]}" out="$work/straight"
cmp "$work/long/model/transformer/diffusion_pytorch_model.safetensors" \
    "$work/straight/model/transformer/diffusion_pytorch_model.safetensors" || fail "resumed on two ranks: other weights"

# A rank that stands still ends the job on all, with the step and its name.
launch 3 bash -c 'echo $$ >"$0/rank-$OMPI_COMM_WORLD_RANK"; exec "$@"' "$work" "$ND_BIN/ndtrain" "$work/tiny.yaml" \
    train.base.steps=100000 comm.timeout=1 out="$work/stuck" 2>"$work/log" &
pid=$!
wait_lines "$work/stuck/train/base/loss.jsonl" 20
kill -STOP "$(cat "$work/rank-2")"
code=0
wait $pid || code=$?
[ $code -eq 1 ] && [ "$(grep -c 'error: rank 0 on .*: step [0-9]*: .*; not there: rank 2 on .*no sign of life' "$work/log")" -eq 1 ] ||
    { cat "$work/log" >&2; fail "a rank that stands still: exit code $code"; }
