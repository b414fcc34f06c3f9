#!/usr/bin/env bash
# How a job ends: one message, the right exit code, and nobody waits for ever.
# usage: finish.sh PROGRAM [MPIRUN OPTION...] (without mpirun, one process only)
set -u
program=$1
shift
mpirun=("$@")
bad=0

# check NAME WANTED-CODE WANTED-MESSAGES PATTERN COMMAND...: code "fail" is any but 0 and 124; counts lines with PATTERN.
check() {
    local name=$1 code=$2 messages=$3 pattern=$4 out rc=0 n
    shift 4
    out=$(timeout -k 5 30 "$@" 2>&1) || rc=$?
    n=$(grep -cE -- "$pattern" <<<"$out")
    if { [ "$code" = fail ] && [ $rc -ne 0 ] && [ $rc -ne 124 ]; } || [ "$code" = $rc ]; then
        [ "$messages" = "$n" ] && { echo "ok   $name (exit code $rc)"; return; }
    fi
    echo "FAIL $name: exit code $rc (wanted $code), $n lines with '$pattern' (wanted $messages):"
    sed 's/^/    /' <<<"$out"
    bad=1
}

check "alone: good" 0 0 . "$program" good
check "alone: failed" 1 1 '^finish_case: error: bad capture$' "$program" agreed
check "alone: usage" 2 1 "^finish_case: error: unknown key 'x'$" "$program" early
check "alone: stopped" 75 1 '^finish_case: stopped after step 7$' "$program" stopped
check "tasks that cannot reach each other" 1 1 'error: 4 processes were started' env SLURM_STEP_NUM_TASKS=4 "$program" good

if [ ${#mpirun[@]} -gt 0 ]; then
    run=("${mpirun[@]}" -np 3 "$program")
    check "3 ranks: good" 0 0 finish_case "${run[@]}" good
    check "3 ranks: one failed, agreed" 1 1 '^finish_case: error: rank 2: bad capture$' "${run[@]}" agreed
    check "3 ranks: the one message is the only one" 1 1 'error: rank' "${run[@]}" agreed
    check "3 ranks: one failed, others done" 1 1 '^finish_case: error: rank 2: bad capture$' "${run[@]}" unagreed
    check "3 ranks: one failed, others wait" fail 1 'finish_case: error: rank 2: bad capture' "${run[@]}" alone
    check "3 ranks: one lost its peers" fail 1 'finish_case: error: rank 2: peer lost' "${run[@]}" comm
    check "3 ranks: work left open" 1 1 '^finish_case: error: rank 2: bad capture$' "${run[@]}" unclosed
    check "3 ranks: usage" 2 1 "^finish_case: error: .*unknown key 'x'$" "${run[@]}" early
    check "3 ranks: stopped" 75 1 'finish_case: .*stopped after step 7$' "${run[@]}" stopped
    check "3 ranks: one killed" 134 0 'the barrier let go' "${run[@]}" killed

    # Open MPI's plugin for the launcher stays loaded to the end (comm_mpi.c, keep_plugin): one that is tried and not
    # used may go.
    work=$(mktemp -d "${TMPDIR:-/tmp}/nd-finish-XXXXXX")
    timeout -k 5 30 "${mpirun[@]}" -np 2 bash -c 'LD_DEBUG=files LD_DEBUG_OUTPUT=$0/log exec "$1" good' "$work" "$program"
    for log in "$work"/log.*; do
        loaded=$(grep -c 'calling init: .*/mca_pmix_' "$log") unloaded=$(grep -c '/mca_pmix_.*destroying link map' "$log")
        [ "$loaded" = 0 ] || [ "$unloaded" -lt "$loaded" ] || { echo "FAIL the launcher's plugin is unloaded at the end"; bad=1; }
    done
    [ -e "$log" ] || { echo "FAIL no trace of the loader"; bad=1; }
    rm -rf "$work"
fi
exit $bad
