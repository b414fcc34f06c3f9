#!/usr/bin/env bash
# ndeval on captures of another origin: a folder of plain pcaps gets the whole report, the same on 1 and 2 ranks; limits,
# and what goes wrong is said. The "generator" is a sample capture that the real dataset does not hold.
set -euo pipefail
cd "${ND_SOURCE:?}"
bin=${ND_BIN:?}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAIL: $*"; exit 1; }
want() { # want CODE TEXT COMMAND...: exit code, and a text in what it prints
    local code=$1 text=$2 got=0
    shift 2
    timeout 100 "$@" >"$work/printed" 2>&1 || got=$?
    [ $got = "$code" ] || { tail -5 "$work/printed"; fail "exit $got instead of $code: $*"; }
    grep -qF -- "$text" "$work/printed" || { cat "$work/printed"; fail "\"$text\" is missing: $*"; }
}

sample=data/sample
mkdir "$work/foreign"
gzip -dc $sample/run2.pcapng.gz >"$work/foreign/run2.pcapng"
sed 's/run2.pcapng.gz/run2.pcapng/' $sample/labels.csv >"$work/labels.csv"
settings=(configs/demo.yaml out="$work/out" threads=1
    data.captures=$sample/run1.pcap.gz,$sample/run3.pcap.gz,$sample/run4.pcap.gz
    eval.synthetic="$work/foreign" eval.labels="$work/labels.csv" eval.seeds=1 eval.trees=10 eval.tools=no)
"$bin/ndencode" "${settings[@]}" quiet=yes >"$work/encode.log"

want 0 "dry run" "$bin/ndeval" "${settings[@]}" --dry-run
[ ! -e "$work/out/report.json" ] || fail "the dry run wrote a report"

want 0 "$work/out/report.html" "$bin/ndeval" "${settings[@]}"
for title in "What was compared" "Validity" "Jensen-Shannon"; do
    grep -q "^$title" "$work/printed" || fail "$title is not in what was printed"
done
for file in report.json report.md report.html images/web.png images/dns.png; do
    [ -s "$work/out/$file" ] || fail "no $file"
done
grep -qi '\bnan\b' "$work/out/report.md" "$work/out/report.json" && fail "a figure that is not a number"
grep -qE '<script|src="http|href="http' "$work/out/report.html" && fail "the page needs something from outside"
[ "$(grep -o 'src="data:image/png;base64,iVBOR' "$work/out/report.html" | wc -l)" = 12 ] || fail "12 pictures are wanted"
[ "$(grep -c '<svg class="chart"' "$work/out/report.html")" -ge 8 ] || fail "charts of 4 macro classes are missing"
# Every table of the page is in the Markdown and the JSON.
html=$(grep -c '<div class="scroll">' "$work/out/report.html")
json=$(grep -c '"columns": \[' "$work/out/report.json")
md=$(grep -c '^| ---' "$work/out/report.md")
[ "$html" = $((json + 1)) ] || fail "$html tables on the page, $json in report.json (and the values)"
[ "$md" -ge "$html" ] || fail "$html tables on the page, $md in report.md"

mv "$work/out" "$work/one"
mkdir "$work/out"
ln "$work/one/dataset.h5" "$work/out/dataset.h5"
mkdir -p "$work/out/train/base/loss.jsonl" # no curve can be read there, which is no reason to lose the report
want 0 "report.html" mpirun.openmpi --oversubscribe --bind-to none -np 2 "$bin/ndeval" "${settings[@]}"
for file in report.json report.md report.html images/web.png; do
    cmp "$work/one/$file" "$work/out/$file" || fail "$file differs between 1 and 2 ranks"
done

# Limits: the report is written, then the first that does not hold is named.
rm "$work/out/report.json"
want 1 "flows_valid>2 does not hold" "$bin/ndeval" "${settings[@]}" --fail-on 'flows_valid<=1,flows_valid>2'
[ -s "$work/out/report.json" ] || fail "no report where a limit does not hold"
want 2 "this report has no such value" "$bin/ndeval" "${settings[@]}" 'eval.fail_on=validity.before>=1'
# A name that is none is found before the flows are read.
rm "$work/out/report.json"
want 2 'did you mean "summary.jsd_ttl"' "$bin/ndeval" "${settings[@]}" 'eval.fail_on=summary.jsd_tll<=1'
[ ! -e "$work/out/report.json" ] || fail "a limit on an unknown name is found at the end only"
want 2 'did you mean "jsd.all"' "$bin/ndeval" "${settings[@]}" 'eval.fail_on=jsd.al<=1' data.dataset=nowhere
want 2 "is not NAME<=X" "$bin/ndeval" "${settings[@]}" 'eval.fail_on=flows_valid=1'
want 2 'no run "9"' "$bin/ndeval" "${settings[@]}" data.holdout=9
want 2 "LABEL.pcap" "$bin/ndeval" "${settings[@]}" eval.labels=
want 1 "eval.synthetic" "$bin/ndeval" "${settings[@]}" eval.synthetic="$work/nowhere"
want 0 "data.holdout names no run" "$bin/ndeval" "${settings[@]}" data.holdout=
grep -q "held out (training saw them)" "$work/out/report.md" || fail "the report does not say that training saw what is held out"
echo "the report of a foreign capture: $json tables"
