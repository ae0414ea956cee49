"""The process behind `holdfast.tasks.scorers.latex`: JSON requests on stdin, `1` or `0` on stdout.

Its own limits are a second net: should the parent be gone, an alarm ends the process.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys

MEMORY = 4 * 2**30  # bytes of address space


def main() -> None:
    """Answer requests until stdin ends."""
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever a library prints must not look like a verdict
    from math_verify import parse, verify

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    def latex(answer: str, reference: str) -> bool:
        # Without `$` the parser takes `8 \sqrt { 3 }` for 3; the reference comes first, as verify is
        # not symmetric. The time limits of math-verify itself are off: they use the same alarm.
        gold = parse(f"${reference}$", parsing_timeout=None)
        given = parse(f"${answer}$", parsing_timeout=None)
        return bool(gold and given and verify(gold, given, timeout_seconds=None))

    equal = {"latex": latex, "expressions": expressions, "mathruler": mathruler}
    for line in sys.stdin:
        request = json.loads(line)
        signal.alarm(int(request["limit"]) + 5)
        try:
            verdict = equal[request["kind"]](request["answer"], request["reference"])
        except Exception:  # the parser's errors are of every kind; each means "not equal"
            verdict = False
        signal.alarm(0)
        replies.write(b"1\n" if verdict else b"0\n")


def expressions(answer: str, reference: str) -> bool:
    """SymPy simplifies the difference to 0; letters side by side are multiplied."""
    from sympy import simplify
    from sympy.parsing.sympy_parser import (
        convert_xor,
        implicit_multiplication_application,
        parse_expr,
        standard_transformations,
    )

    rules = (*standard_transformations, convert_xor, implicit_multiplication_application)
    return bool(simplify(parse_expr(f"({reference})-({answer})", transformations=rules)) == 0)


def mathruler(answer: str, reference: str) -> bool:
    """The verdict of the study's grader."""
    from mathruler.grader import grade_answer

    return bool(grade_answer(answer, reference))


if __name__ == "__main__":
    main()
