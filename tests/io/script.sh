# Sourced by the script tests: a folder of its own with the made captures, and checks that say what failed.
set -u
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
encode="$ND_BIN/ndencode"
cd "$work" || exit 1
"$ND_BIN/io_make_captures" "$work" || exit 1

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# want EXIT_CODE TEXT COMMAND...: the command ends so, and its output (both streams) contains the text.
want() {
    local code=$1 text=$2 got
    shift 2
    "$@" > out.txt 2>&1
    got=$?
    [ "$got" -eq "$code" ] || { cat out.txt >&2; fail "exit $got instead of $code: $*"; }
    grep -qF -- "$text" out.txt || { cat out.txt >&2; fail "no '$text' in the output of: $*"; }
}

# run COMMAND...: the command succeeds and says nothing.
run() {
    "$@" > out.txt 2>&1 || { cat out.txt >&2; fail "$*"; }
    [ ! -s out.txt ] || { cat out.txt >&2; fail "output of: $*"; }
}
