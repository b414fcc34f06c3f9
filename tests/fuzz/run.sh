#!/usr/bin/env bash
# Build the fuzz targets with AddressSanitizer and UndefinedBehaviorSanitizer, and run each, or one, for a while:
#   tests/fuzz/run.sh SECONDS [TARGET]
# A target is NAME of fuzz_NAME.c. It starts from tests/fuzz/corpus/NAME and from what earlier runs found, which is kept
# in build/fuzz/corpus/NAME; an input that fails stays in build/fuzz/found. Exit code 77: clang is missing.
set -euo pipefail
seconds=${1:?usage: run.sh SECONDS [TARGET]}
only=${2:-}
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../.." && pwd)
build=$source/build/fuzz
[ -z "$only" ] || [ -e "$here/fuzz_$only.c" ] || { echo "no target $only: there is no $here/fuzz_$only.c" >&2; exit 2; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo 'int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n) { return d == 0 && n > 0; }' > "$work/probe.c"
if ! clang -fsanitize=fuzzer,address "$work/probe.c" -o "$work/probe" 2> /dev/null; then
    echo "skipped: no clang with libFuzzer here (Debian: clang libclang-rt-14-dev)"
    exit 77
fi

cmake -S "$source" -B "$build" -G Ninja -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=Release -DND_FUZZ=ON > "$work/log" ||
    { cat "$work/log"; exit 1; }
cmake --build "$build" -j 2 > "$work/log" || { cat "$work/log"; exit 1; }

# HDF5 keeps memory of its own until the process ends, and fails on purpose for each damaged file. A chunk's damaged size
# makes it ask for as much as 4 GiB, which it does not touch before it finds that the file is shorter.
export ASAN_OPTIONS=${FUZZ_ASAN_OPTIONS:-detect_leaks=0:abort_on_error=1:allocator_may_return_null=1}
scratch=$work
[ ! -w /dev/shm ] || { scratch=$(mktemp -d -p /dev/shm); trap 'rm -rf "$work" "$scratch"' EXIT; }
export TMPDIR=$scratch OMPI_MCA_btl=self
failed=
for file in "$here"/fuzz_*.c; do
    name=$(basename "$file" .c)
    name=${name#fuzz_}
    [ -z "$only" ] || [ "$only" = "$name" ] || continue
    mkdir -p "$build/corpus/$name" "$build/found"
    corpus=("$build/corpus/$name")
    [ ! -d "$here/corpus/$name" ] || corpus+=("$here/corpus/$name")
    echo "$name"
    "$build/bin/fuzz_$name" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2500 -malloc_limit_mb=5000 -print_final_stats=1 \
        -artifact_prefix="$build/found/$name-" "${corpus[@]}" > "$work/$name.log" 2>&1 || failed="$failed $name"
    grep -E '^stat::(number_of_executed_units|average_exec_per_sec|peak_rss_mb)' "$work/$name.log" || true
    grep -E 'cov:' "$work/$name.log" | tail -n 1 || true
    case "$failed " in *" $name "*) tail -n 60 "$work/$name.log" ;; esac
done
[ -z "$failed" ] || { echo "FAILED:$failed"; exit 1; }
