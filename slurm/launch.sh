#!/usr/bin/env bash
# slurm/launch.sh [-n RANKS] PROGRAM ARGUMENT...: one program on all ranks of the allocation, or on RANKS of it.
#
# The launcher is ND_LAUNCHER of slurm/env.sh. SIGUSR1 reaches every rank (ndencode, ndtrain and ndgen then keep what they
# have and stop with 75); SIGTERM ends them at once. The exit code is the ranks' own, or 69 when a host was lost; the last
# line then says which.
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
if [ -n "${ND_ATTEMPT:-}" ]; then # a job names itself
    nd_command=("$(dirname "${BASH_SOURCE[0]}")/rank.sh" "$ND_ATTEMPT_FILE" "$ND_ATTEMPT" "${nd_command[@]}")
fi

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
    ;;
*)
    echo "error: ND_LAUNCHER=$ND_LAUNCHER in slurm/env.sh is neither srun nor mpirun" >&2
    exit 1
    ;;
esac

# What the launcher says is kept, to find a lost host in it. The copier outlives a signal to the whole group.
log=$(mktemp) || exit 1
pid='' early=''
# shellcheck disable=SC2317
forward() {
    if [ -n "$pid" ]; then kill "-$1" "$pid" 2>/dev/null; else early=$1; fi
}
trap 'forward USR1' USR1
trap 'forward TERM' TERM INT
exec {said}> >(trap '' TERM INT USR1; exec tee "$log" >&2)
copier=$!
"${launcher[@]}" "${nd_command[@]}" "$@" 2>&"$said" {said}>&- </dev/null &
pid=$!
exec {said}>&-
[ -z "$early" ] || forward "$early" # it came before there was a launcher to pass it on to
# mpirun that has lost several hosts at once (its own is the one cut off) says so and then waits for them for ever.
end_when_lost() {
    local ranks
    trap - USR1 TERM INT
    exec </dev/null >/dev/null 2>&1
    while sleep 1; do
        grep -q 'ORTE has lost communication' "$log" || continue
        sleep 5
        ranks=$(pgrep -P "$pid")
        kill -KILL "$pid"
        # shellcheck disable=SC2086
        [ -z "$ranks" ] || kill -KILL $ranks
        return
    done
}
watch=
if [ "$ND_LAUNCHER" = mpirun ]; then
    end_when_lost &
    watch=$!
fi
while :; do # a signal interrupts wait
    wait "$pid" 2>/dev/null
    code=$?
    if [ "$code" -gt 128 ]; then
        kill -0 "$pid" 2>/dev/null && continue
        wait "$pid" 2>/dev/null
        last=$?
        [ $last = 127 ] || code=$last
    fi
    break
done
[ -z "$watch" ] || kill "$watch" 2>/dev/null
# The copier may be behind; it does not end while a process that the launcher left behind can still write to it.
for _ in {1..50}; do
    kill -0 "$copier" 2>/dev/null || break
    sleep 0.1
done
# srun may end with 0 after "Node failure" (Slurm 22.05), so the words are looked at whatever the code.
lost=$(sed -n 's/.*Remote daemon:.* on node \([^ ]*\).*/\1/p; s/^srun: error: Node failure on \([^ ]*\).*/\1/p' "$log" | sort -u | tr '\n' ' ')
rm -f "$log"
if [ -n "$lost" ]; then
    echo "launch.sh: error: host $(hostname -s) lost contact with host ${lost% }; all ranks were ended; start it again to go on from the last checkpoint" >&2
    exit 69
fi
exit "$code"
