"""Rows that a model cannot take: found before any work, and named."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from cli_helpers import Call
from experiment_helpers import make_experiment, write_config
from family_helpers import make_gemma3_folder, make_idefics3_folder, make_internvl_folder, make_llava_folder
from holdfast.errors import InputError
from holdfast.experiment import fitting, memory, sharing
from holdfast.experiment.architecture import architecture
from holdfast.experiment.fitting import check_rows
from holdfast.generate.generator import questions
from holdfast.generate.local import LocalGenerator
from holdfast.generate.rollouts import encode_items
from holdfast.generate.server import ServerGenerator
from holdfast.generate.settings import ServerSettings
from holdfast.learning.likelihood import Likelihood, with_references
from holdfast.learning.methods import make_method
from holdfast.policy import ready
from holdfast.policy.encode import Unfit
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings, Sampling
from holdfast.tasks.embedded import TASKS
from holdfast.tasks.example import Example, open_image, size_seen
from holdfast.tasks.jsonl import OwnTask, load_task
from holdfast.tasks.prompts import parts_of
from holdfast.tasks.task import Split, Task
from policy_helpers import make_folder, make_policy

FOLDERS = {
    "qwen": make_folder,
    "llava": lambda at: make_llava_folder(at, "default"),
    "idefics3": lambda at: make_idefics3_folder(at, 2),
    "internvl": lambda at: make_internvl_folder(at, 2),
    "gemma3": make_gemma3_folder,
}
TEMPLATES = {"direct": "{prompt}", "cot": "{prompt}"}


def images(*sizes: tuple[int, int]) -> list[Image.Image]:
    return [Image.new("RGB", size, "red") for size in sizes]


@pytest.mark.slow
@pytest.mark.parametrize("family", FOLDERS)
def test_lengths_are_known_without_encoding(family, tmp_path):
    """Each prompt fits a context of exactly the tokens that it is encoded to, and none of one less."""
    policy = make_policy(FOLDERS[family](tmp_path))
    rows = [("w1 w2", []), ("w1", [(64, 32)]), ("w1 w2 w3", [(32, 32), (90, 40)]), ("w1", [(20, 30)])]
    for text, sizes in rows:
        encoded = policy.encode([text], [images(*sizes)])
        length = int(encoded.mask_BP.sum())
        without = int(policy.encode([text], [[]]).mask_BP.sum())  # markers around images are text
        policy.encoder.max_context = length
        ((found, of_images),) = policy.encoder.look_at([text], [sizes])
        assert found == length and 0 <= length - of_images - without <= 4 * len(sizes)
        policy.encoder.max_context = length - 1
        (problem,) = policy.encoder.look_at([text], [sizes])
        with pytest.raises(Unfit) as refused:
            policy.encode([text], [images(*sizes)])
        assert str(problem) == str(refused.value)
        policy.encoder.max_context = 512
        assert policy.encoder.look_at([text], [sizes], 512 - length) == [(length, of_images)]
        (problem,) = policy.encoder.look_at([text], [sizes], 513 - length)
        assert f"has {length} tokens and leaves no room in the context of 512" in str(problem)


def test_what_cannot_be_encoded_is_found_without_encoding(tmp_path):
    policy = make_policy(make_folder(tmp_path))
    bad = [
        ("w1", [(2000, 2)], "aspect ratio"),
        ("w1 <|image_pad|>", [], "Prompt 0 has 1 image tokens"),
        ("<image> w1", [(32, 32), (32, 32)], "Prompt 0 has 1 <image> markers for 2 images"),
        ("w1 " * 20_000, [], "Prompt 0 has 60,000 characters, far more than a context of 512 tokens"),
    ]
    for text, sizes, message in bad:
        with pytest.raises(Unfit, match=message) as refused:
            policy.encode([text], [images(*sizes)])
        assert [str(one) for one in policy.encoder.look_at([text], [sizes])] == [str(refused.value)]
    found = policy.encoder.look_at(
        ["w1", *(text for text, _, _ in bad), "w2"], [[], *(sizes for _, sizes, _ in bad), []]
    )
    assert [one.index if isinstance(one, Unfit) else None for one in found] == [None, 1, 2, 3, 4, None]
    assert policy.encoder.look_at_targets(["w1", "w1 " * 511]) == [2, 512]
    (problem,) = policy.encoder.look_at_targets(["w1 " * 512])
    assert "Target 0 has 513 tokens, more than the context of 512" in str(problem)


def test_size_seen_is_that_of_the_opened_picture(tmp_path):
    for form in ("JPEG", "PNG", "TIFF", "WEBP"):
        for orientation in (1, 3, 6):
            exif = Image.Exif()
            exif[0x0112] = orientation
            Image.new("RGB", (30, 20)).save(tmp_path / "a", form, exif=exif)
            assert size_seen(tmp_path / "a") == open_image(tmp_path / "a").size, (form, orientation)


def test_parts_of_a_prompt():
    assert parts_of("a", 0) == ["a"]
    assert parts_of("a", 2) == [None, None, "a"]
    assert parts_of("a <image> b <image>", 2) == ["a ", None, " b ", None]
    assert parts_of("<image>\nWhich?", 1) == [None, "\nWhich?"]
    assert parts_of("what does <image> mean in HTML?", 0) == ["what does <image> mean in HTML?"]
    for images in (1, 3):
        with pytest.raises(ValueError, match=f"has 2 <image> markers for {images} images"):
            parts_of("<image><image>", images)


@pytest.mark.parametrize("family", ["qwen", "idefics3", "internvl"])
def test_pictures_stand_where_their_markers_do(family, tmp_path):
    """Prompts with and without markers differ in nothing but where the pictures' tokens stand."""
    policy = make_policy(FOLDERS[family](tmp_path))
    shown = images((32, 32), (64, 32))
    first, second, word = policy.tokenizer.convert_tokens_to_ids(["w1", "w2", "w3"])

    def order(text: str) -> list[object]:
        tokens = policy.encode([text], [shown]).tokens_BP[0].tolist()
        kinds = ["image" if token == policy.family.image_token else token for token in tokens]
        kept = [kind for kind in kinds if kind in (first, second, word, "image")]
        return [kind for place, kind in enumerate(kept) if kind != "image" or kept[place - 1] != kind]

    assert order("w1 <image> w2 <image> w3") == [first, "image", second, "image", word]
    assert order("<image> w1 w2 <image> w3")[:3] == ["image", first, second]
    without, marked = (policy.encode([text], [shown]).tokens_BP for text in ("w1 w2", "<image><image>w1 w2"))
    assert torch.equal(without, marked)


