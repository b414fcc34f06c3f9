#!/usr/bin/env bash
# slurm/rank.sh FILE ATTEMPT PROGRAM ARGUMENT...: the program, in this very process, and a guard beside it.
#
# The guard ends the program when FILE names another attempt than ATTEMPT. Each rank has one of its own because a node
# that Slurm lost cannot be told anything: its ranks go on, and must not write beside those of the job's next attempt.
file=$1 attempt=$2
shift 2
(
    trap '' USR1 TERM INT # a notice to all processes of the step is not for the guard
    exec </dev/null >/dev/null 2>&1
    while sleep "${ND_ATTEMPT_SECONDS:-5}"; do
        # gone with its program
        [ "$(sed 's/.*) //' "/proc/$BASHPID/stat" | cut -d' ' -f2)" = $$ ] || exit
        # A file system that is away for a moment proves nothing: only a file that can be read does.
        owner=$(cat "$file") || continue
        [ "$owner" = "$attempt" ] || kill -KILL $$
    done
) &
exec "$@"
