#!/usr/bin/env bash
# What ranks and the folder they work in must have in common, for every program: where they do not, all ranks end with
# one message that names the rank and the thing.
#
# Ranks 0 and 1 are right, rank 2 is not (mpirun ... : ...). Elsewhere: clocks, which comm_join looks at after
# configuration and build (train.join; the first rows here show that each program calls it), a dataset of a newer version
# (io.dataset), parts of a dataset made with other settings, which ndencode makes anew (io.encode_restart).
set -uo pipefail
cd "${ND_SOURCE:?}" || exit
bin=${ND_BIN:?}
for program in ndencode ndtrain ndgen ndeval; do
    [ -x "$bin/$program" ] || { echo "skipped: $program is not built"; exit 77; }
done
work=$(mktemp -d "${TMPDIR:-/tmp}/nd-mismatch-XXXXXX")
trap 'rm -rf "$work"' EXIT
bad=0 passed=0

# here/: everything, by relative names. there/: the configuration only. wrong/: another one, other programs.
mkdir -p "$work"/{here/captures,there,wrong}
cp data/sample/run[13].pcap.gz "$work/here/captures/"
cp data/sample/labels.csv "$work/here/"
cat >"$work/here/tiny.yaml" <<YAML
out: out
name: one
quiet: yes
threads: 1
data: {captures: captures, labels: labels.csv, holdout: [3]}
encode: {memory: 256k}
model: {packets: 8, width: 32, layers: 1, head: 16, text_width: 16, text_layers: 1, vocabulary: 32}
train: {batch: 12, warmup: 2, validate_every: 20, checkpoint_every: 5, base: {steps: 10}}
gen: {flows: {dns: 6, web: 6}, batch: 3, steps: 2}
eval: {seeds: 1, trees: 10, images: no, tools: no}
YAML
cp "$work/here/tiny.yaml" "$work/there/"
sed 's/^name: one/&\nseed: 2/' "$work/here/tiny.yaml" >"$work/wrong/tiny.yaml"
for program in ndencode ndtrain ndgen ndeval; do
    { cat "$bin/$program"; echo; } >"$work/wrong/$program"
    chmod +x "$work/wrong/$program"
    (cd "$work/here" && timeout 100 "$bin/$program" tiny.yaml) >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
done
mv "$work/here/out" "$work/whole"

ranks() { # three ranks: FOLDER PROGRAM CONFIG of the last one, then what all are given
    local folder=$1 last=$2 config=$3
    shift 3
    timeout -k 5 60 mpirun.openmpi --oversubscribe --bind-to none \
        -np 2 -wdir "$work/here" "$bin/$program" tiny.yaml "$@" : \
        -np 1 -wdir "$folder" "$last" "$config" "$@" >"$work/log" 2>&1 </dev/null
}

# Each case makes the folder wrong for $program and runs it on three ranks.
configuration() { ranks "$work/here" "$bin/$program" "$work/wrong/tiny.yaml"; }
build() { ranks "$work/here" "$work/wrong/$program" tiny.yaml; }
no_data() { # rank 2 starts where captures and dataset are not; OUT is there
    local dataset=$work/here/out/dataset.h5
    [ "$program" = ndencode ] || dataset=out/dataset.h5
    ranks "$work/there" "$bin/$program" tiny.yaml out="$work/here/out" data.dataset="$dataset"
}
not_shared() { # the same folders there, but not the same ones
    cp -r "$work/here/." "$work/there"
    mkdir -p "$work"/{here,there}/out/{dataset.parts,generated/parts}
    ranks "$work/there" "$bin/$program" tiny.yaml
}
no_checkpoint() { # rank 2 sees the dataset but not the checkpoint to go on from
    mkdir "$work/there/out" && cp "$work/here/out/dataset.h5" "$work/there/out/"
    rm "$work/here/out/train/base/finished.json"
    ranks "$work/there" "$bin/$program" tiny.yaml
}
other_experiment() { # OUT holds what an experiment of another name made, or began
    [ "$program" != ndtrain ] || rm "$work/here/out/train/base/finished.json"
    ranks "$work/here" "$bin/$program" tiny.yaml name=two
}
other_flows() { # flows were begun there with another seed
    mkdir -p "$work/here/out/generated/parts"
    sed 's/^seed: .*/seed: 7/' "$work/whole/generated/manifest" >"$work/here/out/generated/parts/manifest"
    rm "$work/here/out/generated/manifest"
    ranks "$work/here" "$bin/$program" tiny.yaml
}
newer() { # what was begun there was begun by a later version
    case $program in
    ndtrain)
        rm "$work/here/out/train/base/finished.json"
        sed -i 's/"version": [0-9]*/"version": 99/' "$work"/here/out/train/base/checkpoint-*/state.json ;;
    ndgen)
        mkdir -p "$work/here/out/generated/parts"
        echo "nd-generation 2" >"$work/here/out/generated/parts/manifest"
        rm "$work/here/out/generated/manifest" ;;
    esac
    ranks "$work/here" "$bin/$program" tiny.yaml
}

