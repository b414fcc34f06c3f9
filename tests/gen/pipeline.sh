#!/usr/bin/env bash
# The whole chain on the sample captures with a tiny model: same bytes for 1, 2 and 3 ranks, one flow alone equals itself in
# the whole, link types and payload policies, and what goes wrong is said.
set -euo pipefail
cd "${ND_SOURCE:?}"
bin=${ND_BIN:?}
work=$(mktemp -d)
trap 'umount "$work/small" 2>/dev/null || true; rm -rf "$work"' EXIT
fail() { echo "FAIL: $*"; exit 1; }
launch() { local n=$1; shift; timeout -k 5 200 mpirun.openmpi --oversubscribe --bind-to none -np "$n" "$@"; }

settings=(configs/demo.yaml out="$work/x" quiet=yes threads=1 model.width=64 model.layers=2 model.packets=12 model.context=4
    train.batch=16 train.base.steps=300 train.control.steps=20 train.lora.steps=20
    gen.flows=dns:9,web:9,ping:5,api:6 gen.batch=4 gen.steps=3)

launch 2 "$bin/ndencode" "${settings[@]}" >"$work/encode.log"
for mode in base control lora; do
    launch 2 "$bin/ndtrain" "${settings[@]}" train.mode=$mode >>"$work/train.log"
done

# Same seed, same bytes, for any number of ranks and threads.
files=(all.pcap dns.pcap web.pcap ping.pcap api.pcap flows.csv dataset.h5 raw.h5)
for n in 1 2 3; do
    launch $n "$bin/ndgen" "${settings[@]}" gen.dir="$work/gen$n"
    for file in "${files[@]}"; do
        cmp "$work/gen1/$file" "$work/gen$n/$file" || fail "$file differs between 1 and $n ranks"
    done
done
timeout 200 "$bin/ndgen" "${settings[@]}" gen.dir="$work/threads" threads=2
for file in "${files[@]}"; do
    cmp "$work/gen1/$file" "$work/threads/$file" || fail "$file differs between 1 and 2 threads"
done
timeout 200 "$bin/ndgen" "${settings[@]}" gen.dir="$work/seed" seed=2
cmp -s "$work/gen1/all.pcap" "$work/seed/all.pcap" && fail "another seed gave the same capture"
[ ! -e "$work/gen1/parts" ] || fail "parts were left behind"

# Every flow is in the merged capture, whole, and time never goes back.
[ "$(wc -l <"$work/gen1/flows.csv")" = 30 ] || fail "flows.csv has not 29 flows"
want=$(awk -F, 'NR > 1 { n += $12 } END { print n }' "$work/gen1/flows.csv")
got=$(tshark -n -r "$work/gen1/all.pcap" -T fields -e frame.time_epoch 2>/dev/null | tee "$work/times" | wc -l)
[ "$want" = "$got" ] || fail "$got packets in all.pcap, $want in flows.csv"
sort -c "$work/times" || fail "times go back"
parts=0
for label in dns web ping api; do
    parts=$((parts + $(tshark -n -r "$work/gen1/$label.pcap" -T fields -e frame.number 2>/dev/null | wc -l)))
done
[ "$parts" = "$got" ] || fail "the labels' captures hold $parts packets, all.pcap $got"

# Flows are as long as those learnt from, not as the model's window of 12 rows; data.max_packets cuts them. Rows are counted
# before repair, which leaves out most acknowledgements that a model of so few steps makes.
rows() { "$bin/ndencode" --info "$1" | awk -v label="$2" '$1 == label { print $4 }'; } # rows DATASET LABEL
[ "$(rows "$work/gen1/raw.h5" web)" -gt $((9 * 60)) ] || fail "9 flows of web have $(rows "$work/gen1/raw.h5" web) rows"
timeout 60 "$bin/ndgen" "${settings[@]}" gen.dir="$work/cap" gen.flows=web:3 data.max_packets=30
got=$(rows "$work/cap/raw.h5" web) # a retransmission that is drawn comes on top
[ "$got" -ge 90 ] && [ "$got" -le 93 ] || fail "data.max_packets=30 gave 3 flows $(rows "$work/cap/raw.h5" web) rows"

# What was generated reads back as what it is: ndencode with flows.csv as labels finds the same flows.
timeout 60 "$bin/ndencode" configs/demo.yaml quiet=yes out="$work/back" data.captures="$work/gen1/all.pcap" \
    data.labels="$work/gen1/flows.csv" data.holdout= >"$work/back.log"
"$bin/ndencode" --info "$work/back/dataset.h5" >"$work/info"
for row in "api 6" "dns 9" "ping 5" "web 9"; do
    set -- $row
    grep -qE "^ *$1 .*\b$2\b" "$work/info" || { cat "$work/info"; fail "$1: not $2 flows in the capture read back"; }
done

# One flow alone has the bytes it has in the whole.
timeout 60 "$bin/ndgen" "${settings[@]}" gen.dir="$work/one" gen.item=11
fields=(-T fields -e frame.time_epoch -e ip.src -e ip.id -e ip.checksum -e frame.len -e tcp.seq_raw -e udp.checksum)
line=$(awk -F, '$2 == 11' "$work/gen1/flows.csv")
IFS=, read -r _ _ _ src _ dst _ <<<"$line"
tshark -n -r "$work/one/flow-11.pcap" "${fields[@]}" 2>/dev/null >"$work/alone"
tshark -n -r "$work/gen1/all.pcap" -Y "ip.addr == $src && ip.addr == $dst" "${fields[@]}" 2>/dev/null >"$work/within"
[ -s "$work/alone" ] || fail "gen.item wrote nothing"
cmp "$work/alone" "$work/within" || fail "flow 11 alone differs from itself in the whole"

