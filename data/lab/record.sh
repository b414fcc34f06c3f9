#!/usr/bin/env bash
# record.sh [--install] OUTDIR
#
# Records the sample captures again: real servers and clients in network namespaces, four runs with
# different network conditions, and exact labels.  Needs root and about six minutes.  Writes
# run1.pcap.gz ..., labels.csv and README.md to OUTDIR.
#
#   --install   first install the Debian packages that the lab needs
#
# Settings from the environment: SEED (default 1), KEEP=1 (keep the work folder with logs and full captures).
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SEED=${SEED:-1}
SNAPLEN=100    # all headers and nearly no payload; the wire length stays in the capture
FILTER_RUN=4   # this run is labelled by filters, the others by exact 5-tuples

PACKAGES=(procps iproute2 iptables iputils-ping ethtool tcpdump tshark nginx-light curl wget ffmpeg dnsmasq-base
  bind9-dnsutils openssh-server openssh-client rsync mosquitto mosquitto-clients sip-tester nghttp2-client socat
  openssl gcc libc6-dev)

# the conditions of each run: name, file name, wire options (one way; see wire.c)
RUNS=(1 2 3 4)
declare -A NAME=([1]="LAN" [2]="DSL" [3]="mobile" [4]="long haul")
declare -A FILE=([1]=run1.pcap.gz [2]=run2.pcapng.gz [3]=run3.pcap.gz [4]=run4.pcap.gz)
declare -A WIRE=(
  [1]="delay=0.5 jitter=0.1 rate=200"
  [2]="delay=15 jitter=3 loss=0.2 rate=20"
  [3]="delay=40 jitter=12 loss=1 rate=8"
  [4]="delay=80 jitter=4 loss=0.3 rate=50"
)

die() { echo "record.sh: $*" >&2; exit 1; }
say() { echo "$(date +%T) $*" >&2; }
in_time() { local secs=$1; shift; timeout -k 5 "$secs" "$@"; }

# wait_for SECONDS COMMAND...: until the command succeeds
wait_for() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < end)) || return 1
    sleep 0.1
  done
}

install_packages() {
  export DEBIAN_FRONTEND=noninteractive
  echo 'wireshark-common wireshark-common/install-setuid boolean false' | debconf-set-selections
  in_time 300 apt-get -qq -o DPkg::Lock::Timeout=300 update
  in_time 900 apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${PACKAGES[@]}" >/dev/null
}

check_tools() {
  local tool
  ((EUID == 0)) || die "needs root: it makes network namespaces"
  [[ -c /dev/net/tun ]] || die "needs /dev/net/tun"
  for tool in ip iptables ethtool tcpdump tshark editcap nginx curl wget ffmpeg dnsmasq dig sshd ssh rsync mosquitto \
    mosquitto_pub sipp nghttp socat openssl gcc ping; do
    command -v "$tool" >/dev/null || die "$tool is missing; run it with --install"
  done
}

# Ends a process and everything it started.  Stopped first, it cannot start anything while its children go.
end_tree() {
  local child
  kill -STOP "$1" 2>/dev/null
  for child in $(pgrep -P "$1"); do end_tree "$child"; done
  kill -KILL "$1" 2>/dev/null
}

cleanup() {
  set +e
  local job running
  running=$(jobs -pr)
  disown -a # no word about each job that is ended here
  for job in $running; do end_tree "$job"; done
  net_down
  if [[ ${KEEP:-0} == 1 ]]; then say "kept $WORK"; else rm -rf "$WORK"; fi
}

# record_run RUN: one capture, at full length, in $WORK/runN.full
record_run() {
  local run=$1 full=$WORK/run$1.full log=$WORK/log/tcpdump$1 dump
  RUN=$run
  say "run $run (${NAME[$run]}): ${WIRE[$run]}"
  # shellcheck disable=SC2086
  net_up "$run" ${WIRE[$run]} queue=128 seed=$((SEED * 10 + run))
  servers_up
  # not by in_ns: the signal below must reach tcpdump itself, not a subshell
  ip netns exec "$LAB-gw" tcpdump -i br0 -p -n -s 0 -B 32768 --nano -w "$full" 2>"$log" </dev/null &
  dump=$!
  wait_for 10 grep -qs 'listening on' "$log" || die "tcpdump did not start: $(cat "$log")"
  start_sessions "$run"
  # every program has a time limit of its own, so this ends
  wait "${JOBS[@]}" || true
  sleep 2.5 # the last packets are on the wire, and the kernel keeps some for up to a second before tcpdump sees them
  kill -TERM "$dump"
  wait "$dump" || true
  net_down
}

