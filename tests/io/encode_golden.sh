# Real captures: nPrint text equal to the nPrint tool's, the label counts of the captures' own table, 1 and 2 ranks.
# Arguments: the launcher, if there is one.
. "$(dirname "$0")/script.sh"
shared=$ND_SHARED/data
[ -d "$shared/captures/pcap" ] && [ -d "$shared/nprint-golden" ] || { echo "skipped: no captures in $shared"; exit 77; }

# index.csv: golden, input, input_sha256, frames_considered, rows, ...
tail -n +2 "$shared/nprint-golden/index.csv" | while IFS=, read -r golden input _ frames rows _; do
    run "$encode" --export nprint "$shared/$input" csv --limit "$frames"
    name=csv/$(basename "$input").nprint.csv
    [ "$(wc -l < "$name")" -eq $((rows + 1)) ] || fail "$input: $(wc -l < "$name") lines for $rows rows"
    xz -dc "$shared/nprint-golden/$golden" | cmp - "$name" || fail "$input: not the rows of the nPrint tool"
done || exit 1

want 0 "1249 flows, 36102 packets from 36443 frames of 33 captures" "$encode" "data.captures=$shared/captures/pcap" \
    "data.labels=$shared/captures/labels.csv" out=one encode.memory=4M
# Flows of every label equal the rows of the labels.
awk -F, 'NR > 1 { n[$16]++ } END { for (l in n) print l, n[l] }' "$shared/captures/labels.csv" | sort > want.txt
awk '$1 ~ /^(ndencode:|label|\(no|skipped|not_ip|ipv6|protocol|one\/)/ { next } NF > 3 { print $1, $3 }' out.txt | sort > got.txt
diff want.txt got.txt || fail "flows per label"
if [ $# -gt 0 ]; then
    want 0 "1249 flows" timeout 60 "$@" -np 2 "$encode" "data.captures=$shared/captures/pcap" \
        "data.labels=$shared/captures/labels.csv" out=two encode.memory=4M
    cmp one/dataset.h5 two/dataset.h5 || fail "2 ranks: other bytes"
fi

# All hostile files at once: what is good is kept, nothing crashes.
want 0 "damaged captures: " "$encode" "data.captures=$shared/captures/hostile" out=hostile encode.memory=256k
want 0 "link_type" "$encode" --info hostile/dataset.h5
