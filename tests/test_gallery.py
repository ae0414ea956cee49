"""The gallery: its words for what became of items, its bounds, and the page in a browser."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chromium import Tab, browser, needs_chromium
from holdfast.analysis.fates import Fate, fates
from holdfast.analysis.results import Results
from holdfast.analysis.transitions import MISSING, ItemHistory
from holdfast.cli.report import MOST
from holdfast.errors import HoldfastError
from holdfast.report.gallery import page as gallery_page
from holdfast.report.gallery.items import Items, shorten
from holdfast.report.gallery.page import gallery, page_data
from holdfast.report.gallery.thumbnails import MOST_PICTURES, Album, Shelf
from holdfast.report.page import build
from holdfast.tasks.example import Example
from results_helpers import SHORT, make_results

R, F, C, K, X = 0, 1, 2, 3, MISSING
SHELF = Shelf(None)


def _results(**more) -> Results:
    return make_results(("sft", "grpo"), items=20, sequence=SHORT, general=("facts",), **more)


@pytest.mark.parametrize(
    ("history", "learned", "until", "fate"),
    [
        ((K, R, R, R), 1, 3, Fate.KEPT),
        ((K, R, K, R), 1, 3, Fate.RECOVERED),
        ((K, R, R, F), 1, 3, Fate.LOST),
        ((K, R, R, F), 1, 2, Fate.KEPT),
        ((R, K, C, R), 1, 3, Fate.GAINED),
        ((K, K, F, C), 1, 3, Fate.NEVER),
        ((R, K, K, K), 1, 3, Fate.PASSING),  # right in the base alone
        ((K, R, R, R), 3, 3, Fate.GAINED),  # learned last: against the base
        ((R, K, R, R), 0, 3, Fate.RECOVERED),  # a general benchmark
        ((R, X, X, K), 0, 3, Fate.LOST),
        ((X, R, X, R), 1, 3, Fate.KEPT),
        ((X, R, R, R), 3, 3, MISSING),
        ((R, R, R, X), 1, 3, MISSING),
    ],
)
def test_what_became_of_an_item(history, learned, until, fate):
    assert fates(np.array(history)[:, None], learned, until).tolist() == [fate]


def test_fates_count_what_transitions_count():
    results = _results()
    history = ItemHistory(results.runs[:1], results)
    entries = history.to_end()
    assert [entry.task for entry in entries] == ["diagrams", "reading", "facts"]
    assert any(entry.lost for entry in entries) and any(entry.gained for entry in entries)
    for entry in entries:
        (outcome_SN,) = history.outcomes[entry.task]
        found = Counter(fates(outcome_SN, history.since[entry.task], history.end).tolist())
        assert found[Fate.LOST] / entry.items == entry.lost
        assert found[Fate.GAINED] / entry.items == entry.gained
        assert (found[Fate.KEPT] + found[Fate.RECOVERED]) / entry.items == pytest.approx(entry.kept)


def test_texts_stand_once_and_every_answer_is_found():
    results = _results()
    data = page_data([results], SHELF, Album())
    assert len(data["texts"]) == len(set(data["texts"])) == 2  # "three" and "3", as they were written
    assert data["ids"][0] == "diagrams-0" and len(data["ids"]) == 80
    run = data["runs"][1]
    for number, task in enumerate(data["tasks"]):
        for stage in range(4):
            for place, record in enumerate(results.runs[1].cells[stage, task["name"]]):
                assert data["texts"][run["cells"][number]["says"][stage][place]] == record["response"]
                mark = int(run["cells"][number]["marks"][stage][place])
                assert (mark & 3 == 0) == (record["score"] >= 0.5)
                assert (mark >= 4) == (not record["finished"])


def test_where_there_is_no_room_the_extracted_answers_stand_and_changes_go_first(monkeypatch):
    results = _results(response="a long reasoning, another one each time: %s")
    numbered = [
        replace(run, cells={
            cell: [row | {"response": f"{row['response']} {cell} {index}"} for index, row in enumerate(rows)]
            for cell, rows in run.cells.items()
        })
        for run in results.runs
    ]  # fmt: skip
    monkeypatch.setattr(gallery_page, "MOST_TEXT", 8_000)
    data = page_data([replace(results, runs=tuple(numbered))], SHELF, Album())
    whole = data["whole"].count("1")
    assert 0 < whole < 80
    assert f"for {whole} of 80 items" in data["notes"][0]
    assert sum(map(len, data["texts"])) < 8_100
    ranks = [item.rank for of_task in Items([results]).of_task for item in of_task]
    worst_in = max(rank for rank, flag in zip(ranks, data["whole"], strict=True) if flag == "1")
    best_out = min(rank for rank, flag in zip(ranks, data["whole"], strict=True) if flag == "0")
    assert worst_in <= best_out


def test_a_long_response_keeps_its_end():
    text = "x" * 700 + r"\boxed{7}"
    short = shorten(text)
    assert short.endswith(r"\boxed{7}") and "109 characters left out" in short
    assert shorten("short") == "short"


def _examples(count: int, colours: int):
    def examples(task: str) -> list[Example]:
        pictures = [Image.new("RGB", (64, 40), (40 * colour, 90, 20)) for colour in range(colours)]
        return [Example(f"{task}-{i}", "", "", (pictures[i % colours],)) for i in range(count)]

    return examples


def test_pictures_are_stored_once_and_bounded():
    results = _results()
    data = page_data([results], Shelf(_examples(20, 3)), Album())
    assert len(data["album"]) == 3 and len(data["pictures"]) == 80
    few = page_data([results], Shelf(_examples(20, 3)), Album(2))
    assert len(few["album"]) == 2 and any("2 pictures" in note for note in few["notes"])
    none = page_data([results], Shelf(_examples(20, 3)), Album(0))
    assert not none["album"] and not none["pictures"] and none["notes"] == ["Pictures were left out."]


def test_the_command_line_holds_as_many_as_the_album():
    assert int(MOST) == MOST_PICTURES == Album().most


def test_pictures_that_cannot_be_read_are_said(tmp_path):
    def broken(task: str) -> list[Example]:
        return [Example(f"{task}-0", "", "", (tmp_path / "gone.png",))]

    data = page_data([_results()], Shelf(broken), Album())
    assert data["notes"] == ["The pictures of 4 items could not be read."]


def test_a_large_picture_is_shrunk(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (900, 1200, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.png")
    album = Album()
    (number,) = album.add(Example("a", "", "", (tmp_path / "large.png",)))
    assert len(album.pictures[number]) < 100_000 < (tmp_path / "large.png").stat().st_size


def test_data_that_are_gone_leave_the_page_without_pictures():
    def gone(task: str) -> list[Example]:
        raise HoldfastError("moved")

    assert page_data([_results()], Shelf(gone), Album())["album"] == []


def test_two_experiments_stand_side_by_side_by_task_and_id():
    first, other = _results(), make_results(("rloo",), items=25, sequence=SHORT, general=())
    second = replace(other, name="b")
    data = page_data([first, second], SHELF, Album())
    labels = [run["label"] for run in data["runs"]]
    assert labels == ["made-up: sft", "made-up: grpo", "b: rloo"]
    assert [task["count"] for task in data["tasks"]] == [25, 25, 25, 20]
    assert data["runs"][0]["cells"][0]["marks"][0].endswith(".....")
    assert len(data["runs"][2]["cells"][0]["marks"][0]) == 25 and 3 not in data["runs"][2]["cells"]


def test_the_same_id_with_another_prompt_is_another_item():
    first = _results()
    cells = {cell: [row | {"prompt": "else"} for row in rows] for cell, rows in first.runs[0].cells.items()}
    second = replace(first, name="b", runs=(replace(first.runs[0], cells=cells),))
    with pytest.raises(HoldfastError, match="diagrams-0 of task diagrams has another prompt in b: sft"):
        page_data([first, second], SHELF, Album())


@pytest.mark.usefixtures("undrawn")
def test_the_report_links_its_gallery_and_samples_have_pictures(tmp_path):
    html = build(_results(), tmp_path, examples=_examples(20, 3)).read_text(encoding="utf-8")
    assert 'href="gallery.html"' in html and '<img src="data:image/webp;base64,' in html
    assert (tmp_path / "gallery.html").is_file()
    html = build(_results(), tmp_path, examples=_examples(20, 3), pictures=0).read_text(encoding="utf-8")
    assert "<img" not in html and "data:image" not in (tmp_path / "gallery.html").read_text(encoding="utf-8")


HOSTILE = (
    "</script><script>window.hit=1</script><!--<script>",
    "<img src=x onerror=window.hit=1>",
    "\"'><svg onload=window.hit=1> ]]> {{7*7}} &lt;b&gt;",
    "\u202egnp.exe\u2066 \u0000 \u2028 \ud800",
    "javascript:window.hit=1",
)


def _hostile() -> Results:
    """Every field that came from outside holds markup."""
    tasks, results = (f"{HOSTILE[0]} a", f"{HOSTILE[1]} b"), make_results(
        ("sft", "grpo"), items=5, sequence=SHORT[:2], general=()
    )  # fmt: skip
    names = dict(zip(SHORT, tasks, strict=False))
    runs = []
    for run in results.runs:
        cells = {
            (stage, names[task]): [
                row | {"id": f"{index} {text}"} | dict.fromkeys(("prompt", "response", "reference"), text)
                for index, (row, text) in enumerate(zip(rows, HOSTILE, strict=True))
            ]
            for (stage, task), rows in run.cells.items()
        }  # fmt: skip
        runs.append(replace(run, method=f"{run.method} {HOSTILE[0]}", cells=cells))
    return replace(results, name=HOSTILE[0], sequence=tasks, runs=tuple(runs))


@pytest.fixture(scope="module")
def tab(tmp_path_factory) -> Iterator[Tab]:
    with browser(tmp_path_factory.mktemp("chromium")) as tab:
        yield tab


@pytest.fixture
def page(tmp_path) -> Path:
    (tmp_path / "gallery.html").write_bytes(gallery([_results()], Shelf(_examples(20, 3)), Album()))
    return tmp_path / "gallery.html"


def _counts(tab: Tab) -> dict[str, int]:
    found = tab.ask(
        "Object.fromEntries([...document.querySelectorAll('#fates button[data-fate]')]"
        ".filter(b => b.dataset.fate).map(b => [b.dataset.fate, b.querySelector('b').textContent]))"
    )
    return {name: int(count) for name, count in found.items()}


def _click(tab: Tab, selector: str) -> None:
    tab.ask(f"document.querySelector({json.dumps(selector)}).click()")


def _pick(tab: Tab, id: str, value: str) -> None:
    tab.ask(f"document.getElementById('{id}').value = '{value}'")
    tab.ask(f"document.getElementById('{id}').dispatchEvent(new Event('change'))")


@pytest.mark.slow
@needs_chromium
def test_the_page_counts_fates_as_the_analysis_does(tab, page):
    results = _results()
    tab.open(page.as_uri())
    for stage in (0, 2, 3):
        tab.ask(f"set({{run: '1', stage: '{stage}'}})")
        expected = Counter()
        for task in (*results.sequence, *results.general):
            outcomes = [[int(row["score"] < 0.5) for row in results.runs[1].cells[s, task]] for s in range(4)]
            found = fates(np.array(outcomes), results.learned_at(results.runs[1], task), stage)
            expected.update(Fate(fate).name.lower() for fate in found.tolist())
        assert _counts(tab) == {fate.name.lower(): expected[fate.name.lower()] for fate in Fate}


@pytest.mark.slow
@needs_chromium
def test_what_has_no_picture_and_what_marks_mean_is_said(tab, tmp_path):
    (tmp_path / "few.html").write_bytes(gallery([_results()], Shelf(_examples(20, 20)), Album(2)))
    tab.open((tmp_path / "few.html").as_uri())
    assert tab.ask("document.querySelector('.row span.thumb').textContent") == "no picture here"
    marks = tab.ask("document.getElementById('marks').textContent")
    assert all(name in marks for name in ("right", "format", "convention", "knowledge", "just trained"))
    assert "the first run's" in tab.ask("document.querySelector('#matrix-fold summary').textContent")
    _pick(tab, "run", "1")
    assert "the first run's" not in tab.ask("document.querySelector('#matrix-fold summary').textContent")
    (tmp_path / "none.html").write_bytes(gallery([_results()], Shelf(None), Album(0)))
    tab.open((tmp_path / "none.html").as_uri())  # where the page has none at all, no place is kept
    assert tab.ask("getComputedStyle(document.querySelector('.row .thumb')).display") == "none"


@pytest.mark.slow
@needs_chromium
def test_filters_search_and_keys(tab, page):
    tab.open(page.as_uri())
    assert tab.ask("document.getElementById('count').textContent") == "80 of 80 items"
    _pick(tab, "run", "0")
    _pick(tab, "task", "1")
    assert tab.ask("document.getElementById('count').textContent") == "20 of 80 items"
    lost = _counts(tab)["lost"]
    _click(tab, "#fates [data-fate=lost]")
    assert tab.ask("shown.length") == lost > 0
    _pick(tab, "kind", "convention")
    convention = tab.ask("shown.length")
    _pick(tab, "kind", "knowledge")
    assert convention + tab.ask("shown.length") == lost
    tab.ask("set({kind: '', fate: '', task: ''})")
    tab.ask("document.activeElement.blur()")
    tab.press("/")
    assert tab.ask("document.activeElement.id") == "search"
    for letter in "READING-7":
        tab.press(letter)
    assert tab.ask("[shown.length, document.querySelector('.row .where').textContent]") == [
        1, "reading · reading-7",
    ]  # fmt: skip
    tab.ask("set({q: 'boxed{three}'})")  # in responses, and in any stage
    assert 0 < tab.ask("shown.length") <= 80
    tab.ask("set({q: ''}); document.getElementById('list').focus()")
    tab.press("ArrowDown")
    tab.press("Enter")
    assert tab.ask("document.getElementById('item').open")
    assert tab.ask("document.getElementById('item-title').textContent") == "diagrams · diagrams-1"
    tab.press("ArrowRight")
    assert tab.ask("document.getElementById('item-title').textContent") == "diagrams · diagrams-2"
    assert tab.ask("document.querySelectorAll('#item .answer').length") == 4
    assert tab.ask("document.querySelector('#item img').src").startswith("data:image/webp")
    tab.press("Escape")
    assert not tab.ask("document.getElementById('item').open")


@needs_chromium
def test_a_cell_of_the_matrix_opens_its_items_and_the_address_tells_them(tab, page):
    tab.open(page.as_uri())
    rows = "[...document.querySelectorAll('#matrices tbody tr')]"
    assert tab.ask(f"{rows}.map(row => row.querySelectorAll('button').length)") == [4, 4, 4, 4]
    _click(tab, "#matrices tbody tr:nth-child(3) td:nth-child(3) button")
    assert tab.ask("[state.run, state.task, state.stage]") == ["0", "1", "2"]
    assert tab.ask("document.querySelectorAll('#matrices [aria-pressed=true]').length") == 1
    address = tab.ask("location.href")
    tab.open("about:blank")
    tab.open(address)
    assert tab.ask("[state.run, state.task, state.stage, shown.length]") == ["0", "1", "2", 20]
    tab.open("about:blank")
    tab.open(page.as_uri() + "#run=grpo&task=photos&fate=lost")
    assert tab.ask("[state.run, state.task, state.fate]") == ["1", "2", "lost"]


@needs_chromium
def test_two_runs_side_by_side(tab, page):
    tab.open(page.as_uri())
    _pick(tab, "beside", "1")  # of the others, the first stands beside it
    assert tab.ask("[state.run, state.beside]") == ["0", "1"]
    assert tab.ask("document.querySelectorAll('#matrices table').length") == 2
    assert tab.ask("document.querySelectorAll('.row:first-child .strip').length") == 2
    four = ("left", "right", "wrong", "same")
    sizes = [tab.ask(f"set({{both: '{which}'}}), shown.length") for which in four]
    assert sum(sizes) == 80
    tasks = (*SHORT, "facts")
    ends = [[row["score"] for task in tasks for row in run.cells[3, task]] for run in _results().runs]
    assert sizes[0] == sum(a > b for a, b in zip(*ends, strict=True))


@pytest.mark.slow
@needs_chromium
def test_only_rows_in_view_are_built(tab, tmp_path):
    results = make_results(("sft",), items=2000, sequence=SHORT[:2], general=())
    (tmp_path / "g.html").write_bytes(gallery([results], SHELF, Album()))
    tab.open((tmp_path / "g.html").as_uri())
    assert tab.ask("shown.length") == 4000
    assert tab.ask("document.querySelectorAll('.row').length") < 40
    tab.ask("document.getElementById('list').focus()")
    tab.ask("move(Infinity)")
    last = tab.ask("document.querySelector('[aria-selected=true] .where').textContent")
    assert last == "reading · reading-1999"
    tab.ask("dispatchEvent(new Event('beforeprint'))")
    assert tab.ask("document.querySelectorAll('.row').length") == 200


@needs_chromium
def test_hostile_text_stays_text_and_nothing_is_fetched(tab, tmp_path):
    (tmp_path / "g.html").write_bytes(gallery([_hostile()], Shelf(_examples(5, 3)), Album()))
    tab.requests.clear()
    tab.said.clear()
    tab.open((tmp_path / "g.html").as_uri())
    for place in range(5):
        tab.ask(f"open({place})")
    tab.ask("set({run: '0', beside: '1', q: 'script'})")
    assert tab.ask("window.hit === undefined")
    assert tab.ask("document.querySelectorAll('script').length") == 2
    assert tab.ask("document.querySelectorAll('#item svg, #item b b, .row img[src=x]').length") == 0
    assert HOSTILE[0] in tab.ask("document.body.innerText")
    bidi = "[...document.querySelectorAll('.asked')].map(one => getComputedStyle(one).unicodeBidi)"
    assert set(tab.ask(bidi)) == {"isolate"}
    assert [url for url in tab.requests if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in tab.requests if url.startswith("file:")]) == 1
    assert tab.said == []


@needs_chromium
def test_a_script_that_found_its_way_in_would_not_run(tab, page):
    """The policy allows the one script by its hash."""
    html, attack = page.read_text(encoding="utf-8"), "<script>window.hit=1</script><img src=x onerror=hit=2>"
    page.write_text(html.replace("</body>", f"{attack}</body>"), encoding="utf-8")
    tab.said.clear()
    tab.open(page.as_uri())
    assert tab.ask("window.hit === undefined")
    assert re.search("Content Security Policy", " ".join(tab.said))


@needs_chromium
@pytest.mark.parametrize("width", [420, 1300])
def test_the_page_is_as_wide_as_the_window(tab, page, width):
    tab.size(width, 900)
    tab.open(page.as_uri())
    tab.ask("set({run: '0', beside: '1'})")
    assert tab.ask("document.documentElement.scrollWidth") <= width
    tab.ask("open(0)")
    assert tab.ask("document.getElementById('item').scrollWidth") <= width
