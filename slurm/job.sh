# shellcheck shell=bash
# Sourced by the job scripts of this folder: from the command line to sbatch, and the life of a job.
#
# A job claims OUT for its stage, runs its programs one after the other, passes Slurm's notice (USR1: time is nearly up,
# or a job of higher priority wants the nodes) on to the ranks, and asks to be queued again when they stopped with 75.
# Running a stage again is always right: what is finished is not done again, what was stopped goes on.
set -uo pipefail
notice='' replaced='' step='' watcher='' program='' attempt=''

say() { printf '%s nd[%s.%s]: %s\n' "$(date +%T)" "${SLURM_JOB_ID:-}" "${SLURM_RESTART_COUNT:-0}" "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
usage() { printf 'error: %s\n' "$*" >&2; exit 2; }

# ndeval has no half-way state: it is left alone until the job ends, and starts over.
on_notice() {
    notice=$1
    say "got SIG$1"
    [ -n "$step" ] || return 0
    case $program in
    ndencode | ndtrain | ndgen) kill -USR1 "$step" 2>/dev/null ;; # not TERM: srun answers that by killing all ranks
    *) [ "$1" = USR1 ] || kill -TERM "$step" 2>/dev/null ;;
    esac
    return 0
}
on_replaced() {
    replaced=yes
    [ -z "$step" ] || kill -TERM "$step" 2>/dev/null
    return 0
}
trap 'on_notice USR1' USR1
trap 'on_notice TERM' TERM
trap on_replaced USR2
on_exit() {
    [ -z "$watcher" ] || kill "$watcher" 2>/dev/null
    attempt_release
}
trap on_exit EXIT

# shellcheck source=slurm/env.sh
source slurm/env.sh

# --- command line

# job_arguments STAGE "$@": config, settings (key=value...), out, and what the options say.
# shellcheck disable=SC2034
job_arguments() {
    stage=$1
    shift
    config='' settings=() array='' shards='' join='' dry_run='' from=''
    while [ $# -gt 0 ]; do
        case $1 in
        --help | -h) job_help; exit 0 ;;
        --dry-run) dry_run=yes ;;
        --array | --shards | --join)
            case $stage$1 in generate--* | pipeline--array) ;; *) usage "$1 is not for this script" ;; esac
            [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || usage "$1 needs a number"
            printf -v "${1#--}" %s "$2"
            shift ;;
        --from)
            [ "$stage" = pipeline ] || usage "--from is for slurm/pipeline.sh"
            from=${2:-}
            [ -n "$from" ] || usage "--from needs a stage"
            shift ;;
        -*) usage "unknown option $1" ;;
        *)
            if [[ $1 == *=* && ${1%%=*} != */* ]]; then # a slash before the equals sign shows a path
                settings+=("$1")
            else
                [ -z "$config" ] || usage "two configuration files: $config and $1"
                config=$1
            fi ;;
        esac
        shift
    done
    [ -n "$config" ] || { job_help >&2; exit 2; }
    [ -f "$config" ] || usage "no configuration $config (paths are from the project's root)"
    local setting
    out=$(sed -n "s/^out:[[:space:]]*//p" "$config" | sed "s/[[:space:]]*#.*//; s/[[:space:]]*\$//; s/^[\"']//; s/[\"']\$//" | tail -1)
    for setting in "${settings[@]}"; do
        case $setting in out=*) out=${setting#out=} ;; esac
    done
    out=${out:-out}
}

# The comment at the head of the script that is run, without the directives.
job_help() { sed -n '2,/^[^#]/{/^#SBATCH/d; s/^# \{0,1\}//p}' "$0"; }

# --- submitting

# Fill the array `line` with the sbatch command of a stage. OPTION... are further sbatch options.
sbatch_line() { # STAGE OPTION...
    local name=$1 size nodes ranks cores limit
    shift
    size=ND_SIZE_${name^^}
    read -r nodes ranks cores limit <<<"${!size}"
    [ -n "$limit" ] || die "$size in slurm/env.sh needs four words: nodes, ranks a node, cores a rank, time limit"
    line=(sbatch --parsable --nodes="$nodes" --ntasks=$((nodes * ranks)) --ntasks-per-node="$ranks" --cpus-per-task="$cores"
        --time="$limit")
    [ -z "$ND_PARTITION" ] || line+=(--partition="$ND_PARTITION")
    [ -z "$ND_ACCOUNT" ] || line+=(--account="$ND_ACCOUNT")
    [ -z "$ND_QOS" ] || line+=(--qos="$ND_QOS")
    [ -z "$ND_CONSTRAINT" ] || line+=(--constraint="$ND_CONSTRAINT")
    case $name in
    finetune | generate) [ -z "$ND_GRES" ] || line+=(--gres="$ND_GRES") ;;
    esac
    if [ "$ND_LOGS" != . ]; then # a folder that is not there makes a job fail without a word
        [ "$dry_run" = yes ] || mkdir -p "$ND_LOGS" || die "no folder $ND_LOGS for logs (ND_LOGS in slurm/env.sh)"
        case " $* " in
        *' --array='*) line+=(--output="$ND_LOGS/%x-%A_%a.log") ;;
        *) line+=(--output="$ND_LOGS/%x-%j.log") ;;
        esac
    elif [[ " $* " == *' --array='* ]]; then
        line+=(--output=%x-%A_%a.log)
    fi
    # shellcheck disable=SC2206
    line+=($ND_OPTIONS "$@" "slurm/$name.sh")
}