# program:   case              code  what the message must say
table() {
    cat <<'ROWS'
*         configuration     2  rank 2: another configuration than rank 0: 'seed: 2', there 'seed: 1'
*         build             2  rank 2: another build of the program than rank 0: .*/wrong/nd[a-z]* on .* (sha256 [0-9a-f]*, there [0-9a-f]*)
ndencode  no_data           1  rank 2: labels.csv: cannot open: No such file or directory
ndtrain   no_data           1  rank 2: out/dataset.h5: there is no dataset
ndgen     no_data           1  rank 2: out/dataset.h5: No such file or directory
ndeval    no_data           1  rank 2: out/dataset.h5: No such file or directory
ndencode  not_shared        1  rank 2: out/dataset.parts on .* is not the folder that rank 0 on .* has under this name
ndgen     not_shared        1  rank 2: out/generated/parts on .* is not the folder that rank 0 on .* has under this name
ndtrain   no_checkpoint     1  rank 2: out/train/base/checkpoint-10/state.json: .*No such file
ndencode  other_experiment  2  rank 0: out/dataset.yaml: the experiment "one" made what lies there, and this one is "two"
ndgen     other_experiment  2  rank 0: out/generated/config.yaml: the experiment "one" made what lies there, and this one is "two"
ndtrain   other_experiment  2  rank 0: .*checkpoint-10/state.json: that run had name = one, this one has two
ndgen     other_flows       2  rank 0: .*out/generated/parts holds batches of other flows: "seed: 7" there, "seed: 1" now
ndtrain   newer             1  rank 0: .*checkpoint-10/state.json: written by a newer version of this program (format 99
ndgen     newer             2  rank 0: .*out/generated/parts holds batches of other flows: "nd-generation 2" there, "nd-generation 1" now
ROWS
}
try() { # CASE CODE PATTERN of $program
    local code=0 said
    rm -rf "$work/here/out" "$work/there"
    mkdir "$work/there"
    cp "$work/here/tiny.yaml" "$work/there/"
    cp -r "$work/whole" "$work/here/out"
    # Each is to do its work anew, where the case does not want it to find something.
    case $program:$1 in
    ndencode:*) rm "$work/here/out/dataset.h5" ;;
    ndtrain:no_checkpoint | ndtrain:other_experiment | ndtrain:newer) ;;
    ndtrain:*) rm -r "$work/here/out/train" ;;
    ndgen:other_* | ndgen:newer) ;;
    ndgen:*) rm -r "$work/here/out/generated" ;;
    esac
    "$1" || code=$?
    said=$(grep -c "error: " "$work/log")
    if [ "$code" = "$2" ] && [ "$said" = 1 ] && grep -q -- "error: .*$3" "$work/log"; then
        passed=$((passed + 1))
    else
        echo "FAIL $program, $1: exit code $code instead of $2, or not one message with: $3"
        tail -20 "$work/log"
        bad=1
    fi
}
while read -r programs case code pattern; do
    [ "$programs" != "*" ] || programs="ndencode ndtrain ndgen ndeval"
    for program in $programs; do try "$case" "$code" "$pattern"; done
done < <(table)
echo "$passed cases passed"
[ $bad = 0 ] && [ $passed = $(($(table | wc -l) + 2 * 3)) ] # each * stands for four programs
