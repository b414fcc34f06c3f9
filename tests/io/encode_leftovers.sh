# Whole files that an earlier run left are used only where this run would make the same; names of files and folders may
# hold any bytes.
. "$(dirname "$0")/script.sh"
settings="data.captures=captures threads=1 quiet=yes"

# same OUT SETTINGS...: a run that finds what lies in OUT gives the bytes of one that finds nothing.
same() {
    local out=$1
    shift
    rm -rf fresh
    want 0 "flows" "$encode" "$@" out=fresh
    want 0 "flows" timeout -s KILL 20 "$encode" "$@" "out=$out"
    cmp fresh/dataset.h5 "$out/dataset.h5" || fail "$out: leftovers changed the bytes"
}

# unfinished OUT SETTINGS...: all is done but the dataset cannot be put in place, so that all parts and chunks are kept.
unfinished() {
    local out=$1
    shift
    rm -rf "$out"
    mkdir -p "$out/dataset.h5"
    want 1 "$out/dataset.h5" "$encode" "$@" "out=$out"
    [ -n "$(ls "$out"/dataset.parts/*.index)" ] || fail "$out: no chunks are kept"
    rmdir "$out/dataset.h5"
}

# A rank that is alone keeps small captures in memory. One of them changes (a packet's IP identification) between two
# runs; the chunks of the first hold its old bytes.
"$ND_BIN/io_make_captures" captures/large.pcap 3000 || fail "no large capture"
unfinished changed $settings encode.memory=4M
printf '\125\252' | dd of=captures/a.pcap bs=1 seek=$((24 + 16 + 14 + 4)) conv=notrunc 2> /dev/null
same changed $settings encode.memory=4M

# An index whose end did not reach the disk.
unfinished index $settings encode.memory=4M
file=$(ls index/dataset.parts/*.index | head -1)
size=$(stat -c %s "$file")
dd if=/dev/zero of="$file" bs=8 seek=$((size / 16)) count=$((size / 8 - size / 16)) conv=notrunc 2> /dev/null
same index $settings encode.memory=4M

# Marks of partitions whose capture was then read anew into another number of them, as another number of ranks can do.
unfinished number $settings encode.memory=2M
sed -i 's/memory 2097152/memory 4194304/' number/dataset.parts/identity
rm number/dataset.parts/*.pass
same number $settings encode.memory=4M

# Names of captures that are no UTF-8, names of outputs that are patterns.
mkdir bytes
cp captures/large.pcap "bytes/$(printf 'caf\351%%.pcap')"
same latin data.captures=bytes threads=1 quiet=yes encode.memory=2M
unfinished "o[1]*" $settings encode.memory=2M
touch "o[1]*/dataset.h5.part-77" # of a run that was killed
same "o[1]*" $settings encode.memory=2M
[ "$(ls "o[1]*" | tr '\n' ' ')" = "dataset.h5 dataset.yaml " ] || fail "o[1]* still has $(ls "o[1]*")"

# Captures that fill the memory of a rank that is alone leave enough for those after them: one packet needs a block of a
# megabyte, 8 bytes for its order and 400 for its flow.
mkdir full
for i in 1 2 3; do
    head -c $((24 + 16 + $(od -An -tu4 -j 32 -N 4 captures/a.pcap))) captures/a.pcap > full/$i.pcap
done
want 0 "3 flows, 3 packets" timeout -s KILL 20 "$encode" data.captures=full out=full_out encode.memory=$(((1 << 20) + 408))
