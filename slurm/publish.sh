#!/usr/bin/env bash
#SBATCH --job-name=nd-publish
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
#SBATCH --ntasks=1
# slurm/publish.sh CONFIG.yaml [key=value...]: a bundle that others can cite and verify (ndpublish) as a job.
#
# Started in a shell it submits itself with the sizes of slurm/env.sh (--dry-run: prints the line);
# `sbatch [options] slurm/publish.sh CONFIG.yaml ...` works too, with the options given there.
cd "${SLURM_SUBMIT_DIR:-.}" || exit
[ -f slurm/job.sh ] || { echo "error: start it from the project's root (slurm/job.sh is not below $PWD)" >&2; exit 2; }
# shellcheck source=slurm/job.sh
source slurm/job.sh
job_arguments publish "$@"
if [ -z "$ND_CONTAINER" ] && [ ! -x "$ND_BIN/ndpublish" ]; then
    die "publishing waits for the program ndpublish, which is not in $ND_BIN yet"
fi
job_submit_unless_inside
job_open
job_run ndpublish "$config" "${settings[@]}"
say "done"
