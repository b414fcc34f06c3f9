#!/usr/bin/env bash
#SBATCH --job-name=nd-generate
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
#SBATCH --ntasks=2
# slurm/generate.sh [--array N] CONFIG.yaml [key=value...]: model -> synthetic captures (ndgen) as a job.
#
# --array N spreads the flows over N jobs (an array), each of which makes its share (gen.shard=I/N); --join N then makes
# one set of captures of the shares (gen.shard=0/N). slurm/pipeline.sh --array N does both. To do lost shares again:
# sbatch --array=3,7 slurm/generate.sh --shards N CONFIG.yaml ...
# Started in a shell it submits itself with the sizes of slurm/env.sh (--dry-run: prints the line);
# `sbatch [options] slurm/generate.sh CONFIG.yaml ...` works too, with the options given there.
cd "${SLURM_SUBMIT_DIR:-.}" || exit
[ -f slurm/job.sh ] || { echo "error: start it from the project's root (slurm/job.sh is not below $PWD)" >&2; exit 2; }
# shellcheck source=slurm/job.sh
source slurm/job.sh
job_arguments generate "$@"
share=()
if [ -n "$array$join" ] && [ -z "${SLURM_JOB_ID:-}" ] && [ "$dry_run" != yes ]; then # before many jobs fail of it
    nd_setup && nd_command_of ndgen || exit 1
fi
job_submit_unless_inside
if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
    share=(gen.shard="$SLURM_ARRAY_TASK_ID/${shards:-$SLURM_ARRAY_TASK_MAX}")
elif [ -n "$join" ]; then
    share=(gen.shard="0/$join")
fi
job_open
job_run ndgen "$config" "${settings[@]}" "${share[@]}"
say "done"
