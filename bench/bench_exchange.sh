#!/usr/bin/env bash
# bench_exchange.sh [BIN [HOSTS [MBIT [STEPS]]]]: what backward hides of the exchange of gradients between hosts.
#
# Network namespaces stand for the hosts (default 4), each with a link of MBIT (1000) both ways, a token bucket; one rank
# of one thread on each. They share the cores of this machine: with 4 ranks on 2 cores a rank has half a core, so both
# computation and exchange are slower than on hosts of their own. Rows of bench_exchange (STEPS steps, default 20) for
# the demo's model and the default one. Only root can make namespaces: otherwise it says so and exits with 77.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(realpath "${1:-build/release/bin}") nhosts=${2:-4} mbit=${3:-1000} steps=${4:-20}
hosts=$PWD/tests/hosts/hosts.sh
skip() { echo "skipped: $*"; exit 77; }
[ "$(id -u)" = 0 ] || skip "only root can make network namespaces"
for name in ip tc nsenter unshare mpirun.openmpi; do
    command -v $name >/dev/null || skip "no $name (Debian: tools/packages-cluster.txt)"
done
work=$(mktemp -d)
export HOSTS_NAME=ndbench$$ HOSTS_FOLDER=$work/hosts
trap '"$hosts" down; rm -rf "$work"' EXIT
trap 'exit 143' TERM INT
. tools/setup.sh
"$bin/ndencode" configs/demo.yaml quiet=yes out="$work/demo" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }

"$hosts" up "$nhosts" 2>"$work/log" || skip "no network namespaces here: $(cat "$work/log")"
list=
for ((i = 1; i <= nhosts; i++)); do
    "$hosts" rate h$i "$mbit" 2>"$work/log" || skip "no token bucket (tc tbf) here: $(cat "$work/log")"
    list+=,h$i
done
export OMPI_MCA_plm=rsh OMPI_MCA_plm_rsh_no_tree_spawn=1 OMPI_MCA_plm_rsh_agent="$hosts rsh" OMPI_MCA_btl=self,tcp
export OMPI_MCA_btl_tcp_if_include=eth0 OMPI_MCA_oob_tcp_if_include=eth0

row() { # WHAT SAMPLES-A-RANK KEY=VALUE...
    local what=$1 batch=$(($2 * nhosts))
    shift 2
    printf '%s: ' "$what"
    "$hosts" exec h1 mpirun.openmpi --host "${list#,}" -np "$nhosts" "$bin/bench_exchange" configs/demo.yaml quiet=yes \
        out="$work/demo" threads=1 train.base.steps="$steps" train.batch=$batch "$@" </dev/null 2>"$work/log" || {
        cat "$work/log" >&2
        return 1
    }
}
echo "$nhosts hosts, $mbit Mbit/s"
default=(model.width=192 model.layers=6)
for samples in 8 16 32; do row "demo's model" $samples; done
row "default model" 32 "${default[@]}"
row "default model, train.deterministic, slices of 8" 32 "${default[@]}" train.deterministic=yes train.slice=8
