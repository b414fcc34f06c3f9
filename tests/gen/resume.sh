#!/usr/bin/env bash
# Generation that is killed, stopped, starved of disk, or spread over shares ends with the bytes of an undisturbed run; and
# captures that go on in further files hold the same packets.
set -euo pipefail
cd "${ND_SOURCE:?}"
bin=${ND_BIN:?}
work=$(mktemp -d)
trap 'umount "$work/readonly" 2>/dev/null || true; rm -rf "$work"' EXIT
fail() { echo "FAIL: $*"; [ ! -e "$work/log" ] || tail -5 "$work/log"; exit 1; }
launch() { local n=$1; shift; timeout -k 5 200 mpirun.openmpi --oversubscribe --bind-to none -np "$n" "$@"; }

settings=(configs/demo.yaml out="$work/x" threads=1 model.width=64 model.layers=2 model.packets=12 model.context=4
    train.batch=16 train.base.steps=200 train.base.exclude= data.max_packets=60
    gen.flows=dns:24,web:24,ping:12,api:12 gen.batch=2 gen.steps=24)
timeout 100 "$bin/ndencode" "${settings[@]}" quiet=yes >"$work/log"
timeout 100 "$bin/ndtrain" "${settings[@]}" quiet=yes >>"$work/log"
gen() { timeout 100 "$bin/ndgen" "${settings[@]}" "$@" >"$work/log" 2>&1; }
code_of() { local code=0; "$@" || code=$?; echo $code; }
same() { # same FOLDER: its outputs are those of the undisturbed run, and nothing else is left
    local file
    for file in all.pcap dns.pcap web.pcap ping.pcap api.pcap flows.csv dataset.h5 raw.h5; do
        cmp "$work/whole/$file" "$work/$1/$file" || fail "$1: $file differs from that of the undisturbed run"
    done
    [ -z "$(find "$work/$1" -name parts -o -name '*.lock' -o -name '*.part*')" ] || fail "$1: something was left behind"
}
recorded() { { cat "$work/$1"/parts/items-* 2>/dev/null || true; } | wc -c; } # bytes in the files of records of FOLDER
begin() { # begin FOLDER RANKS SETTING...: a run in the background that has made some records, its ranks in $pids
    local folder=$1 n=$2 i before
    shift 2
    before=$(recorded "$folder")
    mpirun.openmpi --oversubscribe --bind-to none -np "$n" "$bin/ndgen" "${settings[@]}" gen.dir="$work/$folder" "$@" \
        >"$work/log" 2>&1 &
    job=$!
    for ((i = 0; i < 2000; i++)); do
        [ "$(recorded "$folder")" -le "$before" ] || break
        sleep 0.005
    done
    mapfile -t pids < <(pgrep -f "^$bin/ndgen .*gen.dir=$work/$folder( |$)")
    [ ${#pids[@]} = "$n" ] || fail "$folder: ${#pids[@]} ranks instead of $n: over before anything could happen to it"
}
cut_off() { # kill -9 of what was begun
    kill -9 "${pids[@]}" "$job" 2>/dev/null || true
    wait "$job" 2>/dev/null || true
}

gen gen.dir="$work/whole" || fail "the undisturbed run"
[ -e "$work/whole/manifest" ] || fail "no manifest"
repaired=$(grep -o 'repair changed.*' "$work/log")

# What is finished is not done again, unless that is wanted or something is gone.
stat -c '%Y %i %n' "$work/whole"/* >"$work/before"
gen gen.dir="$work/whole" && grep -q 'finished before' "$work/log" || fail "a finished run does not say so"
stat -c '%Y %i %n' "$work/whole"/* | cmp - "$work/before" || fail "a finished run was touched"
cp -r "$work/whole" "$work/again"
gen gen.dir="$work/again" gen.resume=no && ! grep -q 'finished before' "$work/log" || fail "gen.resume=no does not start over"
same again
rm "$work/again/web.pcap"
touch "$work/again"/{all.pcap,web-0002.pcap,raw.h5,flows.csv,config.yaml}.part-123 # of a run that was killed while it merged
gen gen.dir="$work/again"
same again

# Killed twice, with other numbers of ranks each time.
begin killed 2
cut_off
[ ! -e "$work/killed/dataset.h5" ] || fail "the run was over before it could be killed"
begin killed 1
cut_off
launch 3 "$bin/ndgen" "${settings[@]}" gen.dir="$work/killed" >"$work/log" 2>&1 || fail "going on after kill -9"
grep -q 'of 36 batches are there already' "$work/log" || fail "nothing was taken over"
[ "$(grep -o 'repair changed.*' "$work/log")" = "$repaired" ] || fail "the report of repair forgot batches"
same killed

# What a kill can lose: the batch that each thread has in hand, one. The ranks stand still while what they have recorded is
# copied, as a kill -9 would leave it; then they are asked to stop, which finishes what was begun and begins nothing. The
# difference is what would have been lost.
there() { grep -o '[0-9]* of 36 batches are there' "$work/log" | cut -d' ' -f1; } # of the run that went on
in_hand=0
for shape in "1 1" "1 2" "2 1"; do
    read -r ranks threads <<<"$shape"
    begin lost $ranks threads=$threads
    kill -STOP "${pids[@]}"
    cp -r "$work/lost" "$work/kept"
    kill -TERM "${pids[@]}"
    kill -CONT "${pids[@]}"
    code=0; wait "$job" || code=$?
    [ "$code" = 75 ] || fail "stopped after standing still: exit code $code"
    rm -f "$work/kept/generate.lock"
    gen gen.dir="$work/kept" || fail "going on from what a kill leaves"
    kept=$(there)
    same kept
    gen gen.dir="$work/lost" || fail "going on from what a stop leaves"
    begun=$(there)
    same lost
    echo "$ranks ranks of $threads threads: $begun batches begun, $kept of them recorded"
    [ $((begun - kept)) -le $((ranks * threads)) ] || fail "$ranks ranks of $threads threads would have lost $((begun - kept)) batches"
    in_hand=$((in_hand + begun - kept))
    rm -r "$work/lost" "$work/kept"
done

[ $in_hand -gt 0 ] || fail "no rank had a batch in hand: nothing was tested"

# Asked to stop.
for signal in TERM USR1; do
    begin stopped 2 threads=2
    kill -$signal "${pids[@]}"
    code=0; wait "$job" || code=$?
    [ "$code" = 75 ] || fail "SIG$signal gave exit code $code"
    [ "$(grep -c 'the same command goes on' "$work/log")" = 1 ] || fail "SIG$signal: not one message"
done
gen gen.dir="$work/stopped" threads=2 || fail "going on after SIGTERM"
same stopped

# Torn, damaged and foreign bytes in the files of records.
begin torn 1
cut_off
file=$(ls "$work"/torn/parts/items-* | head -1)
cp "$file" "$work/torn/parts/items-00000-cut"
truncate -s -7 "$work/torn/parts/items-00000-cut"
size=$(stat -c %s "$file")
printf '\xff\xff\xff' | dd of="$file" bs=1 seek=$((size / 3)) conv=notrunc 2>/dev/null
: >"$work/torn/parts/items-00000-empty"
head -c 3000 /dev/urandom >"$work/torn/parts/items-00000-noise"

# Other flows are not mixed in.
code=$(code_of gen gen.dir="$work/torn" gen.steps=5)
[ "$code" = 2 ] && grep -q 'steps: 24" there, "steps: 5" now.*gen.resume=no' "$work/log" || fail "another run's records were taken"
cp -r "$work/torn" "$work/other"
gen gen.dir="$work/other" gen.resume=no gen.steps=5 || fail "gen.resume=no after another run"
cmp -s "$work/other/dataset.h5" "$work/whole/dataset.h5" && fail "other settings, same flows"
gen gen.dir="$work/torn" || fail "going on after damage"
same torn

# Shares: two at the same time, one killed and done again, one done twice, one with more ranks.
begin shares 1 gen.shard=2/3
timeout 100 "$bin/ndgen" "${settings[@]}" gen.dir="$work/shares" gen.shard=1/3 >"$work/log1" 2>&1 || { cat "$work/log1"; fail "share 1"; }
cut_off
grep -q 'share 1 of 3 done' "$work/log1" || fail "a share does not say that it is done"
launch 2 "$bin/ndgen" "${settings[@]}" gen.dir="$work/shares" gen.shard=3/3 >"$work/log" 2>&1 || fail "share 3"
gen gen.dir="$work/shares" gen.shard=3/3 && grep -q 'share 3 of 3 done: 0 flows' "$work/log" || fail "a share was done twice"
[ ! -e "$work/shares/dataset.h5" ] || fail "a share merged"
code=$(code_of gen gen.dir="$work/shares" gen.shard=1/3 gen.resume=no)
[ "$code" = 2 ] || fail "a share threw the others away"
cp -r "$work/shares" "$work/partly"
gen gen.dir="$work/shares" gen.shard=2/3 || fail "share 2"
gen gen.dir="$work/shares" gen.shard=0/3 || fail "the merge of shares"
grep -q '36 of 36 batches' "$work/log" || fail "the merge made flows again"
same shares
gen gen.dir="$work/shares" gen.shard=1/3 && grep -q 'finished before' "$work/log" || fail "a share of what is finished"
gen gen.dir="$work/partly" gen.shard=0/3 || fail "the merge where a share is missing"
same partly
# A share that has recorded nothing yet keeps its folder, whatever becomes of a merge that was started too early.
gen gen.dir="$work/early" gen.shard=1/3 || fail "a first share"
rm "$work/early/parts"/items-*
[ "$(code_of gen gen.dir="$work/early" gen.steps=5)" = 2 ] || fail "a merge with other settings began beside a share"
[ -e "$work/early/parts/manifest" ] || fail "a refused merge removed the folder of a share"
for wrong in 4/3 -1/3 1/0 x 1/; do
    code=$(code_of gen gen.dir="$work/bad" gen.shard=$wrong)
    [ "$code" = 2 ] || fail "gen.shard=$wrong gave exit code $code"
done
"$bin/ndgen" --help >"$work/log"
grep -q "^ *gen\.shard" "$work/log" || fail "--help knows no gen.shard"

# Many shares.
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18; do
    gen gen.dir="$work/many" gen.shard=$i/18 quiet=yes || fail "share $i of 18"
done
gen gen.dir="$work/many" gen.shard=0/18 || fail "the merge of 18 shares"
same many

# Captures that go on in further files.
gen gen.dir="$work/cut" gen.capture_bytes=4000 || fail "captures in files"
cmp "$work/cut/dataset.h5" "$work/whole/dataset.h5" || fail "the size of captures changed the flows"
[ ! -e "$work/cut/all.pcap" ] && [ -e "$work/cut/all-0002.pcap" ] && [ -e "$work/cut/web-0002.pcap" ] || fail "captures are not cut"
for stem in all web dns; do
    for file in "$work/cut/$stem"-????.pcap "$work/cut/$stem.pcap"; do
        [ ! -e "$file" ] || { [ "$(stat -c %s "$file")" -le 4000 ] || fail "$file is too large"; tail -c +25 "$file"; }
    done | cmp - <(tail -c +25 "$work/whole/$stem.pcap") || fail "$stem: the files hold other packets"
done
awk -F, 'NR > 1 { print $11, $1 }' "$work/cut/flows.csv" | sort -n >"$work/starts"
sort -c -k2,2 "$work/starts" || fail "files are not in the order of time"
while read -r start file; do
    tshark -n -r "$work/cut/$file" -Y "frame.time_epoch == $start" -T fields -e frame.number 2>/dev/null | grep -q . ||
        fail "$file does not hold the packet of $start"
done < <(awk 'NR % 12 == 1' "$work/starts")
gen gen.dir="$work/cut" || fail "whole captures again"
! compgen -G "$work/cut/*-[0-9][0-9][0-9][0-9].pcap" || fail "files of the earlier run are left"
same cut

# No room: one message, exit code 1, and the next run goes on.
code=$( (trap '' XFSZ; ulimit -f 64; code_of gen gen.dir="$work/full") )
[ "$code" = 1 ] && [ "$(grep -c 'items-.*File too large' "$work/log")" = 1 ] || fail "exit code $code where files may not grow"
gen gen.dir="$work/full" && grep -q 'are there already' "$work/log" || fail "going on once there is room"
same full
: >"$work/file"
code=$(code_of gen gen.dir="$work/file/gen")
[ "$code" = 1 ] && [ "$(grep -c "$work/file" "$work/log")" -ge 1 ] || fail "a folder that cannot be made"
if [ "$(id -u)" = 0 ] && mkdir "$work/readonly" && mount -t tmpfs -o size=8m,ro tmpfs "$work/readonly" 2>/dev/null; then
    code=$(code_of gen gen.dir="$work/readonly/gen" quiet=yes)
    [ "$code" = 1 ] && [ "$(wc -l <"$work/log")" = 1 ] && grep -qi 'read-only' "$work/log" || fail "a folder that cannot be written"
else
    echo "read-only folder: not tested (no tmpfs can be mounted here)"
fi
echo "killed, stopped, damaged, shared and starved: the same bytes"
