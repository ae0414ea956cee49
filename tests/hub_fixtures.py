"""Small data sets in exactly the documented formats: parquet as on the hub, and two official folders.

Each image is a small picture made here, and some answers are words that the embedded model can say.
Every set has `ROWS` rows a split (POPE three times as many).
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

ROWS = 6
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
TEXTS = pa.list_(pa.string())


@cache
def picture(seed: int, form: str = "JPEG", mode: str = "RGB", size: tuple[int, int] = (48, 40)) -> bytes:
    image = Image.new("RGB", size, (seed * 37 % 256, seed * 91 % 256, 120))
    ImageDraw.Draw(image).rectangle((seed % 20, 5, seed % 20 + 12, 20), fill=(255, seed % 256, 0))
    out = io.BytesIO()
    image.convert(mode).save(out, form)
    return out.getvalue()


def hub_image(seed: int, **options: Any) -> dict[str, Any]:
    return {"bytes": picture(seed, **options), "path": f"{seed}.jpg"}


def table(path: Path, rows: list[dict[str, Any]], **types: pa.DataType) -> None:
    """A parquet file; columns whose types are not given are inferred."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(rows[0])
    arrays = [pa.array([row[name] for row in rows], types.get(name)) for name in names]
    pq.write_table(pa.Table.from_arrays(arrays, names), path, row_group_size=100)


def save(path: Path, data: bytes | Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())


CHOICES = ["West Virginia", "Louisiana", "Arizona"]
TEN = ["ocean"] * 6 + ["nikon", "Ocean", "unanswerable", "camera"]


def science_row(number: int) -> dict[str, Any]:
    return {
        "question": "Which is farthest north?", "choices": CHOICES, "answer": number % 3,
        "hint": "A map." if number % 2 else "", "task": "closed choice", "grade": "grade2",
        "subject": "social science", "topic": "geography", "category": "maps", "skill": "read a map",
        "lecture": "LECTURE", "solution": "SOLUTION",
    }  # fmt: skip


def scienceqa_hub(folder: Path) -> None:
    for place, split in enumerate(("train", "validation", "test")):
        rows: list[dict[str, Any]] = [
            {"image": hub_image(100 * place + n), **science_row(n)} for n in range(ROWS)
        ]
        rows.insert(2, {"image": None, **science_row(1)})
        table(folder / "data" / f"{split}-00000-of-00001-abc.parquet", rows, image=IMAGE, answer=pa.int8())


def textvqa_row(number: int) -> dict[str, Any]:
    return {
        "image_id": f"{number:016x}", "question_id": 34602 + number,
        "question": "what is the brand of this camera?", "question_tokens": ["what", "is"],
        "image_width": 48, "image_height": 40, "flickr_original_url": "", "flickr_300k_url": "",
        "answers": TEN, "image_classes": ["Camera"], "set_name": "val",
    }  # fmt: skip


def textvqa_hub(folder: Path) -> None:
    for place, split in enumerate(("train", "validation", "test")):
        rows = [
            {
                **textvqa_row(100 * place + n),
                "image": hub_image(100 * place + n),
                "ocr_tokens": ["DAKOTA", "Pire"],
            }
            for n in range(ROWS)
        ]
        if split == "test":
            rows = [{**row, "answers": [""] * 10} for row in rows]
        table(folder / "data" / f"{split}-00000-of-00001.parquet", rows, image=IMAGE, question_id=pa.int32())


def vizwiz_hub(folder: Path) -> None:
    for split in ("val", "test"):
        rows = [
            {
                "question_id": f"VizWiz_{split}_{n:08d}.jpg", "image": hub_image(n),
                "question": "What color was that please?",
                "answers": (["unanswerable"] * 7 + ["black"] * 3 if n % 2 else TEN) if split == "val" else [],
                "category": "other",
            }
            for n in range(ROWS)
        ]  # fmt: skip
        table(folder / "data" / f"{split}-00000-of-00001.parquet", rows, image=IMAGE, answers=TEXTS)


def vizwiz_official(folder: Path) -> None:
    for place, split in enumerate(("train", "val", "test")):
        rows = []
        for n in range(ROWS):
            name = f"VizWiz_{split}_{n:08d}.jpg"
            answers = ["unanswerable"] * 7 + ["black"] * 3 if n % 2 else TEN
            row: dict[str, Any] = {"image": name, "question": "What color was that please?"}
            if split != "test":
                row["answers"] = [{"answer": answer, "answer_confidence": "yes"} for answer in answers]
                row |= {"answer_type": "other", "answerable": 1 - n % 2}
            rows.append(row)
            save(folder / split / name, picture(100 * place + n))
        save(folder / "Annotations" / f"{split}.json", rows)


GQA_TIERS = ("train", "val", "testdev")


def gqa_row(number: int) -> dict[str, Any]:
    return {
        "imageId": f"n{number // 2}", "question": "Which shape is plain?", "isBalanced": True,
        "answer": "circle", "fullAnswer": "The circle is plain.", "semanticStr": "select: shape",
    }  # fmt: skip


