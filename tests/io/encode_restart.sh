# A run that is killed at any point leaves no dataset, and the next run gives the bytes of one that was not; what was
# finished is not done again, unless it belongs to other settings; two runs at once do not meet.
# Arguments: the launcher, if there is one.
. "$(dirname "$0")/script.sh"
"$ND_BIN/io_make_captures" captures/large.pcap 3000 || fail "no large capture"
settings="data.captures=captures data.labels=labels.csv encode.memory=2M threads=1 quiet=yes"
want 0 "3241 flows" "$encode" $settings out=whole
start=$(date +%s%N)
want 0 "3241 flows" "$encode" $settings out=whole
took=$((($(date +%s%N) - start) / 1000000)) # milliseconds

# kill_after MILLISECONDS COMMAND...: kill -9, if it still runs; its process number in $pid.
kill_after() {
    local wait_ms=$1
    shift
    "$@" > killed.txt 2>&1 &
    pid=$!
    sleep "$(printf '%d.%03d' $((wait_ms / 1000)) $((wait_ms % 1000)))"
    kill -9 $pid 2> /dev/null
    wait $pid 2> /dev/null
}

RANDOM=7
for round in 1 2 3 4; do
    rm -rf out
    for again in 1 2; do # a run that goes on is killed too
        kill_after $((RANDOM % (took + 1))) "$encode" $settings out=out
        if [ -e out/dataset.h5 ] && [ -e out/dataset.parts/identity ]; then # killed while it cleared up
            cmp whole/dataset.h5 out/dataset.h5 || fail "round $round: a killed run left another dataset"
        fi
    done
    want 0 "3241 flows" "$encode" $settings out=out
    cmp whole/dataset.h5 out/dataset.h5 || fail "round $round: other bytes after a kill"
    ! grep "no flow" out.txt || fail "round $round: rows that labelled flows before the kill are called useless"
    [ "$(ls out)" = "dataset.h5
dataset.yaml" ] || fail "round $round: left $(ls out)"
done

# A rank that is killed ends the job; the next goes on.
if [ $# -gt 0 ]; then
    rm -rf out
    timeout 60 "$@" -np 2 "$encode" $settings out=out > killed.txt 2>&1 &
    job=$!
    for i in $(seq 500); do [ -n "$(ls out/dataset.parts/*.pass 2> /dev/null)" ] && break; sleep 0.01; done
    rank=$(grep -lsa "out=out" /proc/[0-9]*/cmdline | cut -d/ -f3 | while read -r p; do
        [ "$(readlink /proc/$p/exe)" = "$(readlink -f "$encode")" ] && [ "$(readlink /proc/$p/cwd)" = "$work" ] && echo $p
    done | head -1)
    [ -n "$rank" ] && kill -9 "$rank"
    wait $job && echo "note: the job was done before its rank was killed"
    want 0 "3241 flows" timeout 60 "$@" -np 2 "$encode" $settings out=out
    cmp whole/dataset.h5 out/dataset.h5 || fail "other bytes after the kill of a rank"
fi

# stop_at FILE: start a run, stop it as soon as the file exists; its number in $pid. One that gets past that before it is
# seen, on a busy machine, is started again.
stop_at() {
    local try i
    for try in 1 2 3 4 5 6 7 8; do
        rm -rf out
        "$encode" $settings out=out > killed.txt 2>&1 &
        pid=$!
        for i in $(seq 2000); do
            [ -n "$(ls $1 2> /dev/null)" ] && break
            kill -0 $pid 2> /dev/null || break
            sleep 0.002
        done
        kill -STOP $pid 2> /dev/null && sleep 0.01 && grep -qs "^State:.T" /proc/$pid/status &&
            [ -n "$(ls $1 2> /dev/null)" ] && return
        kill -CONT $pid 2> /dev/null
        wait $pid 2> /dev/null
    done
    fail "eight runs were over before $1 was seen"
}

# While one runs, another is refused and changes nothing.
stop_at out/dataset.parts/identity
want 1 "out/dataset.lock: process $pid on $(hostname) has been at work here since" "$encode" $settings out=out
kill -CONT $pid
wait $pid || fail "the first run did not end well"
cmp whole/dataset.h5 out/dataset.h5 || fail "the first of two runs has other bytes"

# What was finished is not read again: the capture's bytes are gone, its size and time are the same.
cp -p captures/large.pcap large.copy
stop_at "out/dataset.parts/*.pass"
kill -9 $pid
wait $pid 2> /dev/null
head -c "$(stat -c %s large.copy)" /dev/zero > captures/large.pcap
touch -r large.copy captures/large.pcap
cp -r out out2
want 0 "3241 flows" "$encode" $settings out=out
cmp whole/dataset.h5 out/dataset.h5 || fail "what was finished was done again"
# Other settings do not take it over: then the zeros are seen.
want 0 "damaged captures: 2" "$encode" $settings out=out2 encode.timeout=5
# Nor is a part used whose bytes have changed: the zeros are seen again.
cp -p large.copy captures/large.pcap
stop_at "out/dataset.parts/*.pass"
kill -9 $pid
wait $pid 2> /dev/null
head -c "$(stat -c %s large.copy)" /dev/zero > captures/large.pcap
touch -r large.copy captures/large.pcap
for file in out/dataset.parts/*.raw; do
    printf x | dd of="$file" bs=1 seek=100 conv=notrunc 2> /dev/null
done
want 0 "damaged captures: 2" "$encode" $settings out=out
