#!/usr/bin/env bash
# Generated conversations on every port that tshark has a dissector for, of many payload sizes: none holds a packet that is
# malformed or marked with an error. Without the table of src/packet/payload_ports.c every third port does, which shows that
# this can fail. A port that the table lacks is printed as "proto port".
set -euo pipefail
bin=${ND_BIN:?}
command -v tshark >/dev/null || { echo "skipped: no tshark"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAIL: $*"; exit 1; }

{
    tshark -G decodes 2>/dev/null | awk -F'\t' '$1 == "tcp.port" || $1 == "udp.port" { print substr($1, 1, 3), $2 }'
    # Told by what the bytes look like, on these ports only: they are in no table of tshark's.
    echo "udp 6277"
    for port in {14390..14399}; do echo "udp $port"; done
} | sort -u >"$work/ports"
sed -n '0~8p' "$work/ports" >"$work/some"
nports=$(wc -l <"$work/ports") nsome=$(wc -l <"$work/some")
[ "$nports" -gt 500 ] || fail "tshark knows only $nports ports"

marked() { # marked POLICY PORTS: "proto port", once each, of ports with a packet that tshark marks
    timeout 60 "$bin/gen_service_captures" "$work/$1.pcap" "$1" <"$2" >"$work/$1.packets"
    timeout 200 tshark -n -r "$work/$1.pcap" -Y '_ws.malformed || _ws.expert.severity == error' \
        -T fields -e tcp.port -e udp.port 2>/dev/null >"$work/$1.marked"
    awk -F'\t' '{ split($1 == "" ? $2 : $1, port, ",")
                  print ($1 == "" ? "udp" : "tcp"), port[1] == 39999 ? port[2] : port[1] }' "$work/$1.marked" | sort -u
}

marked made "$work/ports" >"$work/made"
marked whole "$work/some" >"$work/whole"
version=$(tshark -v 2>/dev/null | sed -n '1s/.* \([0-9]*\.[0-9]*\)\.[0-9]* .*/\1/p')
if [ -s "$work/made" ] && [ "$version" != 4.0 ]; then
    echo "skipped: tshark $version marks ports that the table, measured with 4.0, does not have: $(paste -sd, "$work/made")"
    exit 77
fi
[ ! -s "$work/made" ] || fail "tshark marks packets on ports"$'\n'"$(cat "$work/made")"
[ "$(wc -l <"$work/whole")" -gt $((nsome / 6)) ] || fail "zeros are marked on $(wc -l <"$work/whole") of $nsome ports only"
echo "$nports ports, $(cat "$work/made.packets") packets: none marked;" \
    "with zeros everywhere $(wc -l <"$work/whole") of $nsome ports are"
