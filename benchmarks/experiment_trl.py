"""An experiment stage by stage, as a script on TRL's trainers: the other side of `experiment.py`.

    python benchmarks/experiment_trl.py EXPERIMENT.yaml RESULT.json

Each method starts from the base model, trains on one task after another, and answers all tasks before and
after every stage: greedily, in batches, with `generate`. Data, prompts, settings and grader are Holdfast's;
training and answering are TRL's and transformers'. The file of the experiment is one for `holdfast run`.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from datasets import Dataset, Features, Image, List, Value
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.utils import logging
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from holdfast.policy.processor import load_processor
from holdfast.policy.settings import EMBEDDED
from holdfast.tasks.embedded import TASKS
from holdfast.tasks.example import Example
from holdfast.tasks.grading import grade, parts_of, weighed
from holdfast.tasks.prompts import Style, render_prompt, render_target
from holdfast.tasks.task import Task

STYLE: Style = "cot"
TEXT = List({"role": Value("string"), "content": Value("string")})
BASE = "base model"


class Script:
    """The experiment, and what came of it: right answers by method, stage and task; seconds by part."""

    def __init__(self, experiment: dict[str, Any]) -> None:
        self.experiment, self.defaults = experiment, experiment["defaults"]
        self.processor = load_processor(EMBEDDED, text_only=False)  # without torchvision, too
        self.cells: list[tuple[str, int, str, float]] = []
        self.seconds: dict[str, float] = defaultdict(float)
        names = experiment["sequence"]
        self.train = {name: TASKS[name].examples("train", experiment["train_examples"]) for name in names}
        self.test = {name: TASKS[name].examples("test", experiment["test_examples"]) for name in names}

    def run(self) -> None:
        self.judge(BASE, 0, load_model())
        for method in self.experiment["methods"]:
            model = load_model()
            for stage, name in enumerate(self.experiment["sequence"], 1):
                with tempfile.TemporaryDirectory() as folder:
                    make = self.sft if method == "sft" else self.grpo
                    trainer = make(model, TASKS[name], self.train[name], folder)
                    with self.timed(f"{method}: training"):
                        trainer.train()
                    trainer.save_model(folder)
                self.judge(method, stage, model)

    def sft(self, model: Any, task: Task, examples: list[Example], folder: str) -> SFTTrainer:
        data = {
            "prompt": [self.question(example) for example in examples],
            "completion": [
                [{"role": "assistant", "content": render_target(example, STYLE, "answer")}]
                for example in examples
            ],
            "images": [list(example.images) for example in examples],
        }
        features = Features(prompt=TEXT, completion=TEXT, images=List(Image()))
        return SFTTrainer(
            model,
            SFTConfig(**self.settings("sft", folder), max_length=None, completion_only_loss=True),
            train_dataset=Dataset.from_dict(data, features),
            processing_class=self.processor,
        )

    def grpo(self, model: Any, task: Task, examples: list[Example], folder: str) -> GRPOTrainer:
        data = {
            "prompt": [self.question(example) for example in examples],
            "images": [list(example.images) for example in examples],
            "index": range(len(examples)),
        }

        def reward(completions: Any, index: list[int], **others: Any) -> list[float]:
            rewards = []
            for (message,), place in zip(completions, index, strict=True):
                graded = grade(task, examples[place], message["content"], STYLE)
                rewards.append(weighed(parts_of(graded, message["content"], examples[place], STYLE), STYLE))
            return rewards

        settings = self.settings("grpo", folder)
        group = self.experiment["methods"]["grpo"]["group_size"]
        settings["per_device_train_batch_size"] *= group
        return GRPOTrainer(
            model,
            reward,
            GRPOConfig(
                **settings,
                num_generations=group,
                max_completion_length=self.defaults["sampling"]["max_tokens"],
                temperature=self.defaults["sampling"]["temperature"],
            ),
            train_dataset=Dataset.from_dict(
                data, Features(prompt=TEXT, images=List(Image()), index=Value("int64"))
            ),
            processing_class=self.processor,
        )

    def settings(self, method: str, folder: str) -> dict[str, Any]:
        """What both trainers are told; a step takes one forward pass, in float32 and on the CPU."""
        own = self.defaults | self.experiment["methods"][method]
        return {
            "output_dir": folder,
            "max_steps": own["iterations"],
            "per_device_train_batch_size": own["batch"],
            "learning_rate": own["learning_rate"],
            "lr_scheduler_type": "constant",
            "weight_decay": own["weight_decay"],
            "max_grad_norm": own["clip_grad"],
            "seed": self.experiment["seeds"][0],
            "gradient_checkpointing": False,
            "bf16": False,
            "use_cpu": True,
            "dataloader_pin_memory": False,
            "report_to": [],
            "save_strategy": "no",
            "disable_tqdm": True,
        }

    def judge(self, method: str, stage: int, model: Any) -> None:
        with self.timed("judging"):
            for name, examples in self.test.items():
                replies = self.answers(model, examples)
                scores = [
                    grade(TASKS[name], example, reply, STYLE).score
                    for example, reply in zip(examples, replies, strict=True)
                ]
                self.cells.append((method, stage, name, sum(scores)))

    @torch.inference_mode()
    def answers(self, model: Any, examples: list[Example]) -> list[str]:
        model.eval()
        exam, replies = self.experiment["evaluation"], []
        for start in range(0, len(examples), exam["batch"]):
            batch = examples[start : start + exam["batch"]]
            chats = [[{"role": "user", "content": self.parts(example)}] for example in batch]
            inputs = self.processor(
                text=self.processor.apply_chat_template(chats, add_generation_prompt=True),
                images=[image for example in batch for image in example.images] or None,
                padding=True,
                return_tensors="pt",
            )
            tokens = model.generate(**inputs, max_new_tokens=exam["max_tokens"], do_sample=False)
            written = tokens[:, inputs["input_ids"].shape[1] :]
            replies += self.processor.batch_decode(written, skip_special_tokens=True)
        return replies

    def question(self, example: Example) -> list[dict[str, str]]:
        return [{"role": "user", "content": self.text(example)}]

    def parts(self, example: Example) -> list[dict[str, str]]:
        images = [{"type": "image"} for _ in example.images]
        return [*images, {"type": "text", "text": self.text(example)}]

    def text(self, example: Example) -> str:
        return render_prompt(example, STYLE, self.experiment["prompts"])

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[part] += time.perf_counter() - start


def load_model() -> Any:
    return Qwen2_5_VLForConditionalGeneration.from_pretrained(EMBEDDED, dtype=torch.float32)


def main(experiment: Path, result: Path) -> None:
    settings = yaml.safe_load(experiment.read_text(encoding="utf-8"))
    torch.set_num_threads(settings["threads"])
    logging.disable_progress_bar()
    script = Script(settings)
    script.run()
    result.write_text(json.dumps({"cells": script.cells, "seconds": script.seconds}), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
