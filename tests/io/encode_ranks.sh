# The dataset has the same bytes for 1, 2 and 3 ranks; an error on one rank ends all; leftovers of a killed run go away.
# Arguments: the launcher, e.g. mpirun -np is appended.
. "$(dirname "$0")/script.sh"
[ $# -gt 0 ] || { echo "skipped: built without message passing"; exit 77; }

for memory in 256M 256k; do
    want 0 "240 flows, 2900 packets" "$encode" data.captures=captures data.labels=labels.csv out=one encode.memory=$memory
    for n in 1 2 3; do
        want 0 "240 flows, 2900 packets" timeout 60 "$@" -np $n "$encode" data.captures=captures data.labels=labels.csv \
            out=ranks$n encode.memory=$memory
        cmp one/dataset.h5 ranks$n/dataset.h5 || fail "$n ranks, memory $memory: other bytes"
        [ "$(ls ranks$n)" = "dataset.h5
dataset.yaml" ] || fail "$n ranks left something: $(ls ranks$n)"
    done
done

# Rows that match no flow are no error while their labels have flows: one warning, the same everywhere.
cat > useless.csv << 'END'
file,label,filter
a.pcap,x,tcp
a.pcap,x,tcp port 1
cut.pcap,x,udp port 2
elsewhere.pcap,x,tcp
b.pcap.gz,y,
b.pcap.gz,y,udp port 3
cut.pcap,y,tcp port 4
END
warning="4 rows of the labels file match no flow: useless.csv:3 (a.pcap, x), useless.csv:4 (cut.pcap, x), useless.csv:7 (b.pcap.gz, y) and 1 more"
for memory in 256M 256k; do
    for n in 1 2 3; do
        want 0 "$warning" timeout 60 "$@" -np $n "$encode" data.captures=captures data.labels=useless.csv out=useless \
            encode.memory=$memory quiet=yes
        [ "$(grep -c 'match no flow' out.txt)" -eq 1 ] || { cat out.txt; fail "$n ranks: not one warning"; }
    done
done
head -3 useless.csv > few.csv
want 0 "1 row of the labels file matches no flow: few.csv:3 (a.pcap, x)" "$encode" data.captures=captures \
    data.labels=few.csv out=useless
want 0 "240 flows" "$encode" data.captures=captures data.labels=labels.csv out=useless
! grep "no flow" out.txt || fail "a warning about rows that match"

# Where the captures lie does not matter.
mkdir moved && cp -r captures labels.csv moved/
want 0 "240 flows" "$encode" "data.captures=$work/moved/captures" data.labels=moved/labels.csv out=two encode.memory=256k
cmp one/dataset.h5 two/dataset.h5 || fail "captures elsewhere: other bytes"

# A filter that only the rank with cut.pcap meets.
echo "file,label,filter
a.pcap,x,tcp
cut.pcap,y,no filter at all" > bad.csv
for n in 1 2 3; do
    start=$SECONDS
    want 1 "bad.csv:3: filter 'no filter at all'" timeout 60 "$@" -np $n "$encode" data.captures=captures \
        data.labels=bad.csv out=bad encode.memory=256k
    [ $((SECONDS - start)) -lt 20 ] || fail "$n ranks took $((SECONDS - start)) s to end after an error"
    [ ! -e bad/dataset.h5 ] || fail "a dataset in spite of an error"
    [ ! -e bad/dataset.parts ] || fail "parts in spite of an error"
    [ "$(grep -c 'error' out.txt)" -eq 1 ] || { cat out.txt; fail "not one error message"; }
done

# What a killed run leaves.
mkdir -p one/dataset.parts && echo rubbish > one/dataset.parts/00000000.h5 && echo rubbish > one/dataset.h5.part-99999
want 0 "240 flows" "$encode" data.captures=captures data.labels=labels.csv out=one encode.memory=256k
cmp one/dataset.h5 two/dataset.h5 || fail "leftovers changed the bytes"
[ "$(ls one)" = "dataset.h5
dataset.yaml" ] || fail "leftovers are still there: $(ls one)"