# Print words as a shell reads them, with quotes only where it needs them. KEPT: further characters that it shall see.
say_words() { # KEPT WORD...
    local kept=$1
    shift
    # Not of empty words: there the quotes are all there is, and two of them may also end one part of a word and begin another.
    echo "${*@Q}" | sed "s/'\([A-Za-z0-9_.,:=%/+@$kept-]\{1,\}\)'/\1/g"
}

# Outside a job the script hands itself to sbatch, with the sizes of slurm/env.sh, and ends.
job_submit_unless_inside() {
    [ -z "${SLURM_JOB_ID:-}" ] || return 0
    [ -z "$shards" ] || usage "--shards is for tasks of an array: sbatch --array=3,7 slurm/generate.sh --shards $shards CONFIG.yaml ..."
    [ -z "$array" ] || [ -z "$join" ] || usage "--array makes shares, --join joins them: one of them is wanted"
    local options=() words=()
    if [ -n "$array" ]; then
        options+=(--array="1-$array")
        words+=(--shards "$array")
    fi
    [ -z "$join" ] || words+=(--join "$join")
    sbatch_line "$stage" "${options[@]}"
    line+=("${words[@]}" "$config" "${settings[@]}")
    if [ "$dry_run" = yes ]; then
        say_words '' "${line[@]}"
        exit 0
    fi
    command -v sbatch >/dev/null || die "no sbatch here; without Slurm the programs run under mpirun (README.md)"
    local id
    id=$("${line[@]}") || exit 1
    echo "$stage: job $id"
    exit 0
}

# --- inside a job

# Claim OUT for this attempt of this job. A job whose node was lost is queued again while its old ranks may still live
# there; when the node comes back, the old attempt must not write beside the new one. So: OUT/.attempt-STAGE names the
# attempt that owns the stage, an attempt that finds a later one does not start, and one that is replaced ends.
attempt_claim() {
    local job restarts host state now
    attempt_file=$out/.attempt-$stage${SLURM_ARRAY_TASK_ID:+-$SLURM_ARRAY_TASK_ID}
    mkdir -p "$out" || die "no folder $out"
    if read -r job restarts host state 2>/dev/null <"$attempt_file"; then
        if [ "$job" = "$SLURM_JOB_ID" ] && [ "$restarts" -gt "${SLURM_RESTART_COUNT:-0}" ]; then
            die "this is attempt ${SLURM_RESTART_COUNT:-0} of job $job, and attempt $restarts (on $host) has taken over: nothing is done"
        fi
        now=$(squeue -h -j "$job" -t RUNNING,COMPLETING,SUSPENDED,STOPPED -o %T 2>/dev/null | head -1)
        if [ "$job" != "$SLURM_JOB_ID" ] && [ -n "$now" ]; then
            die "job $job is at work on the $stage stage of $out: wait for it, cancel it, or choose another out="
        fi
    fi
    attempt="$SLURM_JOB_ID ${SLURM_RESTART_COUNT:-0} $(hostname -s)"
    attempt_write "$attempt" || die "$out cannot be written"
    if [ "${job:-}" = "$SLURM_JOB_ID" ] && [ "$state" != ended ]; then
        # Nobody saw the end of the attempt before: its ranks may live on a lost node until their guards have looked.
        say "attempt $restarts on $host was lost; starting in $((2 * ND_ATTEMPT_SECONDS + 1)) s"
        sleep $((2 * ND_ATTEMPT_SECONDS + 1))
    fi
    export ND_ATTEMPT=$attempt ND_ATTEMPT_FILE=$attempt_file ND_ATTEMPT_SECONDS
}

