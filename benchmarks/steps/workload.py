"""What both arms of a benchmark work on: a model with random weights, and examples.

Everything follows from a `Case`, so that two processes that are given the same one build the same
weights, images and texts.
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any

import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3Processor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
)
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from holdfast.policy.processor import build_processor

PATCH, MERGE = 14, 2  # a token stands for 28 × 28 pixels
SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
    "<|image_pad|>", "<|video_pad|>", "<unk>", "user", "assistant",
)  # fmt: skip
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|> {{ message['role'] }} "
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|> "
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %} <|im_end|> {% endfor %}"
    "{% if add_generation_prompt %}<|im_start|> assistant {% endif %}"
)
FRAME = 7  # prompt tokens that are neither image nor text

SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {
        "text": {
            "vocab_size": 512, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 3,
            "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True,
            "rope": {"rope_theta": 10_000.0, "mrope_section": [4, 6, 6]},
        },
        "vision": {"depth": 2, "hidden_size": 64, "intermediate_size": 128, "num_heads": 4,
                   "fullatt_block_indexes": [1]},
    },
    "tiny-qwen3.5": {  # three of four layers carry a state
        "kind": "qwen3_5",
        "text": {
            "vocab_size": 512, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "tie_word_embeddings": True,
            "linear_key_head_dim": 32, "linear_value_head_dim": 32, "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "rope": {"rope_theta": 10_000.0, "mrope_section": [4, 6, 6], "partial_rotary_factor": 1.0},
        },
        "vision": {"depth": 2, "hidden_size": 64, "intermediate_size": 128, "num_heads": 4,
                   "num_position_embeddings": 256},
    },
    "tiny-gemma3": {  # three of four layers see a window
        "kind": "gemma3",
        "text": {
            "vocab_size": 512, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "tie_word_embeddings": True,
            "sliding_window": 64, "layer_types": ["sliding_attention"] * 3 + ["full_attention"],
        },
        "vision": {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128,
                   "num_attention_heads": 4, "vision_use_head": False},
    },
    "qwen2.5-vl-3b": {
        "text": {
            "vocab_size": 151_936, "hidden_size": 2048, "intermediate_size": 11_008, "num_hidden_layers": 36,
            "num_attention_heads": 16, "num_key_value_heads": 2, "tie_word_embeddings": True,
            "rope": {"rope_theta": 1_000_000.0, "mrope_section": [16, 24, 24]},
        },
        "vision": {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16,
                   "fullatt_block_indexes": [7, 15, 23, 31]},
    },
    "qwen2.5-vl-7b": {
        "text": {
            "vocab_size": 152_064, "hidden_size": 3584, "intermediate_size": 18_944, "num_hidden_layers": 28,
            "num_attention_heads": 28, "num_key_value_heads": 4, "tie_word_embeddings": False,
            "rope": {"rope_theta": 1_000_000.0, "mrope_section": [16, 24, 24]},
        },
        "vision": {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16,
                   "fullatt_block_indexes": [7, 15, 23, 31]},
    },
}  # fmt: skip

KINDS: dict[str, Any] = {
    "qwen2_5_vl": Qwen2_5_VLForConditionalGeneration,
    "qwen3_5": Qwen3_5ForConditionalGeneration,
    "gemma3": Gemma3ForConditionalGeneration,
}


@dataclass(frozen=True)
class Case:
    """One row of a table: B prompts, G completions each, R tokens each.

    Attributes:
        side: of the square image of every prompt, in pixels; a multiple of 28.
        words: in the text of every prompt.
        micro_prompts: prompts (with their groups) in one training forward; bounds memory alike in both arms.
        checkpointing: activations are recomputed in the backward pass.
        lora: rank of the adapters that are trained; None: all weights are.
    """

    objective: str  # grpo, rloo, sft
    prompts: int
    group: int
    completion: int
    side: int
    words: int = 26
    shape: str = "tiny"
    device: str = "cpu"
    dtype: str = "float32"
    threads: int = 1
    micro_prompts: int | None = None
    checkpointing: bool = False
    lora: int | None = None

    @property
    def kind(self) -> str:
        """The family; of Qwen2.5-VL alone a floor is counted."""
        return SHAPES[self.shape].get("kind", "qwen2_5_vl")

    @property
    def image_tokens(self) -> int:
        return (self.side // (PATCH * MERGE)) ** 2

    @property
    def prompt_tokens(self) -> int:
        return self.image_tokens + self.words + FRAME

    @property
    def completion_tokens(self) -> int:
        """Of a whole step."""
        return self.prompts * self.group * self.completion

    @property
    def micro(self) -> int:
        return self.micro_prompts or self.prompts

    def name(self) -> str:
        work = f"{self.objective.upper()}, {self.prompts} × {self.group} × {self.completion}"
        if self.objective == "sft":
            work = f"SFT, batch {self.prompts}, {self.completion}-token targets"
        return f"{work}, {self.prompt_tokens}-token prompts"

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Case:
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Row:
    """An example: the image as PNG, the prompt's text, and what SFT learns to write."""

    image: bytes
    text: str
    target: str