def gqa_hub(folder: Path) -> None:
    for place, tier in enumerate(GQA_TIERS):
        numbers = range(100 * place, 100 * place + ROWS)
        questions = [{"id": f"{n:08d}", **gqa_row(n)} for n in numbers]
        images = [{"id": f"n{n}", "image": hub_image(n)} for n in sorted({n // 2 for n in numbers})]
        for kind, rows in (("instructions", questions), ("images", images)):
            path = folder / f"{tier}_balanced_{kind}" / f"{tier}-00000-of-00001.parquet"
            table(path, rows, image=IMAGE)  # type: ignore[arg-type]


GEOMETRY = ["12", r"8 \sqrt { 3 }", "- 8", r"4 \frac { 4 } { 11 }", "2:3", "a + b = 90"]


def geometry3k_hub(folder: Path) -> None:
    for place, split in enumerate(("train", "validation", "test")):
        rows = [
            {
                "images": [hub_image(100 * place + n, form="PNG", mode="RGBA")],
                "problem": "<image>Find x.",
                "answer": answer,
            }
            for n, answer in enumerate(GEOMETRY)
        ]
        table(folder / "data" / f"{split}-00000-of-00001.parquet", rows, images=pa.list_(IMAGE))


PATH = [("is this liver?", "yes"), ("what is shown?", "the histone subunits"), ("is there a mass?", "no")]


def pathvqa_hub(folder: Path) -> None:
    for place, split in enumerate(("train", "validation", "test")):
        rows = [
            {
                "image": hub_image(100 * place + n, mode="CMYK"),
                "question": PATH[n % 3][0],
                "answer": PATH[n % 3][1],
            }
            for n in range(ROWS)
        ]
        table(folder / "data" / f"{split}-00000-of-00001.parquet", rows, image=IMAGE)


CLEVR = [True, False, 3, "mountain bike", "rubber", "brown"]


def superclevr_official(folder: Path) -> None:
    questions = []
    for first in (0, 20_000, 25_000):
        for n, answer in enumerate(CLEVR):
            name = f"superCLEVR_new_{first + n // 2:06d}.png"
            questions.append(
                {
                    "split": "new", "image_filename": name, "image_index": first + n // 2,
                    "image": name[:-4], "question": "What is that?",
                    "answer": answer, "program": [], "template_filename": "t.json",
                    "question_family_index": 0, "question_index": len(questions), "question_hash": "x",
                }
            )  # fmt: skip
            save(folder / "images" / name, picture(first + n // 2, form="PNG"))
    info = {"split": "new", "license": "Creative Commons Attribution (CC-BY 4.0)"}
    save(folder / "superCLEVR_questions_30k.json", {"info": info, "questions": questions})


def superclevr_mathv360k_hub(folder: Path) -> None:
    hint = "Hint: Please answer the question and provide the final answer at the end.\nQuestion: What color?"
    golds = ["The bicycle is blue and brown", "5:4", "Three", "3", "True", "Yes", "red", "A bus"]
    rows = [
        {
            "id": f"clevr_{n}", "image": hub_image(n, form="PNG"),
            "conversations": [
                {"from": "human", "value": f"<image>\n{hint}"}, {"from": "gpt", "value": golds[n % 8]}
            ],
        }
        for n in range(60)
    ]  # fmt: skip
    path = folder / "Super-CLEVR(MathV360K)" / "train-00000-of-00001.parquet"
    table(path, rows, image=IMAGE)


def mmmu_hub(folder: Path) -> None:
    for split in ("dev", "validation"):
        for subject in ("Accounting", "Art_Theory", "Music"):
            rows = []
            for n in range(2):
                row: dict[str, Any] = {
                    "id": f"{split}_{subject}_{n + 1}", "question": "See <image 1>: what is it worth?",
                    "options": "['$6', '$7', '$8', '$9']", "explanation": "",
                    **{f"image_{i}": None for i in range(1, 8)},
                    **{f"image_{i}": hub_image(10 * n + i, form="PNG") for i in range(1, n + 2)},
                    "img_type": "['Tables']", "answer": "B", "topic_difficulty": "Easy",
                    "question_type": "multiple-choice", "subfield": "Finance",
                }  # fmt: skip
                if n:
                    row |= {"options": "[]", "answer": "['12.5', '12 1/2']", "question_type": "open"}
                rows.append(row)
            path = folder / subject / f"{split}-00000-of-00001.parquet"
            table(path, rows, **{f"image_{i}": IMAGE for i in range(1, 8)})


def mmlu_pro_hub(folder: Path) -> None:
    for place, split in enumerate(("validation", "test")):
        rows = [
            {
                "question_id": 100 * place + n, "question": "Typical advertising bodies are",
                "options": [f"option {i}" for i in range(9)] + (["N/A"] if n == 0 else []), "answer": "I",
                "answer_index": 8, "cot_content": "", "category": "business", "src": "ori_mmlu",
            }
            for n in range(ROWS)
        ]  # fmt: skip
        table(folder / "data" / f"{split}-00000-of-00001.parquet", rows)


def pope_hub(folder: Path) -> None:
    rows = [
        {
            "id": str(place * ROWS + n), "question_id": str(n + 1),
            "question": "Is there a snowboard in the image?", "answer": "yes" if n % 2 else "no",
            "image_source": f"COCO_val2014_{n:012d}", "image": hub_image(n), "category": category,
        }
        for place, category in enumerate(("random", "popular", "adversarial"))
        for n in range(ROWS)
    ]  # fmt: skip
    table(folder / "data" / "test-00000-of-00001.parquet", rows, image=IMAGE)


HUB: dict[str, Callable[[Path], None]] = {
    "scienceqa": scienceqa_hub, "textvqa": textvqa_hub, "vizwiz": vizwiz_hub, "gqa": gqa_hub,
    "geometry3k": geometry3k_hub, "pathvqa": pathvqa_hub, "superclevr_mathv360k": superclevr_mathv360k_hub,
    "mmmu": mmmu_hub, "mmlu_pro": mmlu_pro_hub, "pope": pope_hub,
}  # fmt: skip
OFFICIAL: dict[str, Callable[[Path], None]] = {"vizwiz": vizwiz_official, "superclevr": superclevr_official}
