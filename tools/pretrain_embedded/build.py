"""A tiny Qwen2.5-VL with its own words: model, tokenizer, chat template and image processor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.tasks.embedded.words import (
    CELLS,
    COLOURS,
    FOODS,
    HOMES,
    LETTERS,
    NUMBER_WORDS,
    OPTIONS,
    SHAPES,
)

if TYPE_CHECKING:
    from transformers import (
        PreTrainedTokenizerFast,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2VLImageProcessorPil,
    )

PATCH, MERGE = 8, 2  # a merged patch is 16 × 16 pixels: one cell of an embedded picture
CONTEXT = 512  # tokens
CONTROL = (
    "<|pad|>", "<|im_start|>", "<|im_end|>",
    "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
MARKS = ("<think>", "</think>", r"\boxed{", "}")  # split off from the words around them, but ordinary text
ROLES = ("system", "user", "assistant")

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }} "
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"
)

_GRAMMAR = """
    a above and answer are at below blurry cell cells circles clear cm color crosses dark describe does eat
    empty false figure find how in is it left letter live many more nothing no noisy none number of option
    or pale perimeter photo picture rectangle right ring say says side sides sign squares than the there
    thing things think this times to too triangles true unanswerable what where which yes you see shape area
    plus ? , . :
"""


def vocabulary() -> list[str]:
    """Every word of the embedded world once, in a fixed order, on which token ids depend."""
    words = [
        *COLOURS, *SHAPES, *CELLS, *OPTIONS, *LETTERS, *map(str, range(37)), *NUMBER_WORDS, *HOMES, *FOODS,
        *_GRAMMAR.split(),
    ]  # fmt: skip
    return list(dict.fromkeys(words))


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word of the embedded world; an unknown word is `<|unk|>`."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [*CONTROL, "<|unk|>", *MARKS, *ROLES, *vocabulary()]
    tokenizer = Tokenizer(
        models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<|unk|>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in CONTROL])
    tokenizer.add_tokens([AddedToken(mark, normalized=False) for mark in MARKS])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<|unk|>",
        pad_token="<|pad|>",
        eos_token="<|im_end|>",
        model_max_length=CONTEXT,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def build_image_processor() -> Qwen2VLImageProcessorPil:
    from transformers import Qwen2VLImageProcessorPil

    cell = PATCH * MERGE
    return Qwen2VLImageProcessorPil(
        patch_size=PATCH,
        merge_size=MERGE,
        temporal_patch_size=2,
        size={"shortest_edge": cell * cell, "longest_edge": 64 * cell * cell},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.25, 0.25, 0.25],
    )


def build_model(tokenizer: PreTrainedTokenizerFast) -> Qwen2_5_VLForConditionalGeneration:
    """About 1.3 million random parameters; draws from torch's global generator."""
    from transformers import GenerationConfig, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    token = tokenizer.convert_tokens_to_ids
    hidden, heads = 128, 4
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": hidden,
            "num_hidden_layers": 4,
            "num_attention_heads": heads,
            "num_key_value_heads": 2,
            "intermediate_size": 3 * hidden,
            "max_position_embeddings": CONTEXT,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "mrope_section": [4, 6, 6],  # time, height, width: half a head's dimensions together
            },
            "initializer_range": 0.05,
            "tie_word_embeddings": True,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 96,
            "num_heads": 4,
            "intermediate_size": 256,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
            "out_hidden_size": hidden,
            "fullatt_block_indexes": [0, 1],
            "window_size": 4 * PATCH * MERGE,
            "initializer_range": 0.05,
        },
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, max_new_tokens=32
    )
    return model
