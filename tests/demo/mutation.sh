#!/usr/bin/env bash
# mutation.sh OUT: does tools.sh notice? One rule at a time is broken in copies of the demo's generated capture, and the
# figure that speaks of it must be out of its bound there, though it is not in the unbroken capture.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?folder of the demo}
work=$(mktemp -d)
end() {
    [ ! -e "$work/unbroken" ] || cp "$work/unbroken" "$out/tools.tsv" # of the demo itself, not of what was broken last
    rm -rf "$work"
}
trap end EXIT
bad=0

mutate() { # mutate KIND: $work/KIND.pcap
    /usr/bin/python3 - "$out/generated/all.pcap" "$work/$1.pcap" "$1" <<'PYTHON'
import logging, struct, sys
logging.disable(logging.CRITICAL)
from scapy.layers.inet import ICMP, IP, TCP, UDP

source, target, kind = sys.argv[1:]
with open(source, "rb") as f:
    data = f.read()
records, at = [], 24
while at + 16 <= len(data):
    n = struct.unpack_from("<I", data, at + 8)[0]
    records.append([data[at:at + 16], data[at + 16:at + 16 + n]])
    at += 16 + n

def rebuilt(packet):
    del packet.chksum
    layer = packet.payload
    if hasattr(layer, "chksum"):
        del layer.chksum
    return bytes(packet)

def change(packet):
    """The packet broken, or None where this kind does not apply to it."""
    if kind == "checksum" and TCP in packet:
        packet[TCP].chksum ^= 0x0100
        return bytes(packet)
    if kind == "acknowledgement" and TCP in packet and packet[TCP].flags == "A":
        packet[TCP].ack = (packet[TCP].ack + 1000000) % 2**32
        return rebuilt(packet)
    if kind == "sequence" and TCP in packet and len(packet[TCP].payload):
        packet[TCP].seq = (packet[TCP].seq + 100000) % 2**32
        return rebuilt(packet)
    if kind == "port" and UDP in packet and packet[UDP].sport > 1024:
        packet[UDP].sport = 0
        return rebuilt(packet)
    if kind == "question" and UDP in packet and packet[UDP].dport == 53:
        body = bytes(packet[UDP].payload)
        raw = bytes(packet)
        return rebuilt(IP(raw[:-len(body)] + body[:5] + b"\x07" + body[6:]))
    if kind == "system" and TCP in packet and packet[TCP].flags == "S":
        packet[TCP].options = packet[TCP].options[::-1]
        return rebuilt(packet)
    if kind == "option" and TCP in packet and packet[TCP].flags == "S":
        raw = bytearray(bytes(packet))
        raw[4 * (raw[0] & 15) + 21] = 3  # the length of the first option
        return rebuilt(IP(bytes(raw)))
    return None

if kind == "time":
    records[100], records[500] = records[500], records[100]
elif kind == "lost":
    del records[100:120]
else:
    changed, step = 0, 1 if kind in ("system", "option") else 7
    for record in records[::step]:
        broken = change(IP(record[1][14:]))
        if broken is not None and changed < (240 if kind == "sequence" else 60):  # real traffic loses some segments too
            record[1] = record[1][:14] + broken
            changed += 1
    assert changed > 5, "nothing to break"
with open(target, "wb") as f:
    f.write(data[:24] + b"".join(head + body for head, body in records))
PYTHON
}

bash "$here/tools.sh" "$out" >"$work/unbroken.log" || true
cp "$out/tools.tsv" "$work/unbroken"
while read -r kind quantity; do
    if [ ! -e "$work/$kind" ]; then
        mutate "$kind"
        bash "$here/tools.sh" "$out" "$work/$kind.pcap" >"$work/log" && { echo "FAIL: a broken $kind passes"; bad=1; }
        cp "$out/tools.tsv" "$work/$kind"
    fi
    row=$(awk -F'\t' -v q="$quantity" '$2 == q && $NF == "FAIL"' "$work/$kind")
    before=$(awk -F'\t' -v q="$quantity" '$2 == q && $NF == "FAIL"' "$work/unbroken")
    if [ -z "$row" ]; then
        echo "FAIL: a broken $kind is not noticed in \"$quantity\""
        bad=1
    elif [ -n "$before" ]; then
        echo "FAIL: \"$quantity\" is out of bounds without a broken $kind"
        bad=1
    else
        echo "a broken $kind: $(cut -f 1,2,4,5 <<<"$row" | tr '\t' ' ')"
    fi
done <<'KINDS'
checksum right checksums
checksum packets changed
acknowledgement ack_lost_segment
sequence lost_segment
port flows
question malformed packets
system SYNs of known systems
option wrong option lengths
time in order of time
lost packets
KINDS
[ $bad = 0 ] || exit 1
echo "every broken rule was noticed"
