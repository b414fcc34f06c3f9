#!/usr/bin/env bash
# tests/hosts/hosts.sh COMMAND ...: network namespaces as hosts h1, h2, ... of a cluster, on a bridge of their own.
#
#   up N                       make the hosts (addresses 10.97.0.1 .. N, device eth0); nothing appears outside of them
#   down                       end what runs in them and remove them
#   exec HOST COMMAND...       run a command there, with the host's name
#   cut HOST, heal HOST        take the host's link down and up
#   rate HOST MBIT             limit its link both ways (token bucket)
#   wire HOST KEY=VALUE...     replace its link by the user-space wire of data/lab (delay=MS, rate=MBIT, ...)
#   left                       ids of the processes in them
#   rsh HOST WORDS...          as an rsh agent of mpirun (plm_rsh_agent)
#
# HOSTS_NAME (default ndhosts) names the set, HOSTS_FOLDER holds its files. nsenter rather than `ip netns exec`: that one
# mounts another /sys. Each host needs a name of its own, or the shared memory files of two would collide.
set -euo pipefail
name=${HOSTS_NAME:-ndhosts}
folder=${HOSTS_FOLDER:?}
net=10.97.0
here=$(cd "$(dirname "$0")" && pwd)

in_switch() { ip -n "$name-switch" "$@"; }
number() { echo "${1#h}"; }

up() {
    local i
    mkdir -p "$folder"
    { echo "127.0.0.1 localhost"; for ((i = 1; i <= $1; i++)); do echo "$net.$i h$i"; done; } >"$folder/hosts"
    ip netns add "$name-switch"
    in_switch link set lo up
    in_switch link add br0 type bridge stp_state 0 forward_delay 0
    in_switch link set br0 up
    for ((i = 1; i <= $1; i++)); do
        ip netns add "$name-h$i"
        in_switch link add "p$i" type veth peer name eth0 netns "$name-h$i"
        in_switch link set "p$i" master br0 up
        ip -n "$name-h$i" link set lo up
        connect "$i"
    done
}

connect() { # I: the address of host I
    ip -n "$name-h$1" addr add "$net.$1/24" dev eth0
    ip -n "$name-h$1" link set eth0 up
}

processes() {
    local space
    for space in $(ip netns list | awk -v prefix="$name-" 'index($1, prefix) == 1 { print $1 }'); do
        ip netns pids "$space"
    done
}

down() {
    local file space pid
    for file in "$folder"/wire-*.pid; do
        pid=$(cat "$file" 2>/dev/null) || continue
        ! grep -qF "$folder/wire" "/proc/$pid/cmdline" 2>/dev/null || kill "$pid" 2>/dev/null || true
        rm -f "$file"
    done
    for pid in $(processes); do kill -9 "$pid" 2>/dev/null || true; done
    for space in $(ip netns list | awk -v prefix="$name-" 'index($1, prefix) == 1 { print $1 }'); do
        ip netns del "$space"
    done
}

enter() { # HOST COMMAND...
    local host=$1
    shift
    # shellcheck disable=SC2016
    exec nsenter --net="/run/netns/$name-$host" unshare --uts --mount \
        sh -c 'mount --bind "$0" /etc/hosts && hostname "$1" && shift && exec "$@"' "$folder/hosts" "$host" "$@"
}

wire() { # HOST KEY=VALUE...
    local host=$1 i
    shift
    i=$(number "$host")
    [ -x "$folder/wire" ] || cc -O2 -o "$folder/wire" "$here/../../data/lab/wire.c"
    in_switch link del "p$i"
    "$folder/wire" "$name-$host" eth0 "$name-switch" "p$i" "$@" </dev/null >"$folder/wire-$host.log" 2>&1 &
    echo $! >"$folder/wire-$host.pid"
    for _ in $(seq 100); do
        ! grep -qs ready "$folder/wire-$host.log" || break
        sleep 0.05
    done
    in_switch link set "p$i" master br0 up
    connect "$i"
}

rate() { # HOST MBIT
    ip netns exec "$name-$1" tc qdisc replace dev eth0 root tbf rate "${2}mbit" burst 256kb limit 4mb
    ip netns exec "$name-switch" tc qdisc replace dev "p$(number "$1")" root tbf rate "${2}mbit" burst 256kb limit 4mb
}

command=${1:-}
[ $# = 0 ] || shift
case $command in
up | down | wire | rate) "$command" "$@" ;;
exec) enter "$@" ;;
cut) in_switch link set "p$(number "$1")" down ;;
heal) in_switch link set "p$(number "$1")" up ;;
left) processes ;;
rsh)
    while [[ $1 == -* ]]; do shift; done
    host=$1
    shift
    enter "$host" sh -c "$*" ;; # like ssh: the words are joined and given to a shell
*) sed -n '2,13s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
