#!/usr/bin/env bash
#SBATCH --job-name=nd-finetune
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
#SBATCH --ntasks=2
# slurm/finetune.sh CONFIG.yaml [key=value...]: dataset -> model (ndtrain) as a job: base, ControlNet and LoRA in this order.
#
# train.mode=lora trains that one only, train.mode=control,lora these (for a base that is there already). The LoRA is left
# out where the configuration names no labels for it. Stopped at its time limit or for another job, it goes on by itself.
# Started in a shell it submits itself with the sizes of slurm/env.sh (--dry-run: prints the line);
# `sbatch [options] slurm/finetune.sh CONFIG.yaml ...` works too, with the options given there.
cd "${SLURM_SUBMIT_DIR:-.}" || exit
[ -f slurm/job.sh ] || { echo "error: start it from the project's root (slurm/job.sh is not below $PWD)" >&2; exit 2; }
# shellcheck source=slurm/job.sh
source slurm/job.sh
job_arguments finetune "$@"
job_submit_unless_inside
modes=() keys=()
for setting in "${settings[@]}"; do
    case $setting in
    train.mode=*) IFS=, read -ra modes <<<"${setting#train.mode=}" ;;
    *) keys+=("$setting") ;;
    esac
done
asked=${modes[*]}
[ -n "$asked" ] || modes=(base control lora)

# Whether the configuration has labels for a LoRA: the program itself is asked, now that there is a base.
lora_wanted() {
    local answer
    nd_command_of ndtrain || exit 1
    answer=$("${nd_command[@]}" "$config" "${keys[@]}" train.mode=lora --dry-run 2>&1) ||
        ! grep -q 'train.lora.labels and train.base.exclude are empty' <<<"$answer"
}

job_open
for mode in "${modes[@]}"; do
    if [ "$mode" = lora ] && [ -z "$asked" ] && ! lora_wanted; then
        say "no labels for a LoRA in $config (train.lora.labels, train.base.exclude): left out"
        continue
    fi
    say "train.mode=$mode"
    job_run ndtrain "$config" "${keys[@]}" train.mode="$mode"
done
say "done"
