# --export, --import and --info: there and back, and what is refused.
. "$(dirname "$0")/script.sh"
want 0 "240 flows" "$encode" data.captures=captures data.labels=labels.csv out=out
data=out/dataset.h5

# nPrint text: a capture and the dataset made from it agree; rows come back as the same packets.
run "$encode" --export nprint captures/a.pcap csv
run "$encode" --export nprint $data csvs
cmp csv/a.pcap.nprint.csv csvs/a.pcap.nprint.csv || fail "capture and dataset give other rows"
[ "$(ls csvs | wc -l)" -eq 3 ] && [ -e csvs/deep_b.pcap.gz.nprint.csv ] || fail "csvs: $(ls csvs)"
run "$encode" --import nprint csvs/a.pcap.nprint.csv csvs/deep_b.pcap.gz.nprint.csv back.h5
want 0 "210 flows, 2503 packets from 2503 frames" "$encode" --info back.h5
run "$encode" --export nprint back.h5 again
cmp csvs/a.pcap.nprint.csv again/a.pcap.nprint.csv.nprint.csv || fail "rows changed on the way"
run "$encode" --export nprint captures/a.pcap few --limit 9
[ "$(wc -l < few/a.pcap.nprint.csv)" -eq 10 ] || fail "--limit 9 gives $(wc -l < few/a.pcap.nprint.csv) lines"

# Files whose flat names are the same, and labels that no file name can hold: nothing is written over or merged.
mkdir -p alike/a && cp captures/a.pcap alike/a/b.pcap && cp captures/deep/b.pcap.gz alike/a_b.pcap
printf 'file,label,filter\na/b.pcap,x/y,ip[11] < 4\na_b.pcap,x_y,ip[11] < 4\n' > alike.csv # few, pictures take long
want 0 "210 flows" "$encode" data.captures=alike data.labels=alike.csv out=alike
run "$encode" --export nprint alike/dataset.h5 alikes
[ "$(ls alikes | tr '\n' ' ')" = "a_b.pcap-2.nprint.csv a_b.pcap.nprint.csv " ] || fail "alikes: $(ls alikes)"
cmp csvs/a.pcap.nprint.csv alikes/a_b.pcap.nprint.csv || fail "a/b.pcap is not what a_b.pcap.nprint.csv holds"
cmp csvs/deep_b.pcap.gz.nprint.csv alikes/a_b.pcap-2.nprint.csv || fail "a_b.pcap has other rows"
want 0 "3 flows" "$encode" data.captures=alike data.labels=alike.csv out=few encode.unlabelled=no
run "$encode" --export png few/dataset.h5 alike_png
run "$encode" --import png alike_png/*.png alike_png.h5
want 0 "3 flows" "$encode" --info alike_png.h5
[ "$(grep -c '^x_y' out.txt)" -eq 2 ] || { cat out.txt; fail "x/y and x_y are one label"; }

# A damaged capture gives its good rows and an error.
want 1 "damaged after record 397" "$encode" --export nprint captures/cut.pcap csv
[ "$(wc -l < csv/cut.pcap.nprint.csv)" -eq 398 ] || fail "rows of the damaged capture"

# Rows without an IPv4 packet are counted, text that is no row is an error with its place.
head -3 csv/a.pcap.nprint.csv > some.csv
vacant=$(printf ',-1%.0s' $(seq 1088))
echo "2001:db8::1$vacant" >> some.csv
echo "x${vacant/,-1,-1,-1,-1/,0,1,0,0}" >> some.csv
run "$encode" --import nprint some.csv some.h5
want 0 "2 packets from 4 frames" "$encode" --info some.h5
grep -q "ipv6 *1" out.txt && grep -q "ip_bad *1" out.txt || { cat out.txt; fail "skipped rows"; }
for bad in "x" "x${vacant/-1/2}" "x$vacant,0" "x${vacant%,-1}" "x${vacant/-1/}" "x${vacant%1}"; do
    { head -2 csv/a.pcap.nprint.csv; echo "$bad"; } > bad.csv
    want 1 "bad.csv:3: not an index and 1088 values" "$encode" --import nprint bad.csv bad.h5
    [ ! -e bad.h5 ] || fail "a dataset from bad rows"
done
: > bad.csv
want 1 "bad.csv: empty: a header line is needed" "$encode" --import nprint bad.csv bad.h5
[ ! -e bad.h5 ] || fail "a dataset from an empty file"
sed 1s/tcp_fin_0/tcp_finish_0/ some.csv > bad.csv
want 1 "bad.csv:1: the columns are not those" "$encode" --import nprint bad.csv bad.h5

# Pictures.
run "$encode" --export png $data png --limit 20
[ "$(ls png | wc -l)" -eq 20 ] || fail "20 pictures were wanted: $(ls png | wc -l)"
ls png/flow-000000-*.png > /dev/null || fail "names: $(ls png)"
run "$encode" --import png png/*.png png.h5
want 0 "20 flows" "$encode" --info png.h5
grep -q "^three " out.txt || fail "labels of the pictures"
run "$encode" --export png png.h5 png2
for f in png/*.png; do
    cmp "$f" "png2/$(basename "$f")" || fail "$f changed on the way"
done
run "$encode" --export png captures/a.pcap png3 --limit 2
[ "$(ls png3 | tr '\n' ' ')" = "flow-000000-unlabelled.png flow-000001-unlabelled.png " ] || fail "png3: $(ls png3)"
want 1 "labels.csv: " "$encode" --import png labels.csv bad.h5

# Refused.
want 2 "usage" "$encode" --export
want 2 "usage" "$encode" --import nprint x
want 2 "usage" "$encode" --info
want 2 "nprint or png" "$encode" --export pcap $data x
want 2 "--limit" "$encode" --export png $data x --limit none
want 1 "none.h5" "$encode" --info none.h5
want 1 "none.h5" "$encode" --export png none.h5 x
want 1 "no capture" "$encode" --export png labels.csv x
want 1 "not an HDF5 file" "$encode" --info labels.csv
