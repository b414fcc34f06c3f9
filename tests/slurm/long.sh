# shellcheck shell=bash disable=SC2154
# The long form of test.sh, sourced by it: the ways in which a job is interrupted, refused or wrongly set up.

fresh() { # NAME: an OUT with the dataset only; prints it
    mkdir -p "$work/$1"
    cp "$work/local/dataset.h5" "$work/$1/"
    echo "$work/$1"
}
under_way() { wait_for 40 lines "$(steps_of "$1")" "${2:-100}" || fail "$1: training never came to step ${2:-100}"; }

# --- encoding is stopped by a notice and goes on; its ranks are held in the middle until the notice has come to them
mkdir "$work/captures"
for i in {01..12}; do cp data/sample/run1.pcap.gz "$work/captures/$i.pcap.gz"; done # links would be one capture
twelve=(data.captures="$work/captures" data.labels= encode.memory=1M)
"$bin/ndencode" "$config" out="$work/undisturbed" "${twelve[@]}" >>"$work/local.log"
out=$work/notified
ranks_of() { pgrep -f "^$bin/$1 .*out=$out( |$)"; } # PROGRAM
hold_encoding() { # once a capture is done
    compgen -G "$out/dataset.parts/*.pass" && ranks_of ndencode | xargs kill -STOP
}
job=$(submit encode out="$out" "${twelve[@]}")
wait_for 30 hold_encoding || fail "encoding never finished a capture"
scancel --signal=USR1 --batch "$job"
wait_for 10 log_has "$job" 'got SIGUSR1' || fail "the notice never came"
sleep 1
ranks_of ndencode | xargs kill -CONT
check "SIGUSR1 stops encoding; the job is queued again" wait_for 30 log_has "$job" 'ndencode: exit code 75; queueing'
check "and ends well" wait_for 30 is "$job" COMPLETED
check "after one restart" [ "$(job_restarts "$job")" = 1 ]
check "dataset: the same" same "$work/undisturbed" "$out" "${encoded[@]}"

# --- scancelled above: submitted again, it goes on
job=$(submit finetune out="$work/cancel")
check "a cancelled stage goes on when submitted again" wait_for 40 is "$job" COMPLETED
check "weights: the same" same "$work/local" "$work/cancel" "${trained[@]}"

# --- mpirun in place of srun
out=$(fresh mpirun)
job=$(ND_LAUNCHER=mpirun submit finetune out="$out")
under_way "$out"
scancel --signal=USR1 --batch "$job"
check "mpirun: SIGUSR1 leads to a requeue" wait_for 30 log_has "$job" 'exit code 75; queueing'
check "mpirun: the job ends well" wait_for 40 is "$job" COMPLETED
check "mpirun: weights are the same" same "$work/local" "$out" "${trained[@]}"

# --- preemption by a partition of higher priority
out=$(fresh preempted)
job=$(submit finetune out="$out")
under_way "$out"
urgent=$(sbatch --parsable -p urgent -N2 --exclusive -o /dev/null --wrap 'sleep 1')
check "preemption: the training stops for the other job" wait_for 40 log_has "$job" 'queueing job .* again'
check "preemption: the other job runs" wait_for 40 is "$urgent" COMPLETED
check "preemption: the training ends well afterwards" wait_for 40 is "$job" COMPLETED
check "preemption: weights are the same" same "$work/local" "$out" "${trained[@]}"

# --- a rank dies: the others do not wait for it; submitted again, the stage goes on from the last checkpoint
out=$(fresh killed)
job=$(submit finetune out="$out" train.mode=base)
under_way "$out" 150
kill -9 "$(pgrep -n -f "^$bin/ndtrain .*out=$out")"
check "kill -9 of a rank ends the job" wait_for 40 is "$job" FAILED
job=$(submit finetune out="$out")
check "after a killed rank: it goes on" wait_for 40 is "$job" COMPLETED
check "after a killed rank: weights are the same" same "$work/local" "$out" "${trained[@]}"

# --- a rank that does not leave when the others have: srun ends it, and the job
cat >"$work/linger" <<'RANK'
#!/bin/sh
[ "$SLURM_PROCID" = 0 ] || exec sleep 600
RANK
chmod +x "$work/linger"
job=$(SLURM_WAIT=2 ND_BIN=$work sbatch --parsable -N2 -n2 -o /dev/null --wrap 'exec slurm/launch.sh linger')
check "a rank that stays behind is ended, and the job fails" wait_for 20 is "$job" FAILED

