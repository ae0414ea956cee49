r"""The number a mathematical answer stands for: `48`, `8 \sqrt { 3 }`, `4 \frac { 4 } { 11 }`, `2\pi/3`.

A small evaluator of its own: it cannot hang or run code, and spares nearly every answer the way
through a computer algebra system.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache

LONGEST = 200  # characters; no answer of these tasks comes near
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?)"
    r"|(?P<command>\\[a-zA-Z]+)|(?P<name>pi|sqrt|π|√)|(?P<sign>[-+*/^(){}\[\]×·÷]))"
)
_SKIPPED = {r"\left", r"\right"}
_TIMES, _OVER = {"*", "×", "·", r"\times", r"\cdot"}, {"/", "÷", r"\div"}
_FRACTIONS = {r"\frac", r"\dfrac", r"\tfrac", r"\cfrac"}
_ROOTS = {r"\sqrt", "sqrt", "√", r"\surd"}
_PIS = {r"\pi", "pi", "π"}


@lru_cache(maxsize=65_536)
def value(text: str) -> float | None:
    """The value, or None when the text is no arithmetic expression of numbers, roots and π."""
    if len(text) > LONGEST:
        return None
    tokens, position = [], 0
    text = text.rstrip()
    while position < len(text):
        found = _TOKEN.match(text, position)
        if not found:
            return None
        if found[0].strip() not in _SKIPPED:
            tokens.append(found[0].strip())
        position = found.end()
    try:  # a root of a negative number is complex, hence TypeError
        parser = _Parser(tokens)
        result = parser.sum()
        finite = isinstance(result, float) and math.isfinite(result)
        return result if finite and parser.done() else None
    except (_NoExpressionError, ZeroDivisionError, OverflowError, TypeError, ValueError, RecursionError):
        return None


class _NoExpressionError(Exception):
    """The tokens do not form an expression."""


class _Parser:
    """Recursive descent over tokens; a factor that follows another multiplies it."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.place = tokens, 0

    def done(self) -> bool:
        return self.place == len(self.tokens)

    def peek(self) -> str:
        return "" if self.done() else self.tokens[self.place]

    def take(self, wanted: str | None = None) -> str:
        token = self.peek()
        if not token or (wanted is not None and token != wanted):
            raise _NoExpressionError
        self.place += 1
        return token

    def sum(self) -> float:
        total = self.product()
        while self.peek() in ("+", "-"):
            total += self.product() if self.take() == "+" else -self.product()
        return total

    def product(self) -> float:
        if self.peek() in ("-", "+"):
            return -self.product() if self.take() == "-" else self.product()
        result = self.mixed()
        while token := self.peek():
            if token in _TIMES:
                self.take()
                result *= self.signed()
            elif token in _OVER:
                self.take()
                result /= self.signed()
            elif token in ("+", "-", ")", "}", "]"):
                break
            elif token[0].isdigit() or token[0] == ".":
                raise _NoExpressionError  # "2 3" is a list or a slip, not a product
            else:
                result *= self.power()
        return result

    def signed(self) -> float:
        if self.peek() == "-":
            self.take()
            return -self.power()
        return self.power()

    def mixed(self) -> float:
        r"""A whole number with a fraction after it is a mixed number: `4 \frac{4}{11}`, `1 1/2`."""
        whole = self.peek()
        result = self.power()
        if whole.isdecimal() and self.peek() in _FRACTIONS:
            result += self.power()
        elif whole.isdecimal() and self.peek().isdecimal():
            over = self.atom()
            self.take("/")
            result += over / self.atom()
        return result

    def power(self) -> float:
        base = self.atom()
        if self.peek() == "^":
            self.take()
            return float(base ** self.signed())
        return base

    def atom(self) -> float:
        token = self.take()
        if token[0].isdigit() or token[0] == ".":
            return float(token)
        if token in _PIS:
            return math.pi
        if token in _FRACTIONS:
            return self.argument() / self.argument()
        if token in _ROOTS:
            if self.peek() == "[":
                degree = self.bracket()
                return float(self.argument() ** (1 / degree))
            return math.sqrt(self.argument())
        if token in ("(", "{", "["):
            self.place -= 1
            return self.bracket()
        raise _NoExpressionError

    def argument(self) -> float:
        return self.bracket() if self.peek() in ("{", "(") else self.atom()

    def bracket(self) -> float:
        closing = {"(": ")", "{": "}", "[": "]"}[self.take()]
        result = self.sum()
        self.take(closing)
        return result
