"""Code of the user's own, named as `rules.py:score`: found, known by its content, and called with care.

A reference stands wherever the package has a name of its own: a scorer, a reward, a filter, a way of
learning, a strategy, a measure, a task, an executor, a tracker. The file's hash is part of every
fingerprint that the code counts for, so a changed rule is another experiment. What it imports besides is
not watched: a rule belongs in one file.
"""

from holdfast.plugins.calling import call, call_for_number, torch_kept
from holdfast.plugins.faults import blamed, fault, fault_in, telling_exit
from holdfast.plugins.loading import load, load_class, load_function, load_own
from holdfast.plugins.modules import check_unchanged, load_files, ran
from holdfast.plugins.reference import absolute, code, file_hash, identify, is_reference, references
from holdfast.plugins.values import plain_number, shown

__all__ = [
    "absolute",
    "blamed",
    "call",
    "call_for_number",
    "check_unchanged",
    "code",
    "fault",
    "fault_in",
    "file_hash",
    "identify",
    "is_reference",
    "load",
    "load_class",
    "load_files",
    "load_function",
    "load_own",
    "plain_number",
    "ran",
    "references",
    "shown",
    "telling_exit",
    "torch_kept",
]
