#!/usr/bin/env bash
# tools.sh OUT [CAPTURE]: does the demo's generated traffic look to other people's programs as the real traffic does?
#
# Runs tshark, tcptrace, p0f, ndpiReader, Scapy, tcprewrite, tcpprep and capinfos on the training captures of data/sample
# and on CAPTURE (OUT/generated/all.pcap), prints one table and fails where a figure is out of its bound. Real figures are
# the range over the recordings; they are kept in OUT/tools.real for the next time. OUT/tools.tsv holds the table.
#
# Bounds: "none" = 0; "all" = 1; "flows", "packets" = as many as flows.csv says; "rate" = per 1000 packets, within the real
# range and three standard deviations of a Poisson count, and three, on either side; "at most" = the same, but fewer are
# welcome; "share" = of connections or flows, within the real range and three standard deviations of a binomial share;
# "at least", "no more" = the same, but more, or fewer, are welcome. The sample is cut to 100 bytes a frame, so payload and checksums are
# judged of generated traffic alone, and real expert marks are those of a dissection that ends with the transport layer.
set -euo pipefail
source_folder=$(cd "$(dirname "$0")/../.." && pwd)
out=${1:?folder of the demo}
capture=${2:-$out/generated/all.pcap}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export LC_ALL=C
for program in tshark editcap capinfos tcptrace p0f ndpiReader tcprewrite tcpprep /usr/bin/python3; do
    command -v $program >/dev/null || { echo "FAIL: $program is not installed (tools/packages.txt)"; exit 1; }
done

marks=(retransmission fast_retransmission spurious_retransmission out_of_order lost_segment ack_lost_segment
    duplicate_ack window_update window_full zero_window zero_window_probe zero_window_probe_ack keep_alive keep_alive_ack
    reused_ports)
applications=(tls ssh mqtt dns mdns sip sdp rtp rtcp http stun udt)

# A line a figure: tool, quantity, value, and of how many (connections, flows) a share was taken.
put() { printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "${4:-1}"; }

