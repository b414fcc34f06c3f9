# A capture much larger than the memory given is encoded within it, and to the same bytes as with plenty, on 1, 2 and 3
# ranks. One of its flows alone is larger than that memory. Arguments: the launcher, if there is one.
. "$(dirname "$0")/script.sh"
"$ND_BIN/io_make_captures" large.pcap 18000 || fail "no large capture"
size=$(stat -c %s large.pcap)
[ "$size" -gt 250000000 ] || fail "the capture has only $size bytes"
settings="data.captures=large.pcap encode.memory"

want 0 "18001 flows" "$ND_BIN/io_peak_memory" 400 "$encode" $settings=1G out=plenty threads=1
want 0 "18001 flows" "$ND_BIN/io_peak_memory" 80 "$encode" $settings=8M out=little threads=1
cmp plenty/dataset.h5 little/dataset.h5 || fail "other bytes with little memory"
for n in ${1:+2 3}; do
    want 0 "18001 flows" timeout 100 "$@" -np $n "$encode" $settings=64M out=ranks threads=1
    cmp plenty/dataset.h5 ranks/dataset.h5 || fail "$n ranks: other bytes"
done

# The large flow is there in one piece, and readers need nothing of ours.
if command -v h5dump > /dev/null; then
    want 0 "DATASPACE  SIMPLE { ( 18001 )" h5dump -H -d flow/npackets plenty/dataset.h5
    want 0 "(17999)" h5dump -d flow/npackets -s 17999 -c 2 plenty/dataset.h5
    h5dump -d packet/header -s 30000000 -c 1000 plenty/dataset.h5 > out.txt || fail "h5dump cannot read the headers"
else
    echo "note: h5dump is not installed"
fi
want 0 "18001         554549" "$encode" --info plenty/dataset.h5