def test_a_template_that_moves_pictures_is_not_given_any_within_the_text(tmp_path):
    policy = make_policy(make_folder(tmp_path))
    policy.encoder.template.text = (
        "{% for part in messages[0]['content'] if part['type'] == 'image' %}<|image_pad|>{% endfor %}"
        "{% for part in messages[0]['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    )
    policy.encode(["<image>\n<image>\nw1"], [images((32, 32), (32, 32))])
    with pytest.raises(Unfit, match="shows all of them before it; move the <image> markers to the front"):
        policy.encode(["w1 <image> w2"], [images((32, 32))])


def test_a_server_is_shown_pictures_where_their_markers_stand():
    server = ServerGenerator("http://127.0.0.1:9/v1", ServerSettings(model="m"), None)
    example = Example("7", "first <image> second", "x", tuple(images((8, 8))), place="t.jsonl, line 3")
    task = TASKS["facts"]
    (question,) = questions([(task, example)], "direct", TEMPLATES)
    content = server.body(question, 1, Sampling(), ("s",))["messages"][0]["content"]
    assert [part["type"] for part in content] == ["text", "image_url", "text"]
    (bad,) = questions([(task, Example("7", "<image><image>", "x", example.images))], "direct", TEMPLATES)
    with pytest.raises(InputError, match="The prompt of facts 7 has 2 <image> markers for 1 images"):
        server.body(bad, 1, Sampling(), ("s",))


def own(folder: Path, rows: list[dict[str, object]], name: str = "strips") -> dict[str, object]:
    """A task with one row that may be bad, number 3, among good ones."""
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (32, 32), "red").save(folder / "good.png")
    Image.new("RGB", (6000, 28), "red").save(folder / "strip.png")
    good = {"prompt": "how many discs", "answer": "two", "images": "good.png", "rationale": "seen"}
    lines = [json.dumps(good | {"id": f"strip-{n}"} | row) for n, row in enumerate(rows)]
    (folder / "rows.jsonl").write_text("\n".join(lines))
    return {name: {"train": str(folder / "rows.jsonl"), "test": str(folder / "rows.jsonl")}}