# publish RUN: cuts the capture to the snap length, compresses it, labels it
publish() {
  local run=$1 format=nsecpcap file=${FILE[$1]}
  if [[ $file == *.pcapng.gz ]]; then format=pcapng; fi
  # the kernel hands packets over per CPU, now and then a little out of order
  in_time 120 reordercap "$WORK/run$run.full" "$WORK/ordered" >>"$WORK/log/tools" 2>&1
  in_time 120 editcap -F "$format" -s "$SNAPLEN" "$WORK/ordered" "$WORK/cut" 2>>"$WORK/log/tools"
  gzip -9n <"$WORK/cut" >"$OUT/$file"
  flow_list "$OUT/$file" | label_flows >"$WORK/flows$run"
  label_rows "$file" "$run" <"$WORK/flows$run" >>"$OUT/labels.csv"
}

write_readme() {
  local run
  cat <<'TEXT'
# Sample captures

Real programs talking to each other over a laboratory network, recorded by `data/lab/record.sh` (see
`data/lab/README.md`). All addresses come from the documentation ranges (RFC 5737): servers in 192.0.2.0/24, clients in
198.51.100.0/24 and 203.0.113.0/24. Nobody's real traffic is in here. Files are compressed with gzip, with nanosecond
time stamps, cut to 100 bytes a frame: all headers, nearly no payload, true lengths.

| run | file | condition | the wire, one way |
| --- | --- | --- | --- |
TEXT
  for run in "${RUNS[@]}"; do
    echo "| $run | \`${FILE[$run]}\` | ${NAME[$run]} | $(wire_text "${WIRE[$run]}") |"
  done
  cat <<TEXT

Every run holds every label, so train and test can be split by run. \`labels.csv\` names the flows: run $FILTER_RUN by BPF
filters (column \`filter\`), the other runs by exact 5-tuples with the client as source. A ping session has its echo
identifier in \`sport\` and 0 in \`dport\`. RTCP, SIP, ARP and ICMP errors are in the captures and carry no label.

Flows / packets / median packets per flow:

TEXT
  table "${RUNS[@]/#/$WORK/flows}"
  cat <<'TEXT'

The short flows are single DNS look-ups (2 packets each) and, rarely, a session that packet loss cut short.

Checks on the full-length captures:

TEXT
  cat "$WORK/checks"
  cat <<'TEXT'

Licence: to the extent possible under law, the captures and labels are in the public domain (CC0 1.0); where that has no
effect, they are under the Apache License 2.0 like the rest of the project.
TEXT
}

wire_text() {
  sed -E -e 's/delay=([0-9.]*)/delay \1 ms/' -e 's/ jitter=([0-9.]*)/, jitter ±\1 ms/' \
    -e 's/ loss=([0-9.]*)/, loss \1 %/' -e 's/ rate=([0-9.]*)/, rate \1 Mbit\/s/' <<<"$1"
}

main() {
  local run ok=1
  if [[ ${1:-} == --install ]]; then
    shift
    ((EUID == 0)) || die "--install needs root"
    install_packages
  fi
  [[ $# == 1 && $1 != -* ]] || die "usage: record.sh [--install] OUTDIR"
  mkdir -p "$1"
  OUT=$(cd "$1" && pwd)
  check_tools

  # namespaces are named after the process, so that two recordings can run side by side
  LAB=ndlab$$
  WORK=$(mktemp -d)
  mkdir -p "$WORK"/{log,tmp,www}
  trap cleanup EXIT
  trap 'exit 1' INT TERM HUP

  gcc -O2 -Wall -o "$WORK/wire" "$HERE/wire.c"
  say "making content in $WORK"
  make_content

  echo 'file,proto,src,sport,dst,dport,label,macro,run,filter' >"$OUT/labels.csv"
  printf '%s\n' '| run | packets | dropped | frames over 1514 bytes | wrong checksums |' \
    '| --- | --- | --- | --- | --- |' >"$WORK/checks"
  for run in "${RUNS[@]}"; do
    record_run "$run"
    publish "$run"
    check_capture "$run" "$WORK/run$run.full" "$WORK/log/tcpdump$run" >>"$WORK/checks" || ok=0
  done

  write_readme >"$OUT/README.md"
  table "${RUNS[@]/#/$WORK/flows}"
  echo
  cat "$WORK/checks"
  du -cb "$OUT"/* | sed 's|\t.*/|\t|'
  ((ok)) || die "a check failed: see the table above"
}

# shellcheck source=net.sh
source "$HERE/net.sh"
# shellcheck source=content.sh
source "$HERE/content.sh"
# shellcheck source=servers.sh
source "$HERE/servers.sh"
# shellcheck source=clients.sh
source "$HERE/clients.sh"
# shellcheck source=label.sh
source "$HERE/label.sh"

main "$@"
exit # bash must not read on, should this file have changed meanwhile
