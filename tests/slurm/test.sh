#!/usr/bin/env bash
# tests/slurm/test.sh [--short]: the job scripts on real Slurm daemons (lab.sh), two nodes of two cores each.
#
# Whatever way a stage runs, stopped and requeued or not, its files must equal those of a run without Slurm. Two minutes
# at most in the short form, six in the long one. Exit 77: skipped, with a reason. Environment: ND_SOURCE, ND_BIN.
here=$(cd "$(dirname "$0")" && pwd)
: "${ND_SOURCE:=$here/../..}" "${ND_BIN:=build/release/bin}"
# shellcheck source=tests/slurm/tiny.sh
source "$here/tiny.sh"
form=${1:-}
work=$(mktemp -d)
config=$work/tiny.yaml
lab=$here/lab.sh
end() {
    local code=$?
    trap '' INT TERM
    "$lab" stop "$work/lab"
    if [ "$bad" != 0 ] || { [ $code != 0 ] && [ $code != 77 ]; }; then
        tail -n 40 "$work"/logs/* "$work/local.log" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap end EXIT
trap 'exit 143' TERM INT

command -v tshark >/dev/null || skip "no tshark"
"$lab" start "$work/lab" 2 2>"$work/skip" || { code=$?; cat "$work/skip"; exit $code; }
export SLURM_CONF=$work/lab/slurm.conf
tiny_config "$config"
local_run "$work/local"

# Site facts of this "cluster". Both nodes are this machine: shared memory files of two nodes would collide.
export ND_BIN=$bin ND_MPIRUN=mpirun.openmpi ND_BTL=self,tcp ND_INTERFACE=lo ND_LOGS=$work/logs ND_ATTEMPT_SECONDS=1
export ND_SIZE_ENCODE="2 1 1 5" ND_SIZE_FINETUNE="2 1 1 5" ND_SIZE_GENERATE="2 1 1 5" ND_SIZE_EVALUATE="1 2 1 5"
# what mpirun itself was told for this machine does not hold for the emulated nodes
unset OMPI_MCA_btl

job_state() { scontrol show job "$1" -o | sed -n 's/.*JobState=\([A-Z]*\).*/\1/p'; }
job_restarts() { scontrol show job "$1" -o | sed -n 's/.*Restarts=\([0-9]*\).*/\1/p'; }
both_completed() { is "$1" COMPLETED && is "$2" COMPLETED; }
is() { [ "$(job_state "$1")" = "$2" ]; }
ended() { [[ $(job_state "$1") =~ COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL ]]; }
log_has() { has "$2" "$work/logs/"*"-$1.log"; } # JOB PATTERN
job_id() { sed -n "s/^$1: job \([0-9]*\).*/\1/p"; }
submit() { # SCRIPT ARGUMENT...: prints the job's id
    "slurm/$1.sh" "$config" "${@:2}" | job_id "$1"
}
steps_of() { echo "$1/train/base/loss.jsonl"; } # OUT

# --- the pipeline: what it would submit, then the same for real, with its training stopped half-way
if [ ! -x "$bin/ndpublish" ]; then
    cat >"$work/want" <<LINES
encode=\$(sbatch --parsable --nodes=2 --ntasks=2 --ntasks-per-node=1 --cpus-per-task=1 --time=5 --output=$work/logs/%x-%j.log slurm/encode.sh $config out=$work/out)
finetune=\$(sbatch --parsable --nodes=2 --ntasks=2 --ntasks-per-node=1 --cpus-per-task=1 --time=5 --gres=gpu:1 --output=$work/logs/%x-%j.log --dependency=afterok:\$encode --kill-on-invalid-dep=yes slurm/finetune.sh $config out=$work/out)
generate=\$(sbatch --parsable --nodes=2 --ntasks=2 --ntasks-per-node=1 --cpus-per-task=1 --time=5 --gres=gpu:1 --output=$work/logs/%x-%j.log --dependency=afterok:\$finetune --kill-on-invalid-dep=yes slurm/generate.sh $config out=$work/out)
evaluate=\$(sbatch --parsable --nodes=1 --ntasks=2 --ntasks-per-node=2 --cpus-per-task=1 --time=5 --output=$work/logs/%x-%j.log --dependency=afterok:\$generate --kill-on-invalid-dep=yes slurm/evaluate.sh $config out=$work/out)
LINES
    ND_GRES=gpu:1 slurm/pipeline.sh --dry-run "$config" out="$work/out" >"$work/got" 2>/dev/null
    check "pipeline.sh --dry-run prints the sbatch lines" diff "$work/want" "$work/got"
    check "--dry-run submits nothing" [ -z "$(squeue -h)" ]
fi
slurm/pipeline.sh "$config" out="$work/out" >"$work/ids" 2>/dev/null
finetune=$(job_id finetune <"$work/ids") evaluate=$(job_id evaluate <"$work/ids")
wait_for 30 lines "$(steps_of "$work/out")" 100 || fail "the pipeline's training never came to step 100"
scancel --signal=USR1 --batch "$finetune"
if wait_for 30 has 'exit code 75; queueing' "$work/logs/nd-finetune-$finetune.log"; then
    steps=$(wc -l <"$(steps_of "$work/out")")
    check "SIGUSR1 to the batch script stops training with a checkpoint (after $steps steps)" [ "$steps" -lt 1200 ]
else
    fail "training went on after SIGUSR1"
fi
check "the job is queued again and ends well" wait_for 30 is "$finetune" COMPLETED
check "it was started twice" [ "$(job_restarts "$finetune")" = 1 ]
check "the stages after it wait for that, and run" wait_for 30 is "$evaluate" COMPLETED
check "dataset: the bytes of a run without Slurm" same "$work/local" "$work/out" "${encoded[@]}"
check "weights: the same, though stopped" same "$work/local" "$work/out" "${trained[@]}"
check "captures and datasets: the same" same "$work/local" "$work/out" "${generated[@]}"
check "tshark reads the capture" readable "$work/out/generated/all.pcap" "$work/out/generated/flows.csv"
check "the report is there" [ -s "$work/out/report.json" ]

# --- generation as an array of three jobs: one loses its rank, is submitted again alone, and then the shares are joined
out=$work/array
# shellcheck disable=SC2054 # commas of the setting
many=(gen.flows=dns:36,web:36,api:24 gen.steps=100 quiet=no)
timeout -k 5 300 mpirun.openmpi --bind-to none -np 2 --mca btl self,vader "$bin/ndgen" "$config" out="$work/local" \
    gen.dir="$work/one/generated" "${many[@]}" >>"$work/local.log" 2>&1
mkdir -p "$out" && cp -r "$work/local/dataset.h5" "$work/local/model" "$out/"
array=$(ND_SIZE_GENERATE="1 1 1 5" slurm/generate.sh --array 3 "$config" out="$out" "${many[@]}" | job_id generate)
rank_of_share() { pgrep -f "^$bin/ndgen .*out=$out .*gen.shard=$1/3"; }
has_a_record() { [ -s "$(compgen -G "$out/generated/parts/items-*-$(rank_of_share "$1")-*")" ]; } # SHARE
wait_for 30 has_a_record 2 || fail "share 2 never finished a batch"
kill -9 "$(rank_of_share 2)" || fail "share 2 was over before its rank could be killed"
check "array: the task that lost its rank fails" wait_for 30 is "${array}_2" FAILED
check "array: the others end well" wait_for 30 both_completed "${array}_1" "${array}_3"
job=$(sbatch --parsable --array=2 -N1 -n1 -o "$work/logs/%x-%A_%a.log" slurm/generate.sh --shards 3 "$config" out="$out" "${many[@]}")
check "array: that task alone, submitted again, ends well" wait_for 30 is "${job}_2" COMPLETED
check "array: it goes on with the batches that are there" log_has "${job}_2" '[1-9][0-9]* of 8 batches are there already'
job=$(ND_SIZE_GENERATE="1 1 1 5" slurm/generate.sh --join 3 "$config" out="$out" "${many[@]}" | job_id generate)
check "array: the shares are joined" wait_for 30 is "$job" COMPLETED
check "array: nothing is made again for that" log_has "$job" '24 of 24 batches are there already'
check "array: the bytes of one run" same "$work/one" "$out" "${generated[@]}"

# --- scancel: the checkpoint is kept, the job does not come back, the stage goes on when submitted again
mkdir -p "$work/cancel" && cp "$work/local/dataset.h5" "$work/cancel/"
job=$(submit finetune out="$work/cancel" train.mode=base)
wait_for 30 lines "$(steps_of "$work/cancel")" 100 || fail "the training to be cancelled never came to step 100"
scancel "$job"
wait_for 30 is "$job" CANCELLED || fail "job $job is $(job_state "$job") after scancel"
sleep 2
check "scancel: the job stays cancelled" [ "$(job_state "$job") $(job_restarts "$job")" = "CANCELLED 0" ]
if [ "$form" = --short ]; then
    check "nothing of the test is left in the queue" [ -z "$(squeue -h)" ]
else
    # shellcheck source=tests/slurm/long.sh
    source "$here/long.sh"
fi
"$lab" stop "$work/lab"
check "no daemon and no rank is left" [ -z "$("$lab" left "$work/lab")" ]
finish
