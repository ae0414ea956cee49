"""A checkpoint that a server generates with: vLLM, SGLang, `transformers serve` and the like."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

from holdfast.analysis.results import Record, make_record
from holdfast.checkpoints.endpoint import Endpoint, Reply, Stopped
from holdfast.checkpoints.exam import Exam, OnStep
from holdfast.errors import HoldfastError
from holdfast.rng import seed
from holdfast.rowlog import RowLog
from holdfast.tasks.example import Example, ImageSource, open_image
from holdfast.tasks.grading import grade
from holdfast.tasks.prompts import render_prompt
from holdfast.tasks.task import Task

REQUEST_VERSION = 1  # raise when the same example is asked in another way


class ServedModel:
    """The model that a server knows by a name.

    A few requests are under way at a time. Replies are kept as they come, so that an interrupted
    task goes on where it was.
    """

    def __init__(self, endpoint: Endpoint, model: str, concurrency: int, system_prompt: str | None) -> None:
        self.endpoint, self.model, self.concurrency = endpoint, model, concurrency
        self.system_prompt = system_prompt

    @property
    def name(self) -> str:
        return f"{self.model} at {self.endpoint.url}"

    @property
    def repeated(self) -> int:
        return self.endpoint.repeated

    def identity(self, folder: Path) -> dict[str, Any]:
        return {
            "endpoint": self.endpoint.url,
            "model": self.model,
            "system_prompt": self.system_prompt,
            "version": REQUEST_VERSION,
        }

    def answer(
        self, task: Task, examples: Sequence[Example], exam: Exam, part: Path, on_step: OnStep
    ) -> list[Record]:
        records: dict[int, Record] = {}

        def keep(index: int, reply: Reply) -> None:
            graded = grade(task, examples[index], reply.text, exam.style)
            records[index] = make_record(
                task, examples[index], reply.text, graded, reply.tokens, reply.finished
            )

        kept = RowLog(part)
        for row in kept.rows:
            keep(row["index"], Reply(row["text"], row["tokens"], row["finished"]))
        left = [index for index in range(len(examples)) if index not in records]
        for index, reply in self._replies(task, examples, exam, left):
            kept.add([{"index": index, **asdict(reply)}])
            keep(index, reply)
            mean = sum(record["score"] for record in records.values()) / len(records)
            on_step(len(records), len(examples), {"accuracy": mean})
        return [records[index] for index in range(len(examples))]

    def close(self) -> None:
        """There is nothing to free."""

    def _replies(
        self, task: Task, examples: Sequence[Example], exam: Exam, left: Sequence[int]
    ) -> Iterator[tuple[int, Reply]]:
        """Replies as they come. After a failure those under way are awaited, and no more are asked for."""
        failure: HoldfastError | None = None
        waiting = iter(left)
        running: dict[Future[Reply], int] = {}

        def ask(index: int) -> Reply:
            return self.endpoint.complete(self.body(examples[index], task, exam))

        self.endpoint.stop.clear()
        pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="endpoint")
        try:
            while True:
                while failure is None and len(running) < self.concurrency:
                    index = next(waiting, None)
                    if index is None:
                        break
                    running[pool.submit(ask, index)] = index
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    index = running.pop(future)
                    try:
                        reply = future.result()
                    except Stopped:
                        continue
                    except HoldfastError as error:
                        failure = failure or type(error)(
                            f"Task {task.name}, example {examples[index].id}: {str(error).rstrip('.')}. "
                            "Replies that came are kept; the same command goes on from there."
                        )
                        self.endpoint.stop.set()  # nor do those under way try again
                    else:
                        yield index, reply
        finally:
            self.endpoint.stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
        if failure is not None:
            raise failure

    def body(self, example: Example, task: Task, exam: Exam) -> dict[str, Any]:
        """The request for one example: its images, then the question in the prompt style."""
        content: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": data_url(image)}} for image in example.images
        ]
        content.append({"type": "text", "text": render_prompt(example, exam.style, exam.templates)})
        text_only = not example.images  # some servers of text models take no list of parts
        messages: list[dict[str, Any]] = [
            {"role": "user", "content": content[0]["text"] if text_only else content}
        ]
        if self.system_prompt is not None:
            messages.insert(0, {"role": "system", "content": self.system_prompt})
        body = {
            "model": self.model,
            "messages": messages,
            "temperature": exam.sampling.temperature,
            "top_p": exam.sampling.top_p,
            "max_tokens": exam.sampling.max_tokens,
        }
        if exam.sampling.temperature > 0:
            body["seed"] = seed("evaluate", task.name, example.id) % 2**31
        return body


def data_url(source: ImageSource) -> str:
    """An image as a data URL: upright RGB as a model here sees it, without loss."""
    file = BytesIO()
    open_image(source).save(file, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
