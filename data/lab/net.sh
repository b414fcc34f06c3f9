# shellcheck shell=bash
# net.sh: the lab's network.  Sourced by record.sh.
#
#   c1..c6  --veth--  br0 [gw]  --wire--  [srv]
#
# c1..c6 are clients, gw is their router, srv holds all servers.  The capture is taken on br0: every
# packet between a client and a server passes there once in each direction, with the client's own MAC
# address.  All of it lives in network namespaces; the machine's own network is not touched.

SERVER_NET=192.0.2.0/24
GW_WAN=192.0.2.1

# One server address per label: the address alone tells what a flow is.
declare -A SERVER=(
  [hls]=192.0.2.10 [dash]=192.0.2.11 [download]=192.0.2.12
  [voip]=192.0.2.20 [video]=192.0.2.21 [screenshare]=192.0.2.22
  [web]=192.0.2.30 [chat]=192.0.2.31 [api]=192.0.2.32
  [dns]=192.0.2.40 [ssh]=192.0.2.41 [ping]=192.0.2.42
)
LABELS=(hls dash download voip video screenshare web chat api dns ssh ping)

# Clients differ the way machines on a real network do:
#   network, host part, MTU, initial TTL, hops behind br0, TCP timestamps, receive buffer, congestion control
declare -A CLIENT_SPEC=(
  [c1]="198.51.100 20 1500 64  0 1 131072 cubic"
  [c2]="198.51.100 60 1500 128 0 0 65536  cubic"
  [c3]="198.51.100 90 1500 64  1 1 87380  reno"
  [c4]="203.0.113  10 1492 64  0 1 131072 cubic"
  [c5]="203.0.113  80 1500 128 1 0 262144 reno"
  [c6]="203.0.113  150 1500 64 2 1 131072 bbr"
)
CLIENTS=(c1 c2 c3 c4 c5 c6)
declare -A ADDR=() # client -> address in the current run

in_ns() { local ns=$1; shift; ip netns exec "$LAB-$ns" "$@"; }

# 02:00 marks a locally administered address; the rest is the IPv4 address
mac_of() { local IFS=.; printf '02:00:%02x:%02x:%02x:%02x' $1; }

# With offloads on, a veth hands over 64 KB super-packets whose checksums nobody has computed yet.
# ethtool answers with an error for a feature that the device does not have; the checks after the
# recording look at what counts (frame sizes and checksums).
offloads_off() { in_ns "$1" ethtool -K "$2" tso off gso off gro off tx off rx off sg off >/dev/null 2>&1 || true; }

add_ns() {
  ip netns add "$LAB-$1"
  # IPv6 would only add neighbour chatter to the capture
  in_ns "$1" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
  ip -n "$LAB-$1" link set lo up
}

add_client() {
  local c=$1 run=$2 net host mtu ttl hops stamps rmem cc addr
  read -r net host mtu ttl hops stamps rmem cc <<<"${CLIENT_SPEC[$c]}"
  addr=$net.$((host + 3 * run)) # another lease in every run
  ADDR[$c]=$addr
  add_ns "$c"
  ip -n "$LAB-gw" link add "p-$c" type veth peer name eth0 address "$(mac_of "$addr")" netns "$LAB-$c"
  offloads_off gw "p-$c"
  offloads_off "$c" eth0
  ip -n "$LAB-gw" link set "p-$c" master br0 up
  ip -n "$LAB-$c" addr add "$addr/24" dev eth0
  ip -n "$LAB-$c" link set eth0 mtu "$mtu" up
  # per route, because only the first namespace may make bbr a default
  ip -n "$LAB-$c" route add default via "$net.1" congctl "$cc"
  in_ns "$c" sysctl -qw net.ipv4.ip_default_ttl="$ttl" net.ipv4.tcp_timestamps="$stamps" \
    net.ipv4.tcp_rmem="4096 $rmem $((rmem * 4))" \
    net.ipv4.ping_group_range="1 0"
  if ((hops > 0)); then in_ns "$c" iptables -t mangle -A POSTROUTING -j TTL --ttl-dec "$hops"; fi
}

# Servers sit a different number of hops away and start from different TTLs; both change with the run, so
# that the TTL a client sees does not give the label away.
set_server_ttls() {
  local run=$1 i=0 label base
  local bases=(64 128 64 255)
  for label in "${LABELS[@]}"; do
    base=${bases[(i + run) % 4]}
    in_ns srv iptables -t mangle -A POSTROUTING -s "${SERVER[$label]}" \
      -j TTL --ttl-set $((base - (i * 7 + run * 5) % 13 - 1))
    i=$((i + 1))
  done
}

# net_up RUN WIRE-OPTION...
net_up() {
  local run=$1 c label
  shift
  add_ns gw
  add_ns srv
  ip -n "$LAB-gw" link add br0 address "$(mac_of 198.51.100.1)" type bridge stp_state 0 forward_delay 0 mcast_snooping 0
  offloads_off gw br0
  ip -n "$LAB-gw" link set br0 up
  ip -n "$LAB-gw" addr add 198.51.100.1/24 dev br0
  ip -n "$LAB-gw" addr add 203.0.113.1/24 dev br0
  in_ns gw sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0

  # the wire wakes up for every frame: without priority over the programs it would add delay of its own
  nice -n -15 "$WORK/wire" "$LAB-gw" wan0 "$LAB-srv" eth0 "$@" >"$WORK/log/wire$run" 2>&1 &
  WIRE_PID=$!
  wait_for 5 grep -qs ready "$WORK/log/wire$run" || die "the wire did not start: $(cat "$WORK/log/wire$run")"
  ip -n "$LAB-gw" link set wan0 up
  ip -n "$LAB-gw" addr add "$GW_WAN/24" dev wan0
  ip -n "$LAB-srv" link set eth0 up
  for label in "${LABELS[@]}"; do ip -n "$LAB-srv" addr add "${SERVER[$label]}/24" dev eth0; done
  # towards one client network the servers send with cubic, towards the other with bbr
  ip -n "$LAB-srv" route add 198.51.100.0/24 via "$GW_WAN" congctl cubic
  ip -n "$LAB-srv" route add 203.0.113.0/24 via "$GW_WAN" congctl bbr
  set_server_ttls "$run"
  for c in "${CLIENTS[@]}"; do add_client "$c" "$run"; done
}

# Ends every process inside the lab's namespaces, then removes them.  Safe to call at any time.
net_down() {
  local ns pids
  if [[ -n ${WIRE_PID:-} ]]; then
    kill "$WIRE_PID" 2>/dev/null || true
    wait "$WIRE_PID" 2>/dev/null || true
    WIRE_PID=
  fi
  for ns in $(ip netns list | awk -v lab="$LAB-" 'index($1, lab) == 1 { print $1 }'); do
    pids=$(ip netns pids "$ns")
    # shellcheck disable=SC2086
    if [[ -n $pids ]]; then kill -9 $pids 2>/dev/null || true; fi
    ip netns del "$ns" || true
  done
}
