#!/usr/bin/env bash
# The architecture as a test: a folder of src/ includes only what stands below it, and of outside libraries only its own
# (docs/architecture.md has the table).
set -euo pipefail
cd "${ND_SOURCE:?}/src"

declare -A may=(
    [base]=""
    [packet]="base"
    [dist]="base"
    [io]="base packet dist"
    [nn]="base"
    [model]="base packet nn io/safetensors.h"
    [train]="base packet dist io nn model"
    [gen]="base packet dist io nn model"
    [eval]="base packet dist io"
)
# Heads of library headers. What is not here is of the C library.
libraries='openssl yaml jansson mpi hdf5 H5 pcap png zlib libdeflate dnnl omp cuda cublas cudnn nccl xgboost svm'
declare -A outside=(
    [base]="yaml openssl"
    [dist]="mpi"
    [io]="pcap hdf5 H5 png zlib libdeflate jansson"
    [nn]="dnnl omp cuda"
    [model]="jansson"
    [train]="jansson"
    [gen]="omp zlib"
    [eval]="xgboost svm jansson"
)
bad=0 seen=0
while IFS=: read -r file line; do
    folder=${file%%/*}
    header=$(sed -n 's/.*# *include "\([^"]*\)".*/\1/p' <<<"$line")
    target=${header%%/*}
    seen=$((seen + 1))
    if [ "$target" = "$header" ]; then
        echo "$file: \"$header\" has no folder in its name"
        bad=1
    elif [[ $header == *_priv.h && $target != "$folder" ]]; then
        echo "$file: $header is private to src/$target"
        bad=1
    elif [ "$target" != "$folder" ] && ! [[ " ${may[$folder]-} " == *" $target "* || " ${may[$folder]-} " == *" $header "* ]]; then
        echo "$file: src/$folder must not use $header"
        bad=1
    fi
done < <(grep -rHE --include='*.[ch]' --include='*.cu' '^ *# *include "' . | sed 's|^\./||')
seen_outside=0
while IFS=: read -r file line; do
    folder=${file%%/*}
    for library in $libraries; do
        [[ $line =~ \<$library ]] || continue
        seen_outside=$((seen_outside + 1))
        [[ " ${outside[$folder]-} " == *" $library "* ]] || { echo "$file: src/$folder must not use $line"; bad=1; }
    done
done < <(grep -rHE --include='*.[ch]' --include='*.cu' '^ *# *include <' . | sed 's|^\./||')
for folder in *; do
    [ -n "${may[$folder]+x}" ] || [ -z "$(find "$folder" -name '*.[ch]')" ] || { echo "src/$folder is not in the table"; bad=1; }
done
[ "$seen" -gt 50 ] && [ "$seen_outside" -gt 10 ] || { echo "only $seen and $seen_outside includes were found: the check is broken"; bad=1; }
exit $bad