def make_rows(case: Case, count: int) -> list[Row]:
    """Distinct examples; `count` steps take `count * case.prompts` of them."""
    rng = random.Random(0)
    known = SHAPES[case.shape]["text"]["vocab_size"] - len(SPECIAL)

    def words(number: int) -> str:
        return " ".join(f"w{rng.randrange(known)}" for _ in range(number))

    rows = []
    for _ in range(count):
        noise = Image.frombytes("RGB", (8, 8), rng.randbytes(3 * 64))
        file = BytesIO()
        noise.resize((case.side, case.side), Image.Resampling.BICUBIC).save(file, "PNG")
        rows.append(Row(file.getvalue(), words(case.words), words(case.completion - 1)))  # and the end token
    return rows


def make_processor(case: Case) -> Any:
    """A word tokenizer that fills the whole vocabulary, and the family's image processor."""
    size = SHAPES[case.shape]["text"]["vocab_size"]
    words = (*SPECIAL, *(f"w{index}" for index in range(size - len(SPECIAL))))
    vocabulary = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    fast.add_special_tokens({"additional_special_tokens": list(SPECIAL[:7])})
    if case.kind == "gemma3":  # which puts the whole of an image where its start stands
        template = CHAT_TEMPLATE.replace("<|image_pad|><|vision_end|>", "")
        return Gemma3Processor(
            Gemma3ImageProcessorPil(size={"height": case.side, "width": case.side}), _named(fast),
            chat_template=template, image_seq_length=case.image_tokens,
        )  # fmt: skip
    unit = (PATCH * MERGE) ** 2
    images = Qwen2VLImageProcessorPil(
        patch_size=PATCH, temporal_patch_size=2, merge_size=MERGE, min_pixels=unit, max_pixels=4096 * unit
    )
    return build_processor(images, fast, CHAT_TEMPLATE, "qwen3_vl" if case.kind == "qwen3_5" else case.kind)


def _named(tokenizer: Any) -> Any:
    """The tokenizer with the names that Gemma's processor has for what stands for an image."""
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        unk_token="<unk>", eos_token="<|im_end|>", pad_token="<|endoftext|>",
        extra_special_tokens={
            "image_token": "<|image_pad|>", "boi_token": "<|vision_start|>", "eoi_token": "<|vision_end|>",
        },
    )  # fmt: skip


def make_config(case: Case, tokenizer: Any) -> Any:
    """The shape of the case, for this tokenizer's special tokens."""
    shape = SHAPES[case.shape]
    text = {
        **shape["text"], "max_position_embeddings": 32_768, "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    token = tokenizer.convert_tokens_to_ids
    if case.kind == "gemma3":
        return Gemma3Config(
            text_config=text, vision_config={**shape["vision"], "patch_size": PATCH, "image_size": case.side},
            mm_tokens_per_image=case.image_tokens, image_token_id=token("<|image_pad|>"),
            boi_token_id=token("<|vision_start|>"), eoi_token_id=token("<|vision_end|>"),
            tie_word_embeddings=text["tie_word_embeddings"],
        )  # fmt: skip
    windows = {} if case.kind == "qwen3_5" else {"window_size": 112}
    rope = {"rope_type": "default", **text.pop("rope")}
    return (Qwen3_5Config if case.kind == "qwen3_5" else Qwen2_5_VLConfig)(
        text_config={**text, "rope_parameters": rope},
        vision_config={
            **shape["vision"], "patch_size": PATCH, "spatial_merge_size": MERGE, "temporal_patch_size": 2,
            "out_hidden_size": text["hidden_size"], **windows,
        },
        image_token_id=token("<|image_pad|>"), video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"), vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=text["tie_word_embeddings"],
    )  # fmt: skip


def make_model(case: Case, tokenizer: Any) -> Any:
    """The architecture with random weights, on its device; the same weights in every process."""
    config = make_config(case, tokenizer)
    kind = KINDS[case.kind]
    torch.manual_seed(0)
    with torch.device(case.device):
        model = kind._from_config(config, dtype=getattr(torch, case.dtype))
    if case.kind == "gemma3":  # as made, images are zeros
        with torch.no_grad():
            model.model.multi_modal_projector.mm_input_projection_weight.normal_(std=0.02)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model
