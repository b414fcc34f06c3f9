#!/usr/bin/env bash
#SBATCH --job-name=nd-encode
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
#SBATCH --ntasks=2
# slurm/encode.sh CONFIG.yaml [key=value...]: captures -> dataset (ndencode) as a job.
#
# Started in a shell it submits itself with the sizes of slurm/env.sh (--dry-run: prints the line);
# `sbatch [options] slurm/encode.sh CONFIG.yaml ...` works too, with the options given there.
cd "${SLURM_SUBMIT_DIR:-.}" || exit
[ -f slurm/job.sh ] || { echo "error: start it from the project's root (slurm/job.sh is not below $PWD)" >&2; exit 2; }
# shellcheck source=slurm/job.sh
source slurm/job.sh
job_arguments encode "$@"
job_submit_unless_inside
job_open
job_run ndencode "$config" "${settings[@]}"
say "done"