# Less of the model, from the same configuration: the same flows by number, label and length, other packets.
launch 2 "$bin/ndgen" "${settings[@]}" gen.dir="$work/gen1" gen.variants=base,lora,control
cmp "$work/gen1/dataset.h5" "$work/gen2/dataset.h5" || fail "variants changed the flows of the whole model"
for name in base lora control; do
    cmp <(cut -d, -f2,8 "$work/gen1/flows.csv") <(cut -d, -f2,8 "$work/gen1/variants/$name/flows.csv") ||
        fail "variant $name has other flows"
    cmp -s "$work/gen1/all.pcap" "$work/gen1/variants/$name/all.pcap" && fail "variant $name is the whole model"
done
cmp -s "$work/gen1/variants/base/api.pcap" "$work/gen1/variants/lora/api.pcap" && fail "variant lora goes without its LoRA"
cmp "$work/gen1/variants/base/dns.pcap" "$work/gen1/variants/lora/dns.pcap" || fail "the LoRA reaches labels of the base"
code=0
"$bin/ndgen" "${settings[@]}" gen.variants=bass 2>"$work/log" || code=$?
[ $code = 2 ] && grep -q '"bass" is none of base' "$work/log" || fail "an unknown variant was taken"
timeout 100 "$bin/ndeval" "${settings[@]}" gen.dir="$work/gen1" gen.variants=base,lora,control eval.dir="$work/judged" \
    eval.seeds=1 eval.trees=5 eval.tools=no eval.images=no >"$work/eval.log" || { cat "$work/eval.log"; fail "ndeval"; }
for name in base lora control; do
    grep -q "^| $name |" "$work/judged/report.md" || fail "the report has no row of variant $name"
done

# Link types and payload policies.
timeout 60 "$bin/ndgen" "${settings[@]}" gen.dir="$work/raw" gen.link=raw gen.payload=truncate
capinfos "$work/raw/all.pcap" | grep -q 'Raw IP' || fail "gen.link=raw is not raw IP"
tshark -n -r "$work/raw/all.pcap" -T fields -e frame.cap_len -e frame.len 2>/dev/null |
    awk '$1 > 120 { bad = 1 } $1 < $2 { cut = 1 } END { exit bad || !cut }' || fail "gen.payload=truncate stores payload"
timeout 60 "$bin/ndgen" "${settings[@]}" gen.dir="$work/template" gen.flows=dns:4 gen.control=configs/templates.yaml
[ "$(awk -F, 'NR > 1 { print $12 }' "$work/template/flows.csv" | sort -u)" = 2 ] || fail "the given conversation was not followed"

# The paper's raw bits go the same way; their rows are mostly invalid, what repair makes of them is not.
raw=("${settings[@]}" model.layout=nprint model.dir="$work/bits" train.base.exclude= gen.flows=dns:4,web:4 gen.dir="$work/bits/gen")
launch 2 "$bin/ndtrain" "${raw[@]}" out="$work/bits" data.dataset="$work/x/dataset.h5" train.mode=base train.base.steps=30 >>"$work/train.log"
timeout 60 "$bin/ndgen" "${raw[@]}" data.dataset="$work/x/dataset.h5"
[ "$(tshark -n -r "$work/bits/gen/all.pcap" -T fields -e ip.src -e ip.dst 2>/dev/null | tr '\t' '\n' | grep -vcE '^(198\.51\.100|192\.0\.2)\.')" = 0 ] ||
    fail "addresses that nobody configured"

# Errors: one clear line, the right exit code, on any number of ranks, and nothing published.
refuse() { # refuse CODE PATTERN ARGUMENTS...: a run of two ranks fails with that code and one message
    local code=$1 pattern=$2 got=0
    shift 2
    launch 2 "$bin/ndgen" "${settings[@]}" gen.dir="$work/bad" "$@" >"$work/error" 2>&1 || got=$?
    [ $got = "$code" ] || { cat "$work/error"; fail "exit $got instead of $code for $*"; }
    [ "$(grep -c "$pattern" "$work/error")" = 1 ] || { cat "$work/error"; fail "no single line with \"$pattern\" for $*"; }
    [ ! -e "$work/bad/dataset.h5" ] || fail "something was published for $*"
}
refuse 2 'no label "nosuch"' gen.flows=nosuch:3
refuse 2 'gen.flow' gen.flow=dns:3
refuse 1 "$work/none" model.dir="$work/none"
refuse 2 'address pairs' gen.flows=dns:9999999
refuse 2 'no run "nosuch"' data.holdout=nosuch
refuse 2 'neither none, real or sampled' gen.control=samplde
refuse 2 'more than the 12 packets' gen.flows=web:3 gen.control=configs/templates.yaml data.max_packets=12
if [ "$(id -u)" = 0 ] && mkdir "$work/small" && mount -t tmpfs -o size=96k tmpfs "$work/small" 2>/dev/null; then
    code=0
    launch 2 "$bin/ndgen" "${settings[@]}" gen.dir="$work/small/gen" >"$work/error" 2>&1 || code=$?
    [ $code = 1 ] || { cat "$work/error"; fail "exit $code on a full disk"; }
    grep -qi 'space' "$work/error" || { cat "$work/error"; fail "the full disk is not named"; }
    [ ! -e "$work/small/gen/dataset.h5" ] || fail "a dataset was published on a full disk"
else
    echo "full disk: not tested (no tmpfs can be mounted here)"
fi
echo "all bytes equal for 1, 2 and 3 ranks"
