# shellcheck shell=bash
# Everything that depends on the site, and nothing else. Sourced by every script of this folder.
#
# Edit the defaults, or set the same names in the environment (what is set there wins). Empty means: do not ask for it,
# the site's default holds. docs/cluster.md goes through it line by line.

# --- what sbatch is told
: "${ND_PARTITION:=}"  # --partition
: "${ND_ACCOUNT:=}"    # --account
: "${ND_QOS:=}"        # --qos
: "${ND_CONSTRAINT:=}" # --constraint, for nodes of one kind: bytes of a training depend on the processor
: "${ND_GRES:=}"       # --gres of training and generation, e.g. gpu:4 (then 4 ranks a node below); empty: CPU only
: "${ND_OPTIONS:=}"    # further options, words as they are

# Size of each job:         nodes  ranks/node  cores/rank  time limit
: "${ND_SIZE_ENCODE:=       1      4           1           01:00:00}"
: "${ND_SIZE_FINETUNE:=     1      4           1           08:00:00}"
: "${ND_SIZE_GENERATE:=     1      4           1           04:00:00}"
: "${ND_SIZE_EVALUATE:=     1      4           1           01:00:00}"
: "${ND_SIZE_PUBLISH:=      1      1           1           00:30:00}"

# --- where the programs are
: "${ND_INIT:=}"                 # file that defines `module` (or sets up Spack), where batch shells do not have it
: "${ND_MODULES:=}"              # module load ...
: "${ND_SPACK_ENV:=}"            # spack env activate ...
: "${ND_CONTAINER:=}"            # image made from containers/nd.def; the programs are then those inside
: "${ND_CONTAINER_RUN:=apptainer exec}" # with --nv for GPUs
: "${ND_BIN:=build/release/bin}" # folder of the programs, where there is no container

# --- how ranks are started
: "${ND_LAUNCHER:=srun}"     # srun, or mpirun where Slurm has no PMIx (srun --mpi=list)
: "${ND_SRUN_MPI:=pmix}"     # srun --mpi=
: "${ND_MPIRUN:=mpirun}"     # Debian with several MPIs: mpirun.openmpi
: "${ND_MPIRUN_OPTIONS:=}"   # words for mpirun, e.g. --hostfile my-hosts outside Slurm
: "${ND_INTERFACE:=}"        # network interface of the nodes, where Open MPI picks a wrong one
: "${ND_BTL:=}"              # transports of Open MPI; self,tcp (no shared memory) for several slurmd on one machine

# --- habits
: "${ND_LOGS:=.}"            # folder of the jobs' logs; it is made before a job is submitted
: "${ND_MAX_RESTARTS:=200}"  # a job that was requeued more often gives up
: "${ND_ATTEMPT_SECONDS:=5}" # how often a job looks whether a later attempt has replaced it

# So that `. slurm/env.sh; sbatch slurm/finetune.sh ...` asks for the same.
nd_export_unless_empty() { # VARIABLE VALUE
    if [ -n "$2" ]; then export "$1=$2"; fi
}
nd_export_unless_empty SBATCH_PARTITION "$ND_PARTITION"
nd_export_unless_empty SBATCH_ACCOUNT "$ND_ACCOUNT"
nd_export_unless_empty SBATCH_QOS "$ND_QOS"
nd_export_unless_empty SBATCH_CONSTRAINT "$ND_CONSTRAINT"

# The default fence of Slurm's PMIx plugin lets ranks of several nodes go too early: about one start in 30 dies in
# MPI_Init with SIGSEGV (Slurm 22.05, PMIx 4.2). The ring does not.
export SLURM_PMIX_FENCE=${SLURM_PMIX_FENCE:-ring}
# A rank that is stopped when the others have left holds nobody up but srun, which then ends it.
export SLURM_WAIT=${SLURM_WAIT:-60}
# mpirun asks its daemons for a sign of life: a host that is cut off is noticed after time + probes * interval
# seconds. Without this a job waits for ever for a host that is gone.
export OMPI_MCA_oob_tcp_keepalive_time=${OMPI_MCA_oob_tcp_keepalive_time:-5}
export OMPI_MCA_oob_tcp_keepalive_intvl=${OMPI_MCA_oob_tcp_keepalive_intvl:-2}
export OMPI_MCA_oob_tcp_keepalive_probes=${OMPI_MCA_oob_tcp_keepalive_probes:-4}
nd_export_unless_empty OMPI_MCA_btl "$ND_BTL"
nd_export_unless_empty OMPI_MCA_btl_tcp_if_include "$ND_INTERFACE"
nd_export_unless_empty OMPI_MCA_oob_tcp_if_include "$ND_INTERFACE"

# Make the programs runnable; says what is missing. Called once in a job, before the first program.
nd_setup() {
    local strict=$-
    set +u # the site's files are not written for it
    nd_load
    local code=$?
    case $strict in *u*) set -u ;; esac
    return $code
}

nd_load() {
    if [ -n "$ND_INIT" ]; then
        # shellcheck disable=SC1090
        source "$ND_INIT" || { echo "error: ND_INIT=$ND_INIT in slurm/env.sh cannot be read" >&2; return 1; }
    fi
    if [ -n "$ND_MODULES" ]; then
        if ! type module >/dev/null 2>&1; then
            echo "error: no command 'module' here: name the file that defines it as ND_INIT in slurm/env.sh" >&2
            return 1
        fi
        # shellcheck disable=SC2086
        if ! module load $ND_MODULES; then
            echo "error: ND_MODULES=\"$ND_MODULES\" in slurm/env.sh cannot be loaded" >&2
            return 1
        fi
    fi
    if [ -n "$ND_SPACK_ENV" ]; then
        if ! type spack >/dev/null 2>&1; then
            echo "error: no command 'spack' here: name its share/spack/setup-env.sh as ND_INIT in slurm/env.sh" >&2
            return 1
        fi
        spack env activate "$ND_SPACK_ENV" || return 1
    fi
    if [ -n "$ND_CONTAINER" ] && [ ! -e "$ND_CONTAINER" ]; then
        echo "error: no image $ND_CONTAINER: build it from containers/nd.def, or mend ND_CONTAINER in slurm/env.sh" >&2
        return 1
    fi
}

# Fill the array nd_command with what runs PROGRAM in this process, on this node.
nd_command_of() { # PROGRAM
    if [ -n "$ND_CONTAINER" ]; then
        # shellcheck disable=SC2206
        nd_command=($ND_CONTAINER_RUN "$ND_CONTAINER" "$1")
        return
    fi
    if [ ! -x "$ND_BIN/$1" ]; then
        echo "error: no program $ND_BIN/$1: build it (docs/cluster.md), or mend ND_BIN in slurm/env.sh" >&2
        return 1
    fi
    # shellcheck disable=SC2034
    nd_command=("$ND_BIN/$1")
}