BAD = [
    ({"images": "strip.png"}, "An image of the prompt of {row} cannot be used: absolute aspect ratio must"),
    ({"prompt": "discs " * 600}, "The prompt of {row} has 6.. tokens, more than the context of 512"),
    (
        {"prompt": "see <|image_pad|>"},
        "The prompt of {row} has 2 image tokens after the chat template, but 1",
    ),
    ({"prompt": "x" * 10_000_000}, "The prompt of {row} has 10,000,00. characters, far more than a context"),
    ({"answer": "two " * 600}, "The target of {row} has .* tokens, more than the context of 512"),
]
ROW = r"strips strip-2 \(.*rows.jsonl, line 3\)"


@pytest.mark.slow
@pytest.mark.parametrize(("row", "message"), BAD, ids=["strip", "long", "token", "huge", "target"])
@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_bad_row_is_named_before_any_work(tmp_path, call: Call, command, row, message):
    tasks = own(tmp_path / "data", [{}, {}, row, {}])
    changes = {"tasks": tasks, "sequence": ["strips"], "general": [], "train_examples": None}
    config = write_config(tmp_path, {**changes, "test_examples": None})
    said = call(command, config)
    assert said.code == 2
    assert "cannot take every row; change or remove these (bad_rows: skip leaves them out):" in said.err
    lines = said.err.replace("\n", " ")
    assert re.search(message.replace("{row}", ROW), lines), lines
    assert not (tmp_path / "store" / "learn").exists()


@pytest.mark.parametrize("kind", ["chord", "rad"])
def test_references_that_a_strategy_imitates_are_looked_at(tmp_path, kind):
    methods = {"grpo": {"objective": "grpo", "learning_rate": 1e-4, "retention": {"kind": kind}}}
    tasks = own(tmp_path / "data", [{}, {"answer": "two " * 600}])
    settings = {"tasks": tasks, "sequence": ["strips"], "general": [], "methods": methods}
    with pytest.raises(InputError, match=r"The target of strips strip-1 .* more than the context of 512"):
        check_rows(make_experiment(tmp_path, train_examples=None, test_examples=None, **settings))


def test_what_fits_is_remembered(tmp_path, monkeypatch):
    asked: list[object] = []
    monkeypatch.setattr(
        ready, "encoder_of", lambda settings, made=ready.encoder_of: asked.append(1) or made(settings)
    )

    def check(rows: list[dict[str, object]], **changes: object) -> int:
        asked.clear()
        settings = {"tasks": own(tmp_path / "data", rows), "sequence": ["strips"], "general": []}
        settings |= {"train_examples": None, "test_examples": None, **changes}
        check_rows(make_experiment(tmp_path, **settings))
        return len(asked)

    assert [check([{}] * 4), check([{}] * 4)] == [1, 0]
    assert check([{}] * 5) == 1
    assert check([{}] * 5, model={"max_context": 300}) == 1
    assert (
        check([{}] * 5, prompts={"cot": "{prompt} please", "direct": "{prompt}"}, hint="{prompt} {answer}")
        == 1
    )
    no_room = "(?s)change settings, .*, not rows.*no room in the context of 512 for max_tokens 505.*"
    with pytest.raises(InputError, match=no_room + "test rows, which are judged.*is evaluation.max_tokens"):
        check([{}] * 5, evaluation={"max_tokens": 505})
    with pytest.raises(InputError, match=no_room + "train rows, .* it is sampling.max_tokens"):
        check([{}] * 5, methods={"grpo": {"objective": "grpo", "sampling": {"max_tokens": 505}}})
    with pytest.raises(InputError, match="more than the context of 5"):
        check([{}] * 5, model={"max_context": 5})
    for damage in ("", "[]", '{"version": 1}'):
        (tmp_path / "store" / fitting.MEMORY).write_text(damage)
        assert check([{}] * 5) == 1


