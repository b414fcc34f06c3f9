#!/usr/bin/env bash
# The job scripts where there is no Slurm: scripts pass shellcheck (where it is installed), the printed
# sbatch lines are what a shell reads back, options that a script would ignore are refused, and slurm/launch.sh passes exit
# codes, signals and a lost host on. tests/slurm has the rest, on real daemons.
set -euo pipefail
cd "${ND_SOURCE:?}"
unset SLURM_JOB_ID "${!ND_SIZE_@}" "${!SBATCH_@}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0
fail() { echo "FAIL: $*"; bad=1; }

if command -v shellcheck >/dev/null; then # SC2054: commas of the settings
    shellcheck -x -S warning -e SC2054 demo test .ci/run {slurm,tools,bench,tests/{slurm,hosts,chaos,house,demo,dist,gen,fuzz}}/*.sh ||
        fail "shellcheck"
else
    echo "shellcheck: not tested (it is not installed)"
fi

# --- sbatch lines, read back by a shell whose sbatch prints its arguments
mkdir "$work/of words"
config="$work/of words/it's.yaml"
printf 'out: %s/out   # a comment\n' "$work" >"$config"
settings=("name=it's a b'c d" "gen.flows=dns:1,web:2" "gen.mix=" 'data.labels="x"' "data.captures=/a*/b?,~c")
words_after() { # WORD: the arguments that follow it, one a line; reads one sbatch line
    eval "sbatch() { printf '%s\n' \"\$@\"; }; $(cat)" | sed "1,\|^$1\$|d"
}
slurm/encode.sh --dry-run "$config" "${settings[@]}" | words_after slurm/encode.sh |
    diff <(printf '%s\n' "$config" "${settings[@]}") - || fail "slurm/encode.sh --dry-run"
# shellcheck disable=SC2016
slurm/pipeline.sh --dry-run --from evaluate "$config" "${settings[@]}" 2>/dev/null | sed -n 's/^evaluate=\$(\(.*\))$/\1/p' |
    words_after slurm/evaluate.sh | diff <(printf '%s\n' "$config" "${settings[@]}") - || fail "slurm/pipeline.sh --dry-run"

refused() { # SCRIPT ARGUMENT...: wrong usage
    local code=0
    slurm/"$1" --dry-run "${@:2}" "$config" >"$work/said" 2>&1 || code=$?
    [ $code = 2 ] || fail "slurm/$* gave exit code $code: $(cat "$work/said")"
}
refused encode.sh --array 4
refused finetune.sh --join 4
refused evaluate.sh --from encode
refused generate.sh --shards 4
refused generate.sh --array 4 --join 4
refused generate.sh --array 0
refused pipeline.sh --shards 4
refused pipeline.sh --from nosuch
refused encode.sh --nosuch

# --- launch.sh, with a script in place of mpirun
export ND_LAUNCHER=mpirun ND_MPIRUN=$work/mpirun ND_BIN=$work
cat >"$work/mpirun" <<'MPIRUN'
#!/bin/sh
case $ND_CASE in
code) exit 7 ;;
lost) echo 'srun: error: Node failure on n7' >&2 ;; # and 0, as srun does
notice)
    trap 'exit 75' USR1
    echo ready >&2
    while :; do sleep 0.1; done ;;
esac
MPIRUN
cp "$work/mpirun" "$work/program"
chmod +x "$work/mpirun" "$work/program"
launch() { ND_CASE=$1 timeout 20 slurm/launch.sh program >/dev/null 2>"$work/said"; }
code=0
launch code || code=$?
[ $code = 7 ] || fail "exit code 7 became $code"
busy=()
for _ in 1 2 3 4; do # so that the copier of the launcher's words falls behind
    timeout 20 sh -c 'while :; do :; done' &
    busy+=($!)
done
for i in {1..20}; do
    code=0
    launch lost || code=$?
    if [ $code != 69 ] || ! grep -q 'lost contact with host n7;' "$work/said"; then
        fail "a lost host gave exit code $code, time $i"
        break
    fi
done
kill "${busy[@]}"
wait "${busy[@]}" || true
ND_CASE=notice slurm/launch.sh program 2>"$work/said" &
job=$!
for _ in {1..100}; do
    ! grep -q ready "$work/said" || break
    sleep 0.1
done
kill -USR1 $job
code=0
wait $job || code=$?
[ $code = 75 ] || fail "SIGUSR1 to the launcher gave exit code $code"
exit $bad
