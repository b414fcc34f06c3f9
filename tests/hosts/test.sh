#!/usr/bin/env bash
# tests/hosts/test.sh [--short]: ranks on several hosts (network namespaces), started by mpirun through slurm/launch.sh.
#
# Slow and distant links change no byte of what is promised; a host that is cut off ends the job on all others within
# half a minute, with its name in the last message and no process left anywhere; started again, training goes on. A
# minute in the short form, two in the long one. Exit 77: skipped, with a reason. Environment: ND_SOURCE, ND_BIN.
here=$(cd "$(dirname "$0")" && pwd)
: "${ND_SOURCE:=$here/../..}" "${ND_BIN:=build/release/bin}"
# shellcheck source=tests/slurm/tiny.sh
source "$here/../slurm/tiny.sh"
form=${1:-}
hosts=$here/hosts.sh
for name in ip tc nsenter unshare ping mpirun.openmpi cc tshark; do
    command -v $name >/dev/null || skip "no $name (Debian: tools/packages-cluster.txt)"
done
[ "$(id -u)" = 0 ] || skip "only root can make network namespaces"
work=$(mktemp -d)
config=$work/tiny.yaml
export HOSTS_NAME=nd$$ HOSTS_FOLDER=$work/hosts
end() {
    local code=$?
    trap '' INT TERM
    "$hosts" down
    if [ "$bad" != 0 ] || { [ $code != 0 ] && [ $code != 77 ]; }; then tail -n 30 "$work"/*.log 2>/dev/null || true; fi
    rm -rf "$work"
}
trap end EXIT
trap 'exit 143' TERM INT

n=3
[ "$form" = --short ] || n=4
"$hosts" up $n 2>"$work/skip" || skip "no network namespaces here: $(cat "$work/skip")"
"$hosts" rate h2 1000 2>"$work/skip" || skip "no token bucket (tc tbf) here: $(cat "$work/skip")"
"$hosts" wire h3 delay=2 rate=200 2>"$work/skip" || skip "no user-space wire here: $(cat "$work/skip")"
tiny_config "$config"
local_run "$work/local"

# mpirun on h1 starts its daemons on the others. Ranks of one host may share memory.
export ND_BIN=$bin ND_LAUNCHER=mpirun ND_MPIRUN=mpirun.openmpi ND_INTERFACE=eth0 ND_BTL=self,vader,tcp
export OMPI_MCA_plm=rsh OMPI_MCA_plm_rsh_no_tree_spawn=1 OMPI_MCA_plm_rsh_agent="$hosts rsh"
unset OMPI_MCA_btl
on() { # HOSTS RANKS PROGRAM KEY=VALUE...: HOSTS as h1,h2 or h1:2,h2:2
    ND_MPIRUN_OPTIONS="--host $1" exec "$hosts" exec h1 slurm/launch.sh -n "$2" "$3" "$config" "${@:4}"
}
run() { (on "$@") >"$work/run.log" 2>&1; }
launch() { # in the background: its id in $job
    (on "$@") >"$work/launch.log" 2>&1 &
    job=$!
}
steps_of() { echo "$1/train/base/loss.jsonl"; }
nobody() { [ -z "$("$hosts" left)" ]; }
code_of_job() { wait "$job" && code=0 || code=$?; }

# --- encode and generate: the bytes of one machine
delay=$("$hosts" exec h1 ping -q -c 3 -i 0.2 h3 | sed -n 's|^rtt.*= \([0-9]*\).*|\1|p')
check "the wire to h3 is felt (round trip $delay ms)" [ "$delay" -ge 4 ]
check "encode on 3 hosts" run h1,h2,h3 3 ndencode out="$work/out"
check "encode: the bytes of one machine" same "$work/local" "$work/out" "${encoded[@]}"
check "generate on 3 hosts" run h1,h2,h3 3 ndgen out="$work/out" model.dir="$work/local/model"
check "generate: the bytes of one machine" same "$work/local" "$work/out" "${generated[@]}"
check "tshark reads the capture" readable "$work/out/generated/all.pcap" "$work/out/generated/flows.csv"

# --- train, lose a host, go on
cut_off() { # HOST: cut it off a running job; seconds until all has ended, and what was said
    local cut=$SECONDS
    "$hosts" cut "$1"
    wait_for 10 sh -c "! kill -0 $job 2>/dev/null" || kill -9 "$job"
    code_of_job
    took=$((SECONDS - cut))
    check "$1 cut off: the job ends (after $took s)" [ $took -le 30 ]
    check "$1 cut off: exit code 69" [ "$code" = 69 ]
    wait_for 10 nobody || true
    left=$((SECONDS - cut))
    check "$1 cut off: no process is left on any host (after $left s)" [ $left -le 30 ]
    "$hosts" heal "$1"
    wait_for 10 "$hosts" exec h1 ping -q -c 1 -W 1 "$1" >/dev/null # a link is up a moment before it carries anything
}
launch h1,h2 2 ndtrain out="$work/out" train.mode=base
wait_for 30 lines "$(steps_of "$work/out")" 150 || fail "training on 2 hosts never came to step 150"
cut_off h2
check "the last line names the host that was lost" has 'lost contact with host h2;' "$work/launch.log"
check "it says so once" [ "$(grep -c 'lost contact' "$work/launch.log")" = 1 ]
steps=$(wc -l <"$(steps_of "$work/out")")
check "started again, training goes on" run h1,h2 2 ndtrain out="$work/out" train.mode=base
check "from the checkpoint (was at step $steps)" [ "$steps" -lt 1200 ]
check "weights: the bytes of one machine, though cut off" same "$work/local" "$work/out" "${trained[@]:0:2}"
check "a ControlNet on 3 hosts" run h1,h2,h3 3 ndtrain out="$work/out" train.mode=control

if [ "$form" != --short ]; then
    check "encode, two ranks on each of two hosts" run h1:2,h3:2 4 ndencode out="$work/four"
    check "encode: the bytes of one machine" same "$work/local" "$work/four" "${encoded[@]}"
    check "generate, two ranks on each of two hosts" run h1:2,h3:2 4 ndgen out="$work/four" model.dir="$work/local/model"
    check "generate: the bytes of one machine" same "$work/local" "$work/four" "${generated[@]}"

    # A stop asked of the launcher reaches every rank.
    launch h1,h2,h3,h4 4 ndtrain out="$work/four" train.mode=base train.base.steps=100000
    wait_for 30 lines "$(steps_of "$work/four")" 20 || fail "training on 4 hosts never came to step 20"
    kill -USR1 "$job"
    code_of_job
    check "SIGUSR1 to the launcher: exit code 75" [ "$code" = 75 ]
    check "with a checkpoint" sh -c "ls '$work'/four/train/base/checkpoint-*/DONE"
    check "and no process left" wait_for 10 nobody

    # A link that is down for a moment is no lost host.
    launch h1,h2,h3,h4 4 ndtrain out="$work/four" train.mode=base train.base.steps=100000
    sleep 2
    "$hosts" cut h4
    sleep 4
    "$hosts" heal h4
    steps=$(wc -l <"$(steps_of "$work/four")")
    check "a link down for 4 s: training goes on" wait_for 30 lines "$(steps_of "$work/four")" $((steps + 20))
    # The host of mpirun itself is lost: it knows of one of the others, and all end.
    cut_off h1
    check "mpirun's own host cut off: another is named" has 'lost contact with host h[234]' "$work/launch.log"
fi
check "nothing is left on any host" wait_for 15 nobody
"$hosts" down
check "no namespace is left" [ -z "$(ip netns list | grep "^$HOSTS_NAME-")" ]
finish