ask_tshark() { # CAPTURE: the transport layer, as tshark's expert system and TCP analysis see it
    local fields=(-e _ws.expert.severity -e _ws.expert.message) off=()
    for m in "${applications[@]}"; do off+=(--disable-protocol "$m"); done
    for m in "${marks[@]}"; do fields+=(-e "tcp.analysis.$m"); done
    tshark -n -r "$1" "${off[@]}" -T fields "${fields[@]}" 2>/dev/null |
        awk -F'\t' -v names="${marks[*]}" '
            { warnings += gsub(/6291456/, "", $1); options += gsub(/option length/, "", $2); for (i = 3; i <= NF; i++) n[i] += $i != "" }
            END { split(names, name, " "); print "tshark\tpackets\t" NR "\t1"
                  printf "tshark\twrong option lengths\t%d\t1\n", options
                  printf "tshark\ttransport warnings\t%.4f\t%d\n", 1000 * warnings / NR, NR
                  for (i = 1; i in name; i++) printf "tshark\t%s\t%.4f\t%d\n", name[i], 1000 * n[i + 2] / NR, NR }'
}
ask_tshark_all() { # CAPTURE: every layer, with checksums; generated traffic only
    tshark -n -r "$1" -o ip.check_checksum:TRUE -o tcp.check_checksum:TRUE -o udp.check_checksum:TRUE -T fields \
        -e _ws.expert.severity -e _ws.malformed -e ip.checksum.status -e tcp.checksum.status -e udp.checksum.status \
        -e icmp.checksum.status -e udp.checksum 2>/dev/null |
        awk -F'\t' '
            { errors += gsub(/8388608/, "", $1); warnings += gsub(/6291456/, "", $1); malformed += $2 != ""
              good += $3 ~ /^(1|Good)/ && ($4 $5 $6 ~ /^(1|Good)/ || $7 == "0x0000") }
            END { print "tshark\tmalformed packets\t" malformed + 0 "\t1"; print "tshark\texpert errors\t" errors + 0 "\t1"
                  printf "tshark\twarnings\t%.4f\t%d\n", 1000 * warnings / NR, NR
                  printf "tshark\tright checksums\t%.6f\t1\n", good / NR }'
}
ask_tcptrace() { # CAPTURE
    tcptrace -n -l "$1" 2>/dev/null | awk '
        /complete conn:/ { n++; complete += /complete conn: yes/; opened += /complete conn: yes|SYNs: 2/ }
        END { if (!n) n = 1; print "tcptrace\topened connections\t" opened / n "\t" n; print "tcptrace\tcomplete connections\t" complete / n "\t" n }'
}
ask_p0f() { # CAPTURE
    p0f -r "$1" 2>/dev/null | awk '
        /^\.-\[/ { syn = /\(syn\)/; n += syn }
        /^\| os / { if (syn) known += !/= \?\?\?/ }
        END { if (!n) n = 1; print "p0f\tSYNs of known systems\t" known / n "\t" n }'
}
ask_ndpi() { # CAPTURE
    ndpiReader -i "$1" -C "$work/ndpi.$2" >"$work/ndpi.text.$2" 2>/dev/null || true
    awk '/Unique flows:/ { n = $3 } /Confidence: Unknown/ { unknown = $3 }
        END { print "ndpi\tflows\t" n "\t1"; print "ndpi\tunknown flows\t" unknown / n "\t" n }' "$work/ndpi.text.$2"
    # Of the flows at a service's port that nDPI names, those that it names as that service.
    awk -F, 'BEGIN { want["6 443"] = want["6 8443"] = "TLS"; want["6 22"] = "SSH"; want["17 53"] = "DNS"; want["6 1883"] = "MQTT"; want["1 0"] = "ICMP" }
        NR > 1 && NF > 11 { key = $2 " " ($7 < $9 ? $7 : $9); if ($2 == 1) key = "1 0"
            if (key in want) { n++; right += $11 == want[key] || index($11, want[key] ".") == 1 } }
        END { if (!n) n = 1; print "ndpi\tservices named by port\t" right / n "\t" n }' "$work/ndpi.$2"
}
ask_capinfos() { # CAPTURE
    capinfos -T -r -c -o "$1" | awk -F'\t' '{ print "capinfos\tpackets\t" $2 "\t1"; print "capinfos\tin order of time\t" ($3 == "True") "\t1" }'
}
ask_tcpprep() { # CAPTURE
    tcpprep --auto=first --pcap="$1" --cachefile="$work/cache.$2" >/dev/null 2>&1 || true
    tcpprep --print-stats="$work/cache.$2" 2>/dev/null |
        awk '/Total packets/ { total = $3 } END { print "tcpprep\tpackets divided\t" total + 0 "\t1" }'
}
ask_tcprewrite() { # CAPTURE: its own checksums, compared byte by byte; and Scapy's dissection, built anew
    tcprewrite --fixcsum --infile="$1" --outfile="$work/rewritten.pcap" >/dev/null 2>&1 || true
    /usr/bin/python3 - "$1" "$work/rewritten.pcap" <<'PYTHON'
import logging, struct, sys
logging.disable(logging.CRITICAL)
from scapy.layers.inet import ICMP, IP, TCP, UDP

def records(path):
    with open(path, "rb") as f:
        data = f.read()
    at = 24
    while at + 16 <= len(data):
        n = struct.unpack_from("<I", data, at + 8)[0]
        yield data[at + 16:at + 16 + n]
        at += 16 + n

frames, rewritten = list(records(sys.argv[1])), list(records(sys.argv[2]))
changed = sum(a != b for a, b in zip(frames, rewritten)) + abs(len(frames) - len(rewritten))
print("tcprewrite", "packets changed", changed, 1, sep="\t")
chosen = frames[::max(1, len(frames) // 2500)]
same = 0
for frame in chosen:
    packet = IP(frame[14:])
    del packet.len, packet.ihl, packet.chksum
    if TCP in packet:
        del packet[TCP].chksum, packet[TCP].dataofs
    elif UDP in packet:
        if packet[UDP].chksum:
            del packet[UDP].chksum
        del packet[UDP].len
    elif ICMP in packet:
        del packet[ICMP].chksum
    same += bytes(packet) == frame[14:]
print("scapy", "rebuilt the same", same / len(chosen), len(chosen), sep="\t")
PYTHON
}

measure() { # CAPTURE NAME: what can be said of a capture whose payload is cut
    ask_tshark "$1" >"$work/$2.1" &
    { ask_tcptrace "$1"; ask_p0f "$1"; ask_ndpi "$1" "$2"; ask_capinfos "$1"; } >"$work/$2.2"
    wait
    cat "$work/$2.1" "$work/$2.2"
}

real=$out/tools.real
if [ ! -s "$real" ] || [ -n "$(find "$source_folder/data/sample" "$0" -newer "$real" -type f)" ]; then
    holdout=$(sed -n 's/^ *holdout: \[\(.*\)\].*/\1/p' "$source_folder/configs/demo.yaml")
    for file in "$source_folder"/data/sample/run*.gz; do
        run=$(basename "$file") run=${run#run} run=${run%%.*}
        [[ ",$holdout," == *",$run,"* ]] && continue
        gunzip -c "$file" >"$work/packed"
        editcap -F nsecpcap "$work/packed" "$work/run$run.pcap" 2>/dev/null
        measure "$work/run$run.pcap" "real$run"
    done >"$work/real"
    mv "$work/real" "$real"
fi

{ ask_tshark_all "$capture" >"$work/all"; } &
{ ask_tcprewrite "$capture" >"$work/rewrite"; } &
measure "$capture" generated >"$work/measured"
wait
ask_tcpprep "$capture" generated >"$work/tcpprep"
cat "$work/measured" "$work/all" "$work/rewrite" "$work/tcpprep" >"$work/generated"

flows=$(awk -F, 'NR > 1' "$out/generated/flows.csv" | wc -l)
packets=$(awk -F, 'NR > 1 { n += $12 } END { print n }' "$out/generated/flows.csv")
cat >"$work/bounds" <<BOUNDS
tshark	packets	packets
tshark	malformed packets	none
tshark	expert errors	none
tshark	right checksums	all
tshark	wrong option lengths	none
tshark	transport warnings	at most
tshark	warnings	at most
$(for m in "${marks[@]}"; do printf 'tshark\t%s\t%s\n' "$m" rate; done)
tcptrace	opened connections	at least
tcptrace	complete connections	share
p0f	SYNs of known systems	at least
ndpi	flows	flows
ndpi	unknown flows	no more
ndpi	services named by port	at least
scapy	rebuilt the same	all
tcprewrite	packets changed	none
tcpprep	packets divided	packets
capinfos	packets	packets
capinfos	in order of time	all
BOUNDS

awk -F'\t' -v flows="$flows" -v packets="$packets" '
    function bounds(kind, low, high, n,   d) { # sets least and most
        least = most = 0
        if (kind == "all") least = most = 1
        if (kind == "flows") least = most = flows
        if (kind == "packets") least = most = packets
        if (kind == "rate" || kind == "at most") {
            d = n / 1000
            most = high + (3 * sqrt(high * d) + 3) / d
            least = kind == "at most" ? 0 : low - (3 * sqrt(low * d) + 3) / d
        }
        if (kind == "share" || kind == "at least" || kind == "no more") {
            most = kind == "at least" ? 1 : high + 3 * sqrt(high * (1 - high) / n) + 1 / n
            least = kind == "no more" ? 0 : low - 3 * sqrt(low * (1 - low) / n) - 1 / n
        }
        if (least < 0) least = 0
    }
    FILENAME ~ /tools.real$/ { key = $1 "\t" $2; if (!(key in low) || $3 < low[key]) low[key] = $3; if (!(key in high) || $3 > high[key]) high[key] = $3; next }
    FILENAME ~ /generated$/ { value[$1 "\t" $2] = $3; of[$1 "\t" $2] = $4; next }
    {
        key = $1 "\t" $2
        # All warnings of generated traffic against those of the real transport layer.
        from = $2 == "warnings" ? "tshark\ttransport warnings" : key
        known = from in low
        bounds($3, low[from], high[from], of[key])
        shown = known && $3 !~ /flows|packets/ ? sprintf("%.4g..%.4g", low[from], high[from]) : "-"
        ok = key in value && value[key] >= least - 1e-9 && value[key] <= most + 1e-9
        printf "%s\t%s\t%s\t%s\t%s %.4g..%.4g\t%s\n", $1, $2, shown, key in value ? sprintf("%.6g", value[key]) : "missing", $3, least, most, ok ? "ok" : "FAIL"
    }' "$real" "$work/generated" "$work/bounds" >"$out/tools.tsv"
{ printf 'tool\tquantity\treal\tgenerated\tbound\tok\n'; cat "$out/tools.tsv"; } |
    awk -F'\t' '{ printf "%-11s %-26s %-18s %-10s %-26s %s\n", $1, $2, $3, $4, $5, $6 }'
! grep -q 'FAIL$' "$out/tools.tsv" || { echo "FAIL: $(grep -c 'FAIL$' "$out/tools.tsv") figures out of bounds"; exit 1; }
