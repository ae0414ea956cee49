"""The other side of a benchmark: steps of TRL's trainers. Run by `steps.arm`."""

from __future__ import annotations

import sys
import tempfile
import zlib
from io import BytesIO
from typing import Any

import PIL.Image
import torch
from datasets import Dataset, Features, Image, List, Value
from peft import LoraConfig
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer, SFTConfig, SFTTrainer

from holdfast.policy.families import family_of
from holdfast.policy.lora import usual_ends
from steps.channel import Channel
from steps.meter import Memory, now
from steps.workload import Case, make_model, make_processor, make_rows


class Paced(TrainerCallback):
    """Lets the trainer make one step at a time, and times it: data, generation, update, all of it."""

    def __init__(self, channel: Channel, case: Case, memory: Memory):
        self.channel, self.case, self.memory = channel, case, memory
        self.tokens = {"prompt_tokens": 0, "completion_tokens": 0}
        self.start = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._wait(control)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        seconds = now(self.case) - self.start
        self.channel.send(seconds=seconds, **self.tokens, peak=self.memory.peak())
        self._wait(control)

    def _wait(self, control: Any) -> None:
        self.tokens.update(prompt_tokens=0, completion_tokens=0)
        control.should_training_stop = not self.channel.wait()
        self.start = now(self.case)


def common(case: Case, steps: int, folder: str) -> dict[str, Any]:
    """Settings that make TRL do the work of the other arm, and nothing beside it."""
    return {
        "output_dir": folder,
        "max_steps": steps,
        "per_device_train_batch_size": case.micro * case.group,
        "gradient_accumulation_steps": case.prompts // case.micro,
        "gradient_checkpointing": case.checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "learning_rate": 1e-5,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
        "bf16": False,  # the weights have the dtype of the case; no autocast on top
        "use_cpu": case.device == "cpu",
        "dataloader_pin_memory": False,
        "report_to": [],
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
        "shuffle_dataset": False,
    }


def make_data(case: Case, steps: int, processor: Any) -> Dataset:
    rows = make_rows(case, steps * case.prompts)
    images = [[{"bytes": row.image, "path": None}] for row in rows]
    prompt = processor.apply_chat_template(_chat(rows[0].text), add_generation_prompt=True)
    picture = PIL.Image.open(BytesIO(rows[0].image))
    length = len(processor(images=[picture], text=[prompt])["input_ids"][0])
    assert length == case.prompt_tokens, f"the processor makes {length} tokens"
    if case.objective == "sft":
        chats = [_chat(row.text) for row in rows]
        data: dict[str, Any] = {
            "prompt": [processor.apply_chat_template(chat, add_generation_prompt=True) for chat in chats],
            "completion": [f"{row.target} <|im_end|>" for row in rows],
            "images": images,
        }
        kind: Any = Value("string")
        return Dataset.from_dict(data, features=Features(prompt=kind, completion=kind, images=List(Image())))
    kind = List({"role": Value("string"), "content": Value("string")})
    data = {"prompt": [[{"role": "user", "content": row.text}] for row in rows], "images": images}
    return Dataset.from_dict(data, features=Features(prompt=kind, images=List(Image())))


def _chat(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]


def make_trainer(case: Case, steps: int, folder: str, channel: Channel) -> Any:
    processor = make_processor(case)
    model = make_model(case, processor.tokenizer)
    paced = Paced(channel, case, Memory(case.device))
    data = make_data(case, steps, processor)
    settings = common(case, steps, folder)
    parts: dict[str, Any] = {
        "model": model,
        "train_dataset": data,
        "processing_class": processor,
        "callbacks": [paced],
    }
    if case.lora is not None:
        ends = list(usual_ends(model, family_of(model.config)))
        parts["peft_config"] = LoraConfig(r=case.lora, lora_alpha=2 * case.lora, target_modules=ends)
    if case.objective == "sft":

        class Counted(SFTTrainer):
            def training_step(self, model: Any, inputs: Any, *args: Any) -> torch.Tensor:
                targets, tokens = int((inputs["labels"] != -100).sum()), int(inputs["attention_mask"].sum())
                paced.tokens["completion_tokens"] += targets
                paced.tokens["prompt_tokens"] += tokens - targets
                return super().training_step(model, inputs, *args)

        return Counted(args=SFTConfig(**settings, max_length=None, completion_only_loss=True), **parts)

    def reward(completions: Any, completion_ids: Any, **kwargs: Any) -> list[float]:
        paced.tokens["completion_tokens"] += sum(map(len, completion_ids))
        paced.tokens["prompt_tokens"] += case.prompts * case.prompt_tokens
        return [zlib.crc32(text[0]["content"].encode()) % 1000 / 999 for text in completions]

    settings |= {
        "num_generations": case.group,
        "max_completion_length": case.completion,
        "generation_kwargs": {"min_new_tokens": case.completion},
        "steps_per_generation": case.prompts // case.micro,
        "beta": 0.0,
    }
    config, trainer = (GRPOConfig, GRPOTrainer) if case.objective == "grpo" else (RLOOConfig, RLOOTrainer)
    return trainer(args=config(**settings), reward_funcs=reward, **parts)


def main(case: Case, steps: int) -> None:
    channel = Channel()
    torch.set_num_threads(case.threads)
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(case, steps, folder, channel)
        channel.send(parameters=sum(parameter.numel() for parameter in trainer.model.parameters()))
        trainer.train()


if __name__ == "__main__":
    main(Case.from_json(sys.argv[1]), int(sys.argv[2]))
