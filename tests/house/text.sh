#!/usr/bin/env bash
# Small promises about the text of the tree: no file grows past 900 lines, no -march=native or -ffast-math, no tabs in C,
# every public header says what it is.
set -euo pipefail
cd "${ND_SOURCE:?}"
bad=0
while read -r lines file; do
    [ "$file" = total ] || [ "$lines" -le 900 ] || { echo "$file: $lines lines"; bad=1; }
done < <(find src tests bench -name '*.[ch]' -print0 | xargs -0 wc -l)
if grep -rnE 'march=native|ffast-math' --include=CMakeLists.txt --include='*.cmake' . | grep -v '^\./build' | grep -v ' No -march'; then
    echo "flags that do not ship"
    bad=1
fi
if grep -rlP '\t' --include='*.[ch]' src tests bench; then
    echo "tabs in the files above"
    bad=1
fi
while read -r header; do
    head -c 3 "$header" | grep -q '^/\* ' || { echo "$header: no opening comment"; bad=1; }
done < <(find src -name '*.h')
exit $bad
