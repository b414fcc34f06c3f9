#!/usr/bin/env bash
# slurm/launch.sh [-n RANKS] PROGRAM ARGUMENT...: one program on all ranks of the allocation, or on RANKS of it.
#
# The launcher is ND_LAUNCHER of slurm/env.sh. SIGUSR1 reaches every rank (ndtrain and ndgen then stop with a checkpoint
# and 75); SIGTERM ends them at once. The exit code is the ranks' own. When mpirun has lost a host, the last line says
# which, in words.
set -uo pipefail
# shellcheck source=slurm/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
ranks=
if [ "${1:-}" = -n ]; then
    ranks=${2:?-n needs a number of ranks}
    shift 2
fi
[ $# -gt 0 ] || { sed -n '2s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2; }
nd_command_of "$1" || exit 1
shift

log=
case $ND_LAUNCHER in
srun)
    if ! srun --mpi=list 2>&1 | tr -s ' \t,' '\n' | grep -qx "$ND_SRUN_MPI"; then
        echo "error: srun has no MPI plugin '$ND_SRUN_MPI' (srun --mpi=list): set ND_SRUN_MPI, or ND_LAUNCHER=mpirun, in slurm/env.sh" >&2
        exit 1
    fi
    # -K: a rank that dies takes the others along; they would wait for it for ever. srun does not take over the cores
    # a task from its job (Slurm 22.05 and later).
    launcher=(srun -K --mpi="$ND_SRUN_MPI" ${ranks:+-n "$ranks"}
        ${SLURM_CPUS_PER_TASK:+--cpus-per-task="$SLURM_CPUS_PER_TASK"})
    ;;
mpirun)
    if ! command -v "$ND_MPIRUN" >/dev/null; then
        echo "error: no $ND_MPIRUN in PATH: set ND_MPIRUN or ND_MODULES in slurm/env.sh" >&2
        exit 1
    fi
    # Unbound, a rank takes the cores of the node divided by the node's ranks. The words are split on purpose.
    # shellcheck disable=SC2206
    launcher=("$ND_MPIRUN" --bind-to none ${ranks:+-np "$ranks"} $ND_MPIRUN_OPTIONS)
    log=$(mktemp) || exit 1
    ;;
*)
    echo "error: ND_LAUNCHER=$ND_LAUNCHER in slurm/env.sh is neither srun nor mpirun" >&2
    exit 1
    ;;
esac

pid=
# shellcheck disable=SC2317
forward() { [ -z "$pid" ] || kill "-$1" "$pid" 2>/dev/null; }
trap 'forward USR1' USR1
trap 'forward TERM' TERM INT
if [ -n "$log" ]; then
    # What mpirun says is kept, to find the lost host in it. The copier outlives a signal to the whole group.
    "${launcher[@]}" "${nd_command[@]}" "$@" 2> >(trap '' TERM INT USR1; exec tee "$log" >&2) </dev/null &
else
    "${launcher[@]}" "${nd_command[@]}" "$@" </dev/null &
fi
pid=$!
while :; do # a signal interrupts wait
    wait "$pid"
    code=$?
    if [ "$code" -gt 128 ]; then
        kill -0 "$pid" 2>/dev/null && continue
        wait "$pid" 2>/dev/null
        last=$?
        [ $last = 127 ] || code=$last
    fi
    break
done
if [ -n "$log" ]; then
    if [ "$code" != 0 ]; then
        lost=$(sed -n 's/.*Remote daemon:.* on node \([^ ]*\).*/\1/p' "$log" | sort -u | tr '\n' ' ')
        [ -z "$lost" ] || echo "launch.sh: error: lost contact with host ${lost% }; all ranks were ended; start it again to go on from the last checkpoint" >&2
    fi
    rm -f "$log"
fi
exit "$code"
