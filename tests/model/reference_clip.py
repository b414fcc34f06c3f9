#!/usr/bin/env python3
"""Text encoder and tokenizer against the transformers library (CLIPTextModel, CLIPTokenizer).

reference_clip.py make FOLDER    write the tiny random model and its outputs and gradients that tests/model/data/clip
                                 holds (made once, with transformers 4.40 and PyTorch 1.13)
reference_clip.py check FOLDER   load a model folder of ours, whose text.json (program model_dump_text) has prompts,
                                 token ids and pooled embeddings, and compare

Exit code 77 where the libraries are not installed: a skipped test."""
import json
import os
import sys

try:
    import torch
    from safetensors.torch import save_file
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer
    from transformers.models.clip.tokenization_clip import bytes_to_unicode
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

TOKENS = 12
TEXTS = [
    "pixelated network data, type-8",
    "It's THE network's data",
    "a   b\tc",
    "",
    "type-47 !? x_y (re)",
    "a very long text that goes on and on beyond the end of what fits",
]
MERGES = ["t h", "th e</w>", "d a", "t a</w>", "da ta</w>", "n e", "t w", "ne tw", "netw o", "r k</w>", "netwo rk</w>",
          "t y", "ty p", "typ e</w>", "o n</w>"]
GRADIENTS = [
    "text_model.embeddings.position_embedding.weight",
    "text_model.encoder.layers.0.self_attn.q_proj.weight",
    "text_model.encoder.layers.0.self_attn.v_proj.bias",
    "text_model.encoder.layers.1.self_attn.out_proj.weight",
    "text_model.encoder.layers.1.mlp.fc1.weight",
    "text_model.encoder.layers.1.layer_norm2.weight",
    "text_model.final_layer_norm.bias",
]


def write_tokenizer(folder):
    signs = list(bytes_to_unicode().values())
    tokens = signs + [sign + "</w>" for sign in signs] + [m.replace(" ", "") for m in MERGES]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/vocab.json", "w", encoding="utf-8") as file:
        json.dump({token: i for i, token in enumerate(tokens)}, file, ensure_ascii=False)
    with open(f"{folder}/merges.txt", "w", encoding="utf-8") as file:
        file.write("#version: 0.2\n" + "\n".join(MERGES) + "\n")
    return len(tokens)


def encode(tokenizer, texts, tokens):
    return tokenizer(texts, padding="max_length", max_length=tokens, truncation=True, return_tensors="pt").input_ids


def make(folder):
    torch.manual_seed(1)
    vocabulary = write_tokenizer(f"{folder}/tokenizer")
    config = CLIPTextConfig(vocab_size=vocabulary, hidden_size=16, intermediate_size=40, num_hidden_layers=2,
                            num_attention_heads=2, max_position_embeddings=TOKENS, hidden_act="quick_gelu",
                            bos_token_id=vocabulary - 2, eos_token_id=vocabulary - 1, pad_token_id=vocabulary - 1)
    model = CLIPTextModel(config).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_((1.0 if "norm" in name and name.endswith("weight") else 0.0) + 0.3 * torch.randn(p.shape))
    ids = encode(CLIPTokenizer.from_pretrained(f"{folder}/tokenizer"), TEXTS, TOKENS)
    out = model(ids)
    target = torch.randn(out.pooler_output.shape)
    ((out.pooler_output - target) ** 2).mean().backward()
    parameters = dict(model.named_parameters())
    os.makedirs(f"{folder}/text_encoder", exist_ok=True)
    save_file({name: p.data for name, p in parameters.items()}, f"{folder}/text_encoder/model.safetensors",
              metadata={"format": "pt"})
    expected = {"ids": ids.float(), "states": out.last_hidden_state.detach(), "pooled": out.pooler_output.detach(),
                "target": target}
    expected.update({f"gradient.{name}": parameters[name].grad for name in GRADIENTS})
    save_file({name: t.contiguous() for name, t in expected.items()}, f"{folder}/expected.safetensors")
    with open(f"{folder}/texts.txt", "w", encoding="utf-8") as file:
        file.write("\n".join(TEXTS) + "\n")


def check(folder):
    with open(f"{folder}/text.json", encoding="utf-8") as file:
        ours = json.load(file)
    tokenizer = CLIPTokenizer.from_pretrained(f"{folder}/tokenizer")
    model = CLIPTextModel.from_pretrained(f"{folder}/text_encoder").eval()
    ids = encode(tokenizer, ours["prompts"], tokenizer.model_max_length)
    if ids.tolist() != ours["ids"]:
        sys.exit(f"token ids differ:\n{ids.tolist()}\n{ours['ids']}")
    with torch.no_grad():
        pooled = model(ids).pooler_output
    worst = (pooled - torch.tensor(ours["pooled"])).abs().max().item()
    print(f"{len(ours['prompts'])} prompts: the same ids, pooled embeddings differ by at most {worst:.2g}")
    if worst > 1e-4:  # values of size 1, a few hundred float32 additions each
        sys.exit("pooled embeddings differ")


if len(sys.argv) != 3 or sys.argv[1] not in ("make", "check"):
    sys.exit(__doc__)
(make if sys.argv[1] == "make" else check)(sys.argv[2])