# --- attempts. A node that is lost and comes back brings its old attempt with it; to that one the new attempt looks like
# a later claim on OUT.
out=$(fresh attempts)
long=(out="$out" train.mode=base train.base.steps=1000000)
job=$(submit finetune "${long[@]}")
under_way "$out"
other=$(submit finetune "${long[@]}")
check "a second job on the same OUT is refused" wait_for 30 is "$other" FAILED
check "and told why" log_has "$other" "job $job is at work on the finetune stage"
check "the first one's claim stands" has "^$job 0 " "$out/.attempt-finetune"
echo "$job 7 elsewhere" >"$out/.attempt-finetune"
check "a replaced attempt ends" wait_for 30 is "$job" FAILED
check "and says why" log_has "$job" 'a later attempt owns'
check "its ranks are gone" wait_for 10 sh -c "! pgrep -f '[/]ndtrain .*out=$out'"
job=$(ND_OPTIONS=--hold submit finetune "${long[@]}")
echo "$job 7 elsewhere" >"$out/.attempt-finetune"
scontrol release "$job"
check "an attempt that is late does not start" wait_for 30 is "$job" FAILED
check "and leaves the claim alone" has "^$job 7 elsewhere" "$out/.attempt-finetune"

# --- a node that Slurm loses while its ranks go on (here: only its daemon is gone), and that comes back late
out=$(fresh lost)
in_order() { # loss.jsonl has every step once
    sed -n 's/^{"step": \([0-9]*\), "loss".*/\1/p' "$1" | awk '$1 != NR { exit 1 } END { exit NR < 200 }'
}
job=$(ND_SIZE_FINETUNE="1 2 1 10" submit finetune out="$out" train.mode=base train.base.steps=1000000)
under_way "$out"
node=$(scontrol show job "$job" -o | sed -n 's/.* NodeList=\(n[0-9]\).*/\1/p')
old=$(pgrep -f "/ndtrain .*out=$out" | tr '\n' ' ')
kill -9 "$(cat "$work/lab/run/slurmd-$node.pid")"
check "a lost node: the job is queued again by Slurm" wait_for 40 has "^$job 1 " "$out/.attempt-finetune"
# shellcheck disable=SC2086
check "a lost node: the ranks that live on there end themselves" wait_for 15 sh -c "! kill -0 $old"
slurmd -f "$SLURM_CONF" -N "$node"
check "a lost node: Slurm takes it back" wait_for 30 sh -c "sinfo -h -n $node -o %T | grep -qE 'idle|allocated|mixed'"
sleep 8 # Slurm may end the new attempt's step for the old one's; the job then comes back once more
steps=$(wc -l <"$(steps_of "$out")")
check "a lost node: training goes on after it came back" wait_for 40 lines "$(steps_of "$out")" $((steps + 300))
check "a lost node: no step is missing or done twice" in_order "$(steps_of "$out")"
scancel "$job"
wait_for 30 is "$job" CANCELLED || fail "job $job is $(job_state "$job") after scancel"

# --- a stage that fails takes those after it out of the queue
slurm/pipeline.sh "$config" out="$work/broken" data.captures="$work/nosuch.pcap" >"$work/ids" 2>/dev/null
job=$(job_id evaluate <"$work/ids")
check "after a failed stage the others are cancelled" wait_for 30 is "$job" CANCELLED
check "the failed one says why" log_has "$(job_id encode <"$work/ids")" 'nosuch.pcap'

# --- bare sbatch, GPUs, a configuration without labels for a LoRA
out=$(fresh bare)
job=$(sbatch --parsable -N1 -n2 --gres=gpu:1 -o "$work/logs/%x-%j.log" slurm/finetune.sh "$config" out="$out" train.base.steps=50 train.base.exclude=)
check "bare sbatch: the job ends well" wait_for 40 is "$job" COMPLETED
check "without labels for a LoRA there is none" log_has "$job" 'no labels for a LoRA'
check "the GPUs that were asked for" sh -c "scontrol show job $job -o | grep -q 'gres:gpu:1'"

