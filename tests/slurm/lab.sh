#!/usr/bin/env bash
# tests/slurm/lab.sh start FOLDER [NODES] | stop FOLDER: real Slurm daemons on this machine, private to FOLDER.
#
# munged, slurmctld and NODES slurmd (nodes n1, n2, ...; two cores and two pretend GPUs each), as root, without systemd,
# cgroups or accounting, on free ports of the loopback. Clients need SLURM_CONF=FOLDER/slurm.conf and nothing else.
# start exits with 77 and a reason where daemons cannot be had. Debian: tools/packages-cluster.txt.
#
# Choices that are not obvious:
# - cred_expire=5: a requeued job waits that long (120 s by default) before it may start again.
# - TmpFS=FOLDER/tmp/%n: with one folder for all, the second node's PMIx server finds the first one's files.
# - config_overrides: a node may claim more cores than the machine has.
# - CgroupPlugin: slurmd prepares cgroups even where nothing uses them, and "autodetect" fails where none are mounted.
# - preempt_send_user_signal: preemption sends a job its own --signal; else the batch script hears nothing.
set -euo pipefail

skip() { echo "skipped: $*" >&2; exit 77; }

# Of a process id: whether it runs. In a container a daemon may stay a zombie for a while; that is gone.
running() {
    local state
    state=$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -c1) || return 1
    [ -n "$state" ] && [ "$state" != Z ]
}

free_ports() { # N: the first of N adjacent ports that nobody listens on
    local base i used
    used=$(awk 'FNR > 1 && $4 == "0A" { split($2, a, ":"); print a[2] }' /proc/net/tcp /proc/net/tcp6 2>/dev/null)
    for ((base = 20000 + $$ % 1000 * 10; base < 32000; base += 20)); do
        for ((i = 0; i < $1; i++)); do
            ! grep -qx "$(printf %04X $((base + i)))" <<<"$used" || continue 2
        done
        echo $base
        return
    done
    skip "no free ports"
}

configure() { # NODES
    local n=$1 base host nodes=n1 ports
    host=$(hostname -s)
    base=$(free_ports $((n + 1)))
    ports=$((base + 1))
    if [ "$n" -gt 1 ]; then
        nodes="n[1-$n]"
        ports="[$((base + 1))-$((base + n))]"
    fi
    cat >"$lab/slurm.conf" <<CONF
ClusterName=ndlab
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$base
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$lab/run/munge.sock,cred_expire=5
StateSaveLocation=$lab/state
SlurmdSpoolDir=$lab/spool/%n
TmpFS=$lab/tmp/%n
SlurmctldPidFile=$lab/run/slurmctld.pid
SlurmdPidFile=$lab/run/slurmd-%n.pid
SlurmctldLogFile=$lab/log/slurmctld
SlurmdLogFile=$lab/log/slurmd-%n
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,sched_min_interval=100000
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
KillWait=5
ReturnToService=2
SlurmdTimeout=20
MinJobAge=3600
MailProg=/bin/true
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
GresTypes=gpu
NodeName=$nodes Gres=gpu:2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$ports CPUs=2 RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=20 MaxTime=60 State=UP
PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF MaxTime=60 State=UP
CONF
    echo "NodeName=$nodes Name=gpu File=/dev/tty[0-1]" >"$lab/gres.conf"
    echo "CgroupPlugin=cgroup/v1" >"$lab/cgroup.conf"
}

start() {
    local n=$1 i name
    for name in munged munge slurmctld slurmd sbatch srun scontrol scancel squeue sinfo; do
        command -v $name >/dev/null || skip "no $name (Debian: tools/packages-cluster.txt)"
    done
    [ "$(id -u)" = 0 ] || skip "only root can start slurmd"
    mkdir -p "$lab"/{run,log,state}
    for ((i = 1; i <= n; i++)); do mkdir -p "$lab/spool/n$i" "$lab/tmp/n$i"; done
    chmod 755 "$lab" "$lab"/{run,log,state}
    (umask 077 && head -c 1024 /dev/urandom >"$lab/munge.key")
    configure "$n"
    # --force: munged minds a key below /tmp
    munged --force --key-file="$lab/munge.key" --socket="$lab/run/munge.sock" --pid-file="$lab/run/munged.pid" \
        --log-file="$lab/log/munged" --seed-file="$lab/run/munge.seed" 2>"$lab/log/start" || give_up "munged"
    slurmctld -f "$lab/slurm.conf" >>"$lab/log/start" 2>&1 || give_up slurmctld
    for ((i = 1; i <= n; i++)); do
        slurmd -f "$lab/slurm.conf" -N "n$i" >>"$lab/log/start" 2>&1 || give_up slurmd
    done
    for ((i = 0; i < 150; i++)); do
        [ "$(timeout 2 sinfo -h -N -p main -t idle -o %N 2>/dev/null | sort -u | wc -l)" != "$n" ] || return 0
        sleep 0.2
    done
    give_up "30 s, and a node"
}

give_up() {
    tail -n 3 "$lab"/log/* >&2
    stop
    skip "$1 did not start"
}

# End the jobs, then the daemons (slurmstepd would outlive slurmd), each by its own id.
stop() {
    local file pid i others
    if timeout 5 scontrol ping >/dev/null 2>&1; then
        timeout 5 scancel --user "$(id -un)" 2>/dev/null || true
        for ((i = 0; i < 75; i++)); do
            [ -n "$(timeout 2 squeue -h 2>/dev/null)" ] || break
            sleep 0.2
        done
    fi
    for file in "$lab"/run/slurmd-*.pid "$lab/run/slurmctld.pid" "$lab/run/munged.pid"; do
        pid=$(cat "$file" 2>/dev/null) || continue
        grep -qF "$lab" "/proc/$pid/cmdline" 2>/dev/null || continue # a number that was given to another process
        kill "$pid" 2>/dev/null || continue
        for ((i = 0; i < 50; i++)); do
            running "$pid" || break
            sleep 0.1
        done
        ! running "$pid" || kill -9 "$pid" 2>/dev/null || true
    done
    # What still runs and knows this lab (ranks of a job that would not end).
    others=$(left)
    # shellcheck disable=SC2086
    [ -z "$others" ] || kill -9 $others 2>/dev/null || true
}

# Ids of other processes that have the lab in their command line or environment, less this shell and those above it.
left() {
    local pid=$$ own=' '
    while [ "$pid" -gt 1 ]; do
        own+="$pid "
        pid=$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | cut -d' ' -f2) || break
    done
    for pid in /proc/[0-9]*; do
        pid=${pid#/proc/}
        if [[ $own == *" $pid "* ]] || [ "$pid" = "$BASHPID" ]; then continue; fi
        if grep -qsF "$lab/slurm.conf" "/proc/$pid/cmdline" "/proc/$pid/environ" && running "$pid"; then
            # the helpers of this very call
            [ "$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | cut -d' ' -f2)" = $$ ] || echo "$pid"
        fi
    done
}

[ $# -ge 2 ] || { sed -n '2s/^# //p' "$0" >&2; exit 2; }
mkdir -p "$2"
lab=$(cd "$2" && pwd)
export SLURM_CONF=$lab/slurm.conf
case $1 in
start) start "${3:-2}" ;;
stop) stop ;;
left) left ;;
*) sed -n '2s/^# //p' "$0" >&2; exit 2 ;;
esac
