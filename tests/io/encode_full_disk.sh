# A full disk is one clear error, wherever it strikes, and never a dataset; with more room the next run goes on from what
# was finished. Arguments: the launcher, if there is one.
. "$(dirname "$0")/script.sh"
mkdir disk
mount -t tmpfs -o size=64k tmpfs disk 2> /dev/null || { echo "skipped: no tmpfs can be mounted here (not root?)"; exit 77; }
trap 'umount "$work/disk"; rm -rf "$work"' EXIT

want 0 "240 flows" "$encode" data.captures=captures data.labels=labels.csv out=room
kilobytes=16
while :; do
    mount -o remount,size=${kilobytes}k disk || fail "remount"
    launch=
    [ $# -gt 0 ] && [ $((kilobytes % 96)) -eq 0 ] && launch="$* -np 2"
    timeout 60 $launch "$encode" data.captures=captures data.labels=labels.csv out=disk/out > out.txt 2>&1
    code=$?
    [ $code -eq 0 ] && break
    [ $code -eq 1 ] || { cat out.txt; fail "exit $code on a disk of $kilobytes kB"; }
    [ "$(grep -c error: out.txt)" -eq 1 ] || { cat out.txt; fail "not one error message on a disk of $kilobytes kB"; }
    grep -q "No space left on device" out.txt || { cat out.txt; fail "the message does not say why"; }
    if [ -e disk/out/dataset.h5 ]; then # the dataset was done, the configuration beside it was not
        want 0 "240 flows" "$encode" --info disk/out/dataset.h5
    fi
    [ -z "$(find disk -name '*.part-*')" ] || fail "left on a disk of $kilobytes kB: $(find disk)"
    [ $((kilobytes % 64)) -eq 0 ] || rm -rf disk/out
    kilobytes=$((kilobytes + 16))
    [ $kilobytes -lt 8192 ] || fail "not even $kilobytes kB are enough"
done
cmp room/dataset.h5 disk/out/dataset.h5 || fail "other bytes on the small disk"
[ $kilobytes -gt 64 ] || fail "the disk was never full"
want 0 "240 flows" "$encode" --info disk/out/dataset.h5
