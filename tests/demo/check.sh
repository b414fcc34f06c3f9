#!/usr/bin/env bash
# check.sh OUT SHARE: what the demo promises of its output, read by tools that are not ours.
#
# Every packet opens in tshark without malformed or expert-error marks, every checksum is right, a flow is one 5-tuple with
# the length that flows.csv says and times that increase, every payload byte is what the headers ask for, and at least SHARE
# of the generated rows were valid before repair.
set -euo pipefail
out=${1:?folder of the demo} share=${2:?least share of valid rows}
bin=${ND_BIN:-$(dirname "$0")/../../build/release/bin}
capture=$out/generated/all.pcap
bad=0
complain() { echo "FAIL: $*"; bad=1; }
fields() { # fields FILTER FIELD...: one line a packet that the filter takes
    local filter=$1 arguments=() field
    shift
    for field in "$@"; do arguments+=(-e "$field"); done
    tshark -n -r "$capture" -o ip.check_checksum:TRUE -o tcp.check_checksum:TRUE -o udp.check_checksum:TRUE \
        -Y "$filter" -T fields "${arguments[@]}" 2>/dev/null
}

packets=$(fields frame frame.number | wc -l)
[ "$packets" = "$(awk -F, 'NR > 1 { n += $12 } END { print n }' "$out/generated/flows.csv")" ] ||
    complain "$packets packets in all.pcap differ from flows.csv"
[ "$packets" -gt 1000 ] || complain "only $packets packets"

marked=$(fields '_ws.malformed || _ws.expert.severity == error' frame.number _ws.expert.message)
[ -z "$marked" ] || complain "marked by tshark:"$'\n'"$(head -5 <<<"$marked")"

good='ip.checksum.status == "Good" && (tcp.checksum.status == "Good" || udp.checksum.status == "Good" || icmp.checksum.status == "Good")'
right=$(fields "$good" frame.number | wc -l)
# Where a capture holds the headers only, tshark sees no checksum; demo_payload_equal does.
left_out=$(fields 'frame.cap_len < frame.len && (tcp || udp.checksum != 0)' frame.number | wc -l)
# A UDP datagram may come without a checksum (RFC 768), if its flow was learnt so.
without=$(fields 'udp.checksum == 0' frame.number | wc -l)
[ $((right + without + left_out)) = "$packets" ] || complain "$right checksums of $packets right"

# One line a flow from the capture, in the words of flows.csv: endpoints in order, number of packets.
fields frame frame.time_epoch ip.proto ip.src ip.dst tcp.srcport tcp.dstport udp.srcport udp.dstport icmp.ident | tr '\t' , |
    awk -F, '{
        sport = $5 $7 == "" ? $9 : $5 $7; dport = $6 $8 == "" ? "" : $6 $8
        a = $3 ":" sport; b = $4 ":" ($9 == "" ? dport : sport)
        key = $2 " " (a < b ? a " " b : b " " a)
        if (key in last && $1 <= last[key]) back++
        last[key] = $1; n[key]++
    } END { if (back) print "back", back; for (k in n) print n[k] }' | sort -n >"$out/flows.seen"
awk -F, 'NR > 1 { print $12 }' "$out/generated/flows.csv" | sort -n >"$out/flows.told"
cmp -s "$out/flows.seen" "$out/flows.told" ||
    complain "flows by 5-tuple differ from flows.csv: $(wc -l <"$out/flows.seen") seen, $(wc -l <"$out/flows.told") told"
grep -q back "$out/flows.seen" && complain "times that do not increase"
rm -f "$out/flows.seen" "$out/flows.told"

payload=$("$bin/demo_payload_equal" "$capture") || complain "payload that the headers do not explain: $payload"

rows=$(sed -n '1,/"labels"/s/.*"rows_valid_before_repair": \([0-9.]*\).*/\1/p' "$out/report.json")
awk -v rows="$rows" -v share="$share" 'BEGIN { exit !(rows >= share) }' || complain "rows valid before repair: $rows, below $share"

labels=$(awk -F, 'NR > 1 { n[$8]++ } END { for (l in n) if (n[l] >= 20) k++; print k }' "$out/generated/flows.csv")
[ "$labels" -ge 12 ] || complain "only $labels labels with 20 flows or more"
while read -r label; do
    [ -s "$out/images/$label.png" ] || complain "no picture of $label"
    [ -s "$out/generated/$label.pcap" ] || complain "no capture of $label"
done < <(awk -F, 'NR > 1 { print $8 }' "$out/generated/flows.csv" | sort -u)
[ $bad = 0 ] || exit 1
echo "demo output: $packets packets, $right checksums right, no mark by tshark, $payload, $rows of the rows valid before repair"
