# shellcheck shell=bash disable=SC2154
# Sourced by chaos.sh: what a disturbed attempt has lost, read from what it left in OUT, and whether that is within its
# bound. What the next attempt says that it goes on from must agree.
#
#   encode  items of the work list of which there are files but no mark; one a rank. No mark may be made again
#   train   steps after the newest complete checkpoint; an interval, and the steps done while one was being written
#   gen     batches that were recorded before and are not any more: none. What the threads have in hand, one batch each,
#           tests/gen/resume.sh counts
# After SIGTERM, taken as such (75), training and generation have lost nothing.
declare -A lost_most lost_sum lost_times
expected='' # what the next attempt must say, where it comes to say it
marks=''    # "inode name" of the marks that the next attempt must leave alone
had=''      # numbers of the batches that were recorded before this attempt

newest_checkpoint() { # FOLDER: its step, 0 without one
    local mark
    {
        echo 0
        for mark in "$1"/checkpoint-*/DONE; do
            [ ! -e "$mark" ] || sed 's|.*/checkpoint-||; s|/DONE$||' <<<"$mark"
        done
    } | sort -n | tail -1
}
unfinished_checkpoint() { # FOLDER: one was being written
    local folder
    for folder in "$1"/checkpoint-*; do
        [ ! -d "$folder" ] || [ -e "$folder/DONE" ] || return 0
    done
    return 1
}
recorded() { # numbers of the batches in GEN.DIR/parts: heads of 40 bytes, bodies, 4 bytes of CRC (src/gen/items.c)
    local file at size batch nbytes
    for file in "$out"/generated/parts/items-*; do
        [ -e "$file" ] || continue
        size=$(stat -c %s "$file") at=0
        while [ $((at + 40)) -le "$size" ]; do
            read -r batch nbytes < <(od -An -v -w40 -t u8 -j $at -N 40 "$file" | awk '{ print $2, $5 }')
            at=$((at + 40 + nbytes + 4))
            [ $at -gt "$size" ] || echo "$batch"
        done
    done | sort -nu
}
list_marks() { # "inode name", none where the folder has gone
    { find "$out/dataset.parts" -name '*.mark' -printf '%i %f\n' -o -name '*.pass' -printf '%i %f\n' 2>/dev/null || true; } | sort
}
unmarked_items() { # FILE-PARTITION.KIND[.ATTEMPT] of each item begun and not marked; a capture's raw files are one
    local file name item
    for file in "$out"/dataset.parts/*-*.*; do
        name=${file##*/} item=${name%%.*}
        case ${name#*.} in
        raw.*) item=${item%-*}-00000.pass ;; # finished ones wait for their partition's item
        rows* | packets*) # a part of its own, or (0) that of a capture which was not partitioned
            if [ -e "${file%/*}/$item.pass" ] && [ ! -e "${file%/*}/$item.raw" ]; then continue; fi
            item=$item.mark ;;
        chunks*) item=$item.index ;;
        *) continue ;;
        esac
        [ -e "${file%/*}/$item" ] || echo "$item"
    done | sort -u
}

before_attempt() { # STAGE
    [ "$1" != gen ] || had=$(recorded)
}
compare_said() { # STAGE: with what the attempt before has left
    local said
    case $1 in
    encode)
        said=$(comm -13 <(list_marks) - <<<"$marks" | awk '{ print $2 }') # gone, or made again
        for said in $said; do
            [ ! -e "$out/dataset.parts/$said" ] || fail "encode: $said was made again"
        done ;;
    gen) said=$(grep -o '[0-9]* of [0-9]* batches are there already' "$work/log" || true) ;;
    *) said=$(grep -o 'going on from step [0-9]*' "$work/log" || true) ;;
    esac
    [ "$1" = encode ] || [ -z "$said" ] || [[ $said == $expected* ]] || fail "$1: '$said' instead of '$expected'"
}
measure_loss() { # STAGE RANKS WHAT: of the attempt that has just ended
    local lost=0 allowed=0 folder=$out/train/$1 found now last
    case $1 in
    encode)
        marks=$(list_marks)
        lost=$(unmarked_items | grep -c . || true) allowed=$2 ;;
    gen)
        now=$(recorded) found=$(grep -c . <<<"$now" || true)
        expected="$found of "
        [ -e "$out/generated/manifest" ] || # finished: the records go
            lost=$(comm -23 <(sort <<<"$had") <(sort <<<"$now") | grep -c . || true)
        allowed=0 ;;
    *)
        found=$(newest_checkpoint "$folder")
        expected="going on from step $found"
        last=$({ sed -n 's/^{"step": \([0-9]*\), "loss".*/\1/p' "$folder/loss.jsonl" 2>/dev/null || true; } | tail -1)
        lost=$((${last:-0} - found)) allowed=$((interval + 2))
        ! unfinished_checkpoint "$folder" || allowed=$((2 * interval)) ;;
    esac
    [ "$3" != "term (75)" ] || [ "$1" = encode ] || allowed=0
    [ "$lost" -le "$allowed" ] || fail "$1 on $2 ranks, $3: $lost were lost, more than $allowed"
    [ "$lost" -le "${lost_most[$1]:-0}" ] || lost_most[$1]=$lost
    lost_sum[$1]=$((${lost_sum[$1]:-0} + lost))
    lost_times[$1]=$((${lost_times[$1]:-0} + 1))
}
tell_losses() {
    local stage unit
    for stage in "${stages[@]}"; do
        case $stage in encode) unit="items" ;; gen) unit="batches" ;; *) unit="steps" ;; esac
        echo "$stage: lost at most ${lost_most[$stage]:-0} $unit at once, ${lost_sum[$stage]:-0} in ${lost_times[$stage]:-0} disturbances"
    done
}
