# A model folder of ours in the transformers library: CLIPTokenizer and CLIPTextModel load it and agree with us.
# ND_PYTHON names a Python that has transformers and torch; skipped (77) where there is none.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$ND_BIN/model_dump_text" "$folder"
"${ND_PYTHON:-python3}" "$(dirname "$0")/reference_clip.py" check "$folder"
