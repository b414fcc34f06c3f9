# shellcheck shell=bash
# Sourced by the scripts: a work folder with a dataset, a tiny model, and words for what is expected.
set -euo pipefail
work=$(mktemp -d "${TMPDIR:-/tmp}/nd-train-XXXXXX")
trap 'rm -rf "$work"' EXIT
"$ND_BIN/train_make_dataset" "$work/dataset.h5" 12

cat >"$work/tiny.yaml" <<YAML
out: $work/out
quiet: yes
threads: 1
data: {dataset: $work/dataset.h5}
model: {packets: 8, context: 3, width: 32, layers: 2, head: 16, text_width: 16, text_layers: 1, vocabulary: 32}
train: {batch: 8, warmup: 5, validate_every: 20}
YAML

fail() {
    echo "FAIL: $*" >&2
    exit 1
}

train() {
    "$ND_BIN/ndtrain" "$work/tiny.yaml" "$@"
}

# expect CODE PATTERN COMMAND...: the exit code, and a line of its output that matches
expect() {
    local code=$1 pattern=$2 got=0
    shift 2
    "$@" >"$work/log" 2>&1 || got=$?
    [ "$got" -eq "$code" ] || { cat "$work/log" >&2; fail "exit code $got instead of $code: $*"; }
    grep -q -- "$pattern" "$work/log" || { cat "$work/log" >&2; fail "no line matches '$pattern': $*"; }
}

# What does not depend on the clock
losses() {
    sed 's/, "flows_per_second".*//; s/, "seconds".*//' "$1/loss.jsonl"
}

# Wait until a file has that many lines
wait_lines() {
    local i
    for ((i = 0; i < 3000; i++)); do
        if [ -f "$1" ] && [ "$(wc -l <"$1")" -ge "$2" ]; then
            return
        fi
        sleep 0.01
    done
    fail "$1 never had $2 lines"
}

# spoil FOLDER: put a file in the place of a folder in which checkpoints are written. One may make the folder anew between
# the two commands: then once more.
spoil() {
    local i
    for ((i = 0; i < 100; i++)); do
        mv "$1" "$1-aside$i" 2>/dev/null || true
        touch "$1"
        [ -d "$1" ] || return 0
    done
    fail "$1 could not be replaced"
}

# ends_spoiled PID FOLDER LOG: the run in the background has written some steps; when its folder is spoilt it ends with
# exit code 1 and one message about it.
ends_spoiled() {
    local code=0
    wait_lines "$2/loss.jsonl" 20
    spoil "$2"
    wait "$1" || code=$?
    [ $code -eq 1 ] && [ "$(grep -c "error: .*$2" "$3")" -eq 1 ] ||
        { cat "$3" >&2; fail "a failed write: exit code $code"; }
}
