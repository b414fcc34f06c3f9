#!/bin/bash
# Base, ControlNet and LoRA one after another, their outputs, and what is refused.
source "$(dirname "$0")/common.sh"
base=$work/out/model/transformer/diffusion_pytorch_model.safetensors
text=$work/out/model/text_encoder/model.safetensors
steps=(train.base.steps=40 train.control.steps=30 train.lora.steps=30 train.base.exclude=chat)

# Refused before anything is made
expect 1 'ndencode' train data.dataset="$work/none.h5"
expect 1 'train the base first' train "${steps[@]}" train.mode=control
expect 1 'train the base first' train "${steps[@]}" train.mode=lora
expect 2 'train.bacth' train train.bacth=3
expect 2 'train.mode' train train.mode=basic
expect 2 'model.layout' train model.layout=relativ
expect 2 'model.head' train model.head=24
expect 2 'model.context 8 is not below model.packets 8' train model.context=8
expect 2 'no label "caht"' train train.base.exclude=caht
expect 2 'validate_share' train train.patience=2 train.validate_share=0
echo nonsense >"$work/bad.h5"
expect 1 'bad.h5' train data.dataset="$work/bad.h5"
expect 0 'web .* 11 to learn from, 1 to validate' train --dry-run
expect 0 'memory a rank: about' train --dry-run
[ ! -e "$work/out" ] || fail "a refused or dry run left files"

# Help
"$ND_BIN/ndtrain" --help >"$work/help"
for key in train.mode train.batch train.base.steps train.lora.rank train.control.learning_rate model.width \
    data.holdout train.patience train.resume; do
    grep -q -- "$key" "$work/help" || fail "--help does not tell of $key"
done
! grep -q 'gen.sampler' "$work/help" || fail "--help tells of keys that ndtrain does not read"

train "${steps[@]}"
for file in model_index.json tokenizer/vocab.json tokenizer/merges.txt text_encoder/config.json \
    transformer/config.json scheduler/scheduler_config.json; do
    [ -s "$work/out/model/$file" ] || fail "no $file"
done
expect 0 'would go on after step 40' train "${steps[@]}" --dry-run
expect 2 'train.base.steps = 40, this one has 41' train "${steps[@]}" train.base.steps=41 --dry-run
before=$(sha256sum "$base" "$text")

# falls MODE SHARE: the mean loss of the last ten steps is below SHARE of that of the first ten
falls() {
    losses "$work/out/train/$1" | sed -n 's/.*"loss": \([0-9.e-]*\).*/\1/p' |
        awk -v share="$2" '{ x[NR] = $1 } END { for (i = 1; i <= 10; i++) { a += x[i]; b += x[NR - i + 1] }
            exit !(NR >= 20 && b < share * a) }' || fail "$1: the loss does not fall"
}

train "${steps[@]}" train.mode=control
train "${steps[@]}" train.mode=lora
falls base 0.8
falls lora 1
[ "$before" = "$(sha256sum "$base" "$text")" ] || fail "the base was changed"
control=$work/out/model/controlnet/diffusion_pytorch_model.safetensors
lora=$work/out/model/lora/pytorch_lora_weights.safetensors
[ -s "$control" ] && [ -s "$lora" ] || fail "no ControlNet or no LoRA was saved"
grep -aqE '"labels": *"chat"' "$lora" || fail "the LoRA does not say its labels"
! grep -aq 'controlnet' "$lora" || fail "the LoRA holds weights of the ControlNet"

# The same again from nothing: same bytes, whatever lies in the model folder.
first=$(sha256sum "$control" "$lora")
train "${steps[@]}" train.mode=control train.resume=no
train "${steps[@]}" train.mode=lora train.resume=no
[ "$first" = "$(sha256sum "$control" "$lora")" ] || fail "a second ControlNet or LoRA differs from the first"

# Stopped and resumed in these modes too.
for mode in control lora; do
    code=0
    rm -r "$work/out/train/$mode"
    "$ND_BIN/ndtrain" "$work/tiny.yaml" "${steps[@]}" train.mode=$mode train.$mode.steps=600 train.checkpoint_every=50 &
    pid=$!
    wait_lines "$work/out/train/$mode/loss.jsonl" 60
    kill -TERM $pid
    wait $pid 2>/dev/null || code=$?
    [ $code -eq 75 ] || fail "$mode: exit code $code instead of 75"
    train "${steps[@]}" train.mode=$mode train.$mode.steps=600 train.checkpoint_every=50
    train "${steps[@]}" train.mode=$mode train.$mode.steps=600 out="$work/whole" model.dir="$work/copy-$mode" 2>/dev/null &&
        fail "trained without a base"
    cp -r "$work/out/model" "$work/copy-$mode"
    train "${steps[@]}" train.mode=$mode train.$mode.steps=600 out="$work/whole" model.dir="$work/copy-$mode"
    cmp "$control" "$work/copy-$mode/controlnet/diffusion_pytorch_model.safetensors" || fail "$mode: resumed ControlNet differs"
    cmp "$lora" "$work/copy-$mode/lora/pytorch_lora_weights.safetensors" || fail "$mode: resumed LoRA differs"
done
[ "$before" = "$(sha256sum "$base" "$text")" ] || fail "the base was changed"

# A new base: the old parts are warned of, and do not go on upon it.
expect 0 'train it again' train "${steps[@]}" train.resume=no seed=2
expect 2 "base's weights" train "${steps[@]}" train.mode=lora train.lora.steps=600
