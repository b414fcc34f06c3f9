# Failures of the world: one clear message that names the file, all ranks end with exit code 1, nothing that looks whole.
# Arguments: the launcher, if there is one.
. "$(dirname "$0")/script.sh"
"$ND_BIN/io_make_captures" captures/large.pcap 4000 || fail "no large capture"
settings="data.captures=captures encode.memory=2M threads=1"

# check NAME: the run's exit code is in $code, its output in out.txt.
check() {
    [ "$code" -eq 1 ] || { cat out.txt; fail "$1: exit $code"; }
    [ "$(grep -c error: out.txt)" -eq 1 ] || { cat out.txt; fail "$1: not one error message"; }
    grep -q -- "$2" out.txt || { cat out.txt; fail "$1: no '$2' in the message"; }
    [ ! -e out/dataset.h5 ] && [ -z "$(ls out/*.part-* 2> /dev/null)" ] || fail "$1: left $(ls out)"
}

for n in 1 ${1:+3}; do
    launch=
    [ $n -gt 1 ] && launch="$* -np $n"
    # Captures vanish after they were listed. The one that is read first is large enough to be still under way.
    for name in large.pcap a.pcap; do
        rm -rf out
        cp captures/$name kept
        timeout 60 $launch "$encode" $settings out=out > out.txt 2>&1 &
        pid=$!
        for i in $(seq 2000); do
            [ -e out/dataset.parts/identity ] && break
            kill -0 $pid 2> /dev/null || break
            sleep 0.002
        done
        rm captures/$name
        wait $pid
        code=$?
        cp kept captures/$name
        if [ $code -eq 0 ]; then # it had been read
            echo "note: $n ranks were done with $name before it vanished"
        else
            check "$n ranks, $name vanished" "captures/$name"
        fi
    done

    # A folder that nobody can write to. (The run before may have been done in time, with a dataset.)
    rm -rf out
    timeout 60 $launch "$encode" $settings out=/proc/nd > out.txt 2>&1
    code=$?
    check "$n ranks, /proc" "/proc/nd"
done

# A limit on the size of files, as a quota would be. (Message passing needs larger files of its own.)
for blocks in 20 600 1200; do
    (trap '' XFSZ; ulimit -f $blocks; timeout 60 "$encode" $settings out=out) > out.txt 2>&1
    code=$?
    check "files of at most $blocks blocks" "File too large"
    grep -q "out/dataset" out.txt || { cat out.txt; fail "$blocks blocks: the message names no file"; }
done
want 0 "4241 flows" "$encode" $settings out=out # it goes on once there is room

# A file system that is read-only.
mkdir disk
if mount -t tmpfs -o size=1m tmpfs disk 2> /dev/null; then
    trap 'umount "$work/disk"; rm -rf "$work"' EXIT
    mount -o remount,ro disk
    rm -rf out
    for n in 1 ${1:+2}; do
        timeout 60 ${1:+"$@" -np $n} "$encode" $settings out=disk/out > out.txt 2>&1
        code=$?
        check "$n ranks, read-only" "Read-only file system"
    done
else
    echo "note: no tmpfs can be mounted here: not tried on a read-only file system"
fi
