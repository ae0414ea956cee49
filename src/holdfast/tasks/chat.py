"""Rows in the shapes of chats, as TRL, LLaVA and LLaMA-Factory keep them, as rows with `prompt` and `answer`.

    messages       turns with `role` and `content`: a text, or parts of which some are pictures; TRL's split
                   form, a list of turns as `prompt` and one as `completion`, is read likewise
    conversations  turns with `from` (human, gpt) and `value`, in which `<image>` stands for each picture

A row is one question and one answer: one turn of the user, then one of the assistant, unless the row has a
field `answer`. What the system says stands before the question. Pictures are parts of a turn, or lie beside
the turns in `images` or `image`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from holdfast.tasks.example import IMAGE_MARKER
from holdfast.tasks.fieldnames import COMMON_NAMES
from holdfast.tasks.jsontable import BadField

TURNS = ("messages", "conversations", "prompt")  # the fields that may hold them, the first that does counts
_WHO = {"system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}


def is_chat(values: Mapping[str, Any]) -> bool:
    """Whether a row holds turns."""
    return _field(values) is not None


def as_row(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same row with `prompt`, `answer` and `images`; its other fields stay.

    Raises:
        BadField: it is not one question with one answer.
    """
    field = _field(values) or TURNS[0]
    others = {key: value for key, value in values.items() if key not in (field, "image", "completion")}
    if values.get("image") and values.get("images"):
        raise BadField("image", "stands beside 'images'; a row's pictures go into one of them")
    beside = _listed(values.get("images") or values.get("image"))
    pictures = iter(beside)
    said: dict[str, list[str]] = {"system": [], "user": [], "assistant": []}
    shown: list[Any] = []
    turned = False
    for turn in [*_listed(values.get(field)), *_listed(values.get("completion"))]:
        who, content = _turn(field, turn)
        before = len(shown)
        text = "".join(_texts(field, content, pictures, shown))
        if who == "assistant" and len(shown) > before:
            raise BadField(field, "shows a picture in the assistant's turn; an answer is text")
        turned = turned or (who == "user" and bool(said["assistant"]))
        said[who].append(text)
    if isinstance(values.get("system"), str) and values["system"].strip():
        raise BadField("system", "is not read; make it the first turn, or move it into 'meta'")
    if len(said["user"]) != 1:
        raise BadField(
            field, f"has {len(said['user'])} turns of the user; a row is one question: make a row of each"
        )
    answers = [others["answer"]] if others.get("answer") is not None else said["assistant"]
    if len(answers) != 1:
        problem = f"has {len(answers)} turns of the assistant, and no field 'answer'; give one"
        if column := next((name for name in COMMON_NAMES["answer"] if others.get(name) is not None), None):
            problem += (
                f""", or, if '{column}' is it, name the columns (messages: {field}, answer: "{{{column}}}")"""
            )
        raise BadField(field, problem)
    if turned:
        raise BadField(field, "answers before it is asked; put the user's turn before the assistant's")
    prompt = "\n".join([*said["system"], *said["user"]])
    return others | {
        "prompt": _without_leading(prompt, len(beside) or len(shown)),
        "answer": answers[0],
        "images": shown + list(pictures),
    }


def _field(values: Mapping[str, Any]) -> str | None:
    for field in TURNS:
        turns = values.get(field)
        if isinstance(turns, list) and turns and isinstance(turns[0], Mapping):
            return field
    return None


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _turn(field: str, turn: Any) -> tuple[str, Any]:
    if not isinstance(turn, Mapping):
        raise BadField(field, "must hold turns: objects with role and content, or from and value")
    name = turn.get("role", turn.get("from"))
    if not isinstance(name, str) or name not in _WHO:
        raise BadField(field, f"has a turn of '{name}'; there are {', '.join(_WHO)}")
    return _WHO[name], turn.get("content", turn.get("value"))


def _texts(field: str, content: Any, beside: Iterator[Any], shown: list[Any]) -> Iterator[str]:
    """A turn's texts, with a marker where a picture stands, which is put with those `shown`."""
    for part in _listed(content):
        if isinstance(part, str):
            yield part
            shown += [picture for _, picture in zip(range(part.count(IMAGE_MARKER)), beside, strict=False)]
        elif isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str):
            yield part["text"]
        elif isinstance(part, Mapping) and part.get("type") in ("image", "image_url"):
            yield IMAGE_MARKER
            if (picture := _own_picture(part)) is None:
                picture = next(beside, None)
            if picture is None:
                raise BadField(field, "shows more pictures than the row's images")
            shown.append(picture)
        else:
            raise BadField(field, "has a part that is neither text nor image; there is no other kind")


def _own_picture(part: Mapping[str, Any]) -> Any:
    for key in ("image", "image_url", "url", "path", "base64"):
        if (value := part.get(key)) is not None:
            return value.get("url") if isinstance(value, Mapping) and "url" in value else value
    return None


def _without_leading(prompt: str, images: int) -> str:
    """Markers that all stand before the text say what is so without them."""
    rest = prompt.lstrip()
    count = 0
    while rest.startswith(IMAGE_MARKER):
        rest, count = rest.removeprefix(IMAGE_MARKER).lstrip(), count + 1
    return rest if count and count == images and IMAGE_MARKER not in rest else prompt