attempt_write() { # TEXT
    local new=$attempt_file.$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}
    echo "$1" >"$new" && mv "$new" "$attempt_file"
}

attempt_release() {
    if [ -n "$attempt" ] && [ "$(cat "$attempt_file" 2>/dev/null)" = "$attempt" ]; then attempt_write "$attempt ended"; fi
}

attempt_watch() { # in the background; tells the job, once, that it was replaced
    local owner
    trap - USR1 TERM USR2 EXIT
    while sleep "$ND_ATTEMPT_SECONDS"; do
        # A file system that is away for a moment proves nothing: only a file that can be read does.
        owner=$(cat "$attempt_file" 2>/dev/null) || continue
        [ "$owner" = "$attempt" ] || { kill -USR2 $$; return; }
    done
}

job_open() {
    [ "$dry_run" != yes ] || die "--dry-run is for submitting; this is a job"
    say "$stage: $config ${settings[*]} on ${SLURM_JOB_NODELIST:-?}, ${SLURM_NTASKS:-1} ranks"
    nd_setup || exit 1
    attempt_claim
    attempt_watch </dev/null >/dev/null 2>&1 &
    watcher=$!
    # The batch shell's own share of the allocation says nothing about the steps'.
    unset SLURM_MEM_PER_CPU SLURM_MEM_PER_GPU SLURM_MEM_PER_NODE
}

# One program on all ranks. Returns after success only.
job_run() { # PROGRAM ARGUMENT...
    local code last
    program=$1
    [ -z "$notice$replaced" ] || job_leave 75
    slurm/launch.sh "$@" &
    step=$!
    [ -z "$notice" ] || on_notice "$notice" # it came before there was a step to pass it on to
    while :; do # a trap interrupts wait
        wait "$step"
        code=$?
        if [ "$code" -gt 128 ]; then
            kill -0 "$step" 2>/dev/null && continue
            wait "$step" 2>/dev/null
            last=$?
            [ $last = 127 ] || code=$last
        fi
        break
    done
    step=''
    [ "$code" = 0 ] || job_leave "$code"
}

# Whether a program's exit code is a reason to queue the job again.
job_comes_back() { # CODE
    case $1 in
    75 | 69) return 0 ;; # stopped with a checkpoint; lost a host
    137 | 143)
        [ "$notice" != USR1 ] || return 0 # ended by the notice before it could stop
        # A lost node that comes back makes Slurm kill the step of the same number in the next attempt. That looks like
        # running out of memory, so it is no reason for ever.
        [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] || return 1
        echo "$attempt" >>"$attempt_file.killed-$SLURM_JOB_ID"
        [ "$(wc -l <"$attempt_file.killed-$SLURM_JOB_ID")" -le 3 ] ;;
    138) [ "$notice" = USR1 ] ;; # notified before it could listen
    *) return 1 ;;
    esac
}

# The program ended with CODE, which is not 0: queue the job again, or fail.
job_leave() {
    local code=$1 id=$SLURM_JOB_ID
    if [ "$replaced" = yes ]; then
        say "a later attempt owns $out ($(cat "$attempt_file" 2>/dev/null)): this one ends and is not queued again"
        exit 1
    fi
    # After TERM (scancel, the end of the time limit) a requeue would revive a cancelled job.
    if [ "$notice" = TERM ]; then
        say "$program: exit code $code after SIGTERM; start the stage again to go on"
        exit "$code"
    fi
    if [ "$code" = 69 ] && [ "$ND_LAUNCHER" = srun ]; then # Slurm knows of the lost node, and ends and requeues by itself
        say "waiting for Slurm to queue this job again"
        trap - TERM
        sleep 120
    elif job_comes_back "$code"; then
        if [ "${SLURM_RESTART_COUNT:-0}" -ge "$ND_MAX_RESTARTS" ]; then
            die "queued again $SLURM_RESTART_COUNT times already: is the time limit too short for one step? (ND_MAX_RESTARTS in slurm/env.sh)"
        fi
        # A task of an array has an id of its own; the first one's is that of the whole array.
        [ -z "${SLURM_ARRAY_TASK_ID:-}" ] || id=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
        say "$program: exit code $code; queueing job $id again"
        attempt_release
        if scontrol requeue "$id"; then
            trap - TERM USR1
            sleep 120 # until Slurm ends this attempt
        fi
        say "job $id was not queued again: submit it once more to go on"
        exit 75
    fi
    say "$program: exit code $code"
    exit "$code"
}
