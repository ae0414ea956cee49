"""The words of the embedded world; its vocabulary is made of them in `tools/pretrain_embedded/build.py`."""

from __future__ import annotations

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
SHAPES = ("circle", "square", "triangle", "cross")
KINDS = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)
CELLS = tuple(row + column for row in "abc" for column in "123")  # reading order, a1 is top left
OPTIONS = ("A", "B", "C", "D")
LETTERS = ("h", "k", "l", "m", "r", "t", "u", "x")
SIDES = ("2", "3", "4", "5", "6")
NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six")
HOMES = ("forest", "desert", "ocean", "mountain", "city", "farm")
FOODS = ("bread", "fish", "fruit", "grass", "honey", "meat")

# Fact tables of the embedded world: what each kind of object is said to live in and to eat.
HOME = {kind: HOMES[(5 * index + index // 6) % 6] for index, kind in enumerate(KINDS)}
FOOD = {kind: FOODS[(index // 4 + 2 * index) % 6] for index, kind in enumerate(KINDS)}