def test_rows_that_all_fit_are_read_once(tmp_path, monkeypatch):
    read: list[tuple[str, str]] = []

    def counted(self: Task, split: Split, count: int | None = None, examples=Task.examples) -> list[Example]:
        read.append((self.name, split))
        return examples(self, split, count)

    monkeypatch.setattr(Task, "examples", counted)
    check_rows(make_experiment(tmp_path, sequence=["reading", "counting"], general=[]))
    assert sorted(read) == sorted({*read}) != []


def test_memory_is_that_of_the_largest_rows(tmp_path):
    """As they are encoded; of rows that were not looked at, it is assumed."""
    rows = [{}, {"images": ["good.png"] * 3}, {"prompt": "how many " * 20}, {"rationale": "seen " * 90}]
    settings = {"tasks": own(tmp_path / "data", rows), "sequence": ["strips"], "general": []}
    methods = {"sft": {"objective": "sft", "target": "reasoned", "learning_rate": 1e-4}}
    settings |= {"train_examples": None, "test_examples": None, "methods": methods}
    experiment = make_experiment(tmp_path, **settings)
    known = architecture(experiment.model)
    unseen = memory.assumed(known, memory.largest_image(experiment.model))
    assert memory.largest_rows(known, experiment) == unseen
    before = sharing.of_run(experiment)
    check_rows(experiment)
    policy, task = Policy.load("embedded", ModelSettings()), experiment.task("strips")
    examples = task.examples("train", 4)
    items = [(task, example) for example in examples]
    encoded = with_references(policy, items, experiment.prompts, "cot", "reasoned")
    each = int(policy.encode(["?"], [examples[0].images]).image_grid_thw.prod(-1).sum())
    found = memory.largest_rows(known, experiment)
    assert found.prompt == int(encoded.prompts.lengths_B.max())
    assert found.target == int(encoded.completions.lengths_BG.max()) > memory.TARGET_TOKENS
    assert memory.patches_of(known, found.image) == 3 * each
    of_images = sharing.of_run(experiment).parts["images"]
    assert of_images * unseen.image == before.parts["images"] * found.image


def test_a_hub_id_that_is_not_on_this_disk_is_not_fetched(tmp_path):
    tasks = own(tmp_path / "data", [{}] * 4)
    settings = {"tasks": tasks, "sequence": ["strips"], "general": [], "model": {"path": "no-one/nothing"}}
    check_rows(make_experiment(tmp_path, **settings, train_examples=None, test_examples=None))


def test_rows_are_named_where_they_are_used(tmp_path):
    """Of what no size tells: tokens that must not be written, pictures that only a processor refuses."""
    policy = make_policy(make_folder(tmp_path / "model"), max_context=40)
    own(tmp_path / "data", [{}, {}, {"prompt": "w1 " * 60}])
    task = load_task("strips", OwnTask(test=tmp_path / "data" / "rows.jsonl"))
    examples = task.examples("test")
    items = [(task, example) for example in examples]
    with pytest.raises(InputError, match=f"The prompt of {ROW} has .* tokens"):
        encode_items(policy, items, "direct", TEMPLATES)
    asked = questions(items, "direct", TEMPLATES)
    with pytest.raises(InputError, match=f"The prompt of {ROW} has"):
        list(LocalGenerator(policy).generate(asked, 1, Sampling(), ("s",)))
    sft = Likelihood(make_method(objective="sft", style="direct", learning_rate=1e-3), TEMPLATES)
    token = Example("9", "w1", "<|image_pad|>")
    with pytest.raises(
        InputError, match=r"The target of strips 9 contains <\|image_pad\|>, which a model must"
    ):
        sft.collect(policy, [(task, token)], ())


def test_the_embedded_models_encoder_needs_no_weights():
    assert (
        ready.encoder_of(ModelSettings()).max_context
        == Policy.load("embedded", ModelSettings()).encoder.max_context
    )
