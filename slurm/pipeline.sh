#!/usr/bin/env bash
# slurm/pipeline.sh [--dry-run] [--from STAGE] [--array N] CONFIG.yaml [key=value...]: all stages, each after the last.
#
# encode, finetune, generate, evaluate, and publish where the program ndpublish is there. A stage starts when the one
# before it has succeeded (afterok); a stage that can never start is taken out of the queue. --from STAGE begins there.
# --array N generates in N jobs at once and joins their shares. --dry-run prints the sbatch lines.
[ -f slurm/job.sh ] || { echo "error: start it from the project's root (slurm/job.sh is not below $PWD)" >&2; exit 2; }
# shellcheck source=slurm/job.sh
source slurm/job.sh
job_arguments pipeline "$@"
stages=(encode finetune generate evaluate)
if [ -x "$ND_BIN/ndpublish" ] || [ "$from" = publish ]; then
    stages+=(publish)
fi
[ -z "$from" ] || [[ " ${stages[*]} " == *" $from "* ]] || usage "--from $from: the stages are ${stages[*]}"
[ "$dry_run" = yes ] || command -v sbatch >/dev/null || die "no sbatch here; without Slurm the programs run under mpirun (README.md)"
if [ -n "$array" ] && [ "$dry_run" != yes ]; then
    nd_setup && nd_command_of ndgen || exit 1
fi

before='' # id of the job that the next one waits for
submit() { # NAME STAGE "sbatch options" "script options"
    local name=$1 options=() words=()
    [ -z "$before" ] || options+=(--dependency="afterok:$before" --kill-on-invalid-dep=yes)
    # The words of $3 and $4 are the caller's own.
    # shellcheck disable=SC2206
    options+=($3) words=($4)
    sbatch_line "$2" "${options[@]}"
    line+=("${words[@]}" "$config")
    for setting in "${settings[@]}"; do # train.mode may be a list, which slurm/finetune.sh alone understands
        if [ "$2" = finetune ] || [[ $setting != train.mode=* ]]; then line+=("$setting"); fi
    done
    if [ "$dry_run" = yes ]; then
        before=\$$name
        echo "$name=\$($(say_words '$' "${line[@]}"))" # no quotes that would keep a shell from filling in a job's number
        return
    fi
    before=$("${line[@]}") || die "$name was not submitted; the stages before it were"
    before=${before%%;*} # a federation appends its cluster's name
    echo "$name: job $before"
}

for stage in "${stages[@]}"; do
    if [ -n "$from" ] && [ "$stage" != "$from" ]; then continue; fi
    from=''
    if [ "$stage" = generate ] && [ -n "$array" ]; then
        submit generate generate "--array=1-$array" "--shards $array"
        submit join generate "--job-name=nd-join" "--join $array"
    else
        submit "$stage" "$stage" "" ""
    fi
done
[[ " ${stages[*]} " == *" publish "* ]] || echo "publish: left out, there is no program ndpublish yet" >&2
