"""The words of the embedded world, and the vocabulary they add up to."""

from __future__ import annotations

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
SHAPES = ("circle", "square", "triangle", "cross")
KINDS = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)
CELLS = tuple(row + column for row in "abc" for column in "123")  # reading order, a1 is top left
OPTIONS = ("A", "B", "C", "D")
LETTERS = ("h", "k", "l", "m", "r", "t", "u", "x")
SIDES = ("2", "3", "4", "5", "6")
NUMBERS = tuple(str(number) for number in range(37))
NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six")
HOMES = ("forest", "desert", "ocean", "mountain", "city", "farm")
FOODS = ("bread", "fish", "fruit", "grass", "honey", "meat")

# Fact tables of the embedded world: what each kind of object is said to live in and to eat.
HOME = {kind: HOMES[(5 * index + index // 6) % 6] for index, kind in enumerate(KINDS)}
FOOD = {kind: FOODS[(index // 4 + 2 * index) % 6] for index, kind in enumerate(KINDS)}

_GRAMMAR = """
    a above and answer are at below blurry cell cells circles clear cm color crosses dark describe does eat
    empty false figure find how in is it left letter live many more nothing no noisy none number of option
    or pale perimeter photo picture rectangle right ring say says side sides sign squares than the there
    thing things think this times to too triangles true unanswerable what where which yes you see shape area
    plus ? , . :
"""


def vocabulary() -> list[str]:
    """Every word of the embedded world once, in a fixed order."""
    words = [
        *COLOURS, *SHAPES, *CELLS, *OPTIONS, *LETTERS, *NUMBERS, *NUMBER_WORDS, *HOMES, *FOODS,
        *_GRAMMAR.split(),
    ]  # fmt: skip
    return list(dict.fromkeys(words))
