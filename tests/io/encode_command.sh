# ndencode's command line: exit codes, --help, --dry-run, YAML, the saved configuration, h5dump.
. "$(dirname "$0")/script.sh"

want 0 "data.captures" "$encode" --help
grep -q -- "--export nprint|nprint-v6|png|png-v6" out.txt || fail "--help does not show the other uses"
want 2 "data.captures" "$encode"
want 2 "capturs" "$encode" data.capturs=x
want 2 "encode.compress" "$encode" data.captures=captures encode.compress=10
want 1 "none.yaml" "$encode" none.yaml
want 1 "nowhere.pcap: no such capture" "$encode" data.captures=captures,nowhere.pcap
want 1 "no captures in it" "$encode" data.captures="$ND_BIN"
want 0 "3 captures" "$encode" data.captures=captures --dry-run
[ ! -e out ] || fail "--dry-run made something"

# A path that cannot be made.
want 1 "cannot make the folder" "$encode" data.captures=captures out=labels.csv/out

cat > e.yaml <<YAML
name: made
out: fromyaml
data:
    captures: [captures/a.pcap, "captures/*/b*"]
    labels: labels.csv
    prompts: {three: the third}
encode: {memory: 300k, compress: 3}
YAML
want 0 "the third" "$encode" e.yaml
want 0 "210 flows" "$encode" --info fromyaml/dataset.h5
cp fromyaml/dataset.h5 first.h5
want 1 "standard output: writing failed" sh -c "\"$encode\" --info first.h5 > /dev/full"
want 0 "the third" env MALLOC_PERTURB_=85 "$encode" e.yaml # freed memory, the HDF5 driver's too, is looked at no more
head -c 5000 first.h5 > cut.h5
want 1 "truncated" "$encode" --info cut.h5
want 0 "the third" "$encode" fromyaml/dataset.yaml
cmp first.h5 fromyaml/dataset.h5 || fail "the saved configuration gives other bytes"
want 0 "the third" "$encode" fromyaml/dataset.yaml out=elsewhere data.dataset=sub/folder/d.h5
cmp first.h5 sub/folder/d.h5 || fail "another place gives other bytes"
want 0 "no flow of these captures can have the label 'nobody'" "$encode" e.yaml data.prompts=nobody:x

# Nothing that differs from day to day: HDF5 keeps times with a resolution of a second.
sleep 1.1
want 0 "the third" "$encode" e.yaml
cmp first.h5 fromyaml/dataset.h5 || fail "a second run gives other bytes"

if command -v h5dump > /dev/null; then
    want 0 "nd-dataset" h5dump -a schema first.h5
    want 0 "DATASPACE  SIMPLE { ( 2503 )" h5dump -H -d packet/time first.h5
    want 0 '"three"' h5dump -d table/label first.h5
else
    echo "note: h5dump is not installed"
fi
