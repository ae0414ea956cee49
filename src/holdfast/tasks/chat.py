"""Rows in the shapes of chats, as TRL, LLaVA and LLaMA-Factory keep them, as rows with `prompt` and `answer`.

    messages       turns with `role` and `content`: a text, or parts of which some are pictures; TRL's split
                   form, a list of turns as `prompt` and one as `completion`, is read likewise
    conversations  turns with `from` (human, gpt) and `value`, in which `<image>` stands for each picture

A row is one question and one answer: one turn of the user, then one of the assistant, unless the row has a
field `answer`. What the system says stands before the question. Pictures are parts of a turn, or lie beside
the turns in `images` or `image`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    chat = _Chat(field, beside)
    for turn in [*_listed(values.get(field)), *_listed(values.get("completion"))]:
        chat.add(turn)
    if isinstance(values.get("system"), str) and values["system"].strip():
        raise BadField("system", "is not read; make it the first turn, or move it into 'meta'")
    prompt, answer = chat.question(), _answer(chat, others)
    if chat.answered_first:
        raise BadField(field, "answers before it is asked; put the user's turn before the assistant's")
    return others | {
        "prompt": _without_leading(prompt, len(beside) or len(chat.shown)),
        "answer": answer,
        "images": chat.shown + list(chat.beside),
    }


class _Chat:
    """What is said in the turns of one row.

    Args:
        field: that holds them, for messages.
        beside: the pictures that lie beside the turns.

    Attributes:
        said: the texts of each speaker.
        shown: the pictures that stand in the turns, in order.
        beside: those that no turn has shown yet.
        answered_first: whether the user speaks after the assistant did.
    """

    def __init__(self, field: str, beside: Sequence[Any]) -> None:
        self.field, self.beside = field, iter(beside)
        self.said: dict[str, list[str]] = {"system": [], "user": [], "assistant": []}
        self.shown: list[Any] = []
        self.answered_first = False

    def add(self, turn: Any) -> None:
        """Take a turn."""
        if not isinstance(turn, Mapping):
            raise BadField(self.field, "must hold turns: objects with role and content, or from and value")
        name = turn.get("role", turn.get("from"))
        if not isinstance(name, str) or name not in _WHO:
            raise BadField(self.field, f"has a turn of '{name}'; there are {', '.join(_WHO)}")
        who, before = _WHO[name], len(self.shown)
        text = "".join(map(self._text, _listed(turn.get("content", turn.get("value")))))
        if who == "assistant" and len(self.shown) > before:
            raise BadField(self.field, "shows a picture in the assistant's turn; an answer is text")
        if who == "user" and self.said["assistant"]:
            self.answered_first = True
        self.said[who].append(text)

    def question(self) -> str:
        """What the system says and the one turn of the user."""
        if (turns := len(self.said["user"])) != 1:
            raise BadField(
                self.field, f"has {turns} turns of the user; a row is one question: make a row of each"
            )
        return "\n".join([*self.said["system"], *self.said["user"]])

    def _text(self, part: Any) -> str:
        """The text of a turn's part, with a marker where a picture stands, which is taken from beside."""
        if isinstance(part, str):
            count = part.count(IMAGE_MARKER)
            self.shown += [picture for _, picture in zip(range(count), self.beside, strict=False)]
            return part
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "text" and isinstance(part.get("text"), str):
            return str(part["text"])
        if kind not in ("image", "image_url"):
            raise BadField(self.field, "has a part that is neither text nor image; there is no other kind")
        if (picture := _own_picture(part)) is None:
            picture = next(self.beside, None)
        if picture is None:
            raise BadField(self.field, "shows more pictures than the row's images")
        self.shown.append(picture)
        return IMAGE_MARKER


def _answer(chat: _Chat, others: Mapping[str, Any]) -> Any:
    """The row's field `answer`, else the one turn of the assistant."""
    answers = [others["answer"]] if others.get("answer") is not None else chat.said["assistant"]
    if len(answers) == 1:
        return answers[0]
    problem = f"has {len(answers)} turns of the assistant, and no field 'answer'; give one"
    if column := next((name for name in COMMON_NAMES["answer"] if others.get(name) is not None), None):
        named = f'messages: {chat.field}, answer: "{{{column}}}"'
        problem += f", or, if '{column}' is it, name the columns ({named})"
    raise BadField(chat.field, problem)


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