# --- a task of an array comes back alone
cp -r "$(fresh task-1)" "$work/task-2"
# shellcheck disable=SC2016
array=$(sbatch --parsable --array=1-2 -n1 --requeue --open-mode=append -o "$work/logs/array-%a.log" \
    --wrap "exec slurm/finetune.sh '$config' out='$work/task-'\$SLURM_ARRAY_TASK_ID train.mode=base")
under_way "$work/task-1" 50
under_way "$work/task-2" 50
# (the number of one of the tasks is that of the whole array)
scancel --signal=USR1 --batch "${array}_1"
check "a stopped task of an array ends well" wait_for 40 is "${array}_1" COMPLETED
check "after one restart" [ "$(job_restarts "${array}_1")" = 1 ]
check "the other task was left alone" sh -c "! grep -q queueing '$work/logs/array-2.log'"
check "and ends well" wait_for 40 is "${array}_2" COMPLETED

# --- the same through pipeline.sh
out=$work/shares
mkdir -p "$out" && cp -r "$work/local/dataset.h5" "$work/local/model" "$out/"
ND_SIZE_GENERATE="1 1 1 5" slurm/pipeline.sh --from generate --array 3 "$config" out="$out" >"$work/ids" 2>/dev/null
check "pipeline.sh --array: shares, join and report end well" wait_for 40 is "$(job_id evaluate <"$work/ids")" COMPLETED
check "pipeline.sh --array: the bytes of one run" same "$work/local" "$out" "${generated[@]}"

# --- what is missing is said, before anything is submitted or started
refused() { # PATTERN VARIABLE=VALUE... COMMAND: exit 1 or 2 and a line with the pattern
    local pattern=$1
    shift
    ! env "$@" >"$work/said" 2>&1 && grep -q -- "$pattern" "$work/said"
}
[ -x "$bin/ndpublish" ] || check "publish.sh waits for its program" refused 'waits for the program ndpublish' slurm/publish.sh "$config"
check "programs that are not there" refused 'no program .*/ndtrain: build it' ND_BIN="$work" slurm/launch.sh ndtrain
check "an MPI plugin that is not there" refused "no MPI plugin 'nosuch'" ND_SRUN_MPI=nosuch slurm/launch.sh ndtrain
check "a launcher that is not there" refused 'no nosuch in PATH' ND_LAUNCHER=mpirun ND_MPIRUN=nosuch slurm/launch.sh ndtrain
check "a size of too few words" refused 'needs four words' ND_SIZE_ENCODE="1 2" slurm/encode.sh "$config"
check "a configuration that is not there" refused 'no configuration' slurm/encode.sh "$work/nosuch.yaml"
check "a stage that is not there" refused 'the stages are' slurm/pipeline.sh --from nosuch "$config"
# --- programs from a module (the file of docs/cluster.md), where they can be had from nowhere else
init=/usr/share/modules/init/bash
if [ -f $init ]; then
    mkdir -p "$work/modulefiles/nd"
    # shellcheck disable=SC2016
    sed -n '/^#%Module/,/^```/{/^```/d; p}' docs/cluster.md | sed "s|/opt/nd/bin|$bin|" >"$work/modulefiles/nd/1.0"
    check "docs/cluster.md has a module file" has "setenv *ND_BIN *$bin" "$work/modulefiles/nd/1.0"
    job=$(env -u ND_BIN ND_INIT=$init ND_MODULES=nd/1.0 MODULEPATH="$work/modulefiles" \
        slurm/encode.sh "$config" out="$work/module" | job_id encode)
    check "a module: the job ends well" wait_for 30 is "$job" COMPLETED
    check "a module: the dataset is the same" same "$work/local" "$work/module" "${encoded[@]}"
    job=$(ND_INIT=$init ND_MODULES=nosuch submit encode out="$work/module")
    check "a module that is not there" wait_for 30 is "$job" FAILED
    check "and the log says which" log_has "$job" 'ND_MODULES="nosuch" in slurm/env.sh cannot be loaded'
else
    echo "skipped: modules, no $init (Debian: environment-modules)"
fi
job=$(ND_MODULES=nosuch submit encode out="$work/module")
check "modules without a module command" wait_for 30 is "$job" FAILED
check "and the log says where to name it" log_has "$job" 'ND_INIT in slurm/env.sh'
check "nothing of the test is left in the queue" [ -z "$(squeue -h)" ]
