"""The embedded suite: seven tasks after the study's seven, in its order, and three general benchmarks.

The tasks are drawn, so they need no download and have no end. Each downstream task scores one
form of answer while the base model has habits of its own, as a real instruct model has: it sees
what is asked for, and often says it in another way. Seven more (`TURNED`) ask the same questions
for the other form, so that longer sequences hold stages that damage one another.
"""

from holdfast.tasks.embedded import (
    counting,
    diagrams,
    facts,
    knowledge,
    measures,
    photos,
    presence,
    reading,
    relations,
    tissue,
    turned,
)
from holdfast.tasks.task import Task

SEQUENCE = ("diagrams", "reading", "photos", "relations", "measures", "tissue", "counting")
GENERAL = ("knowledge", "facts", "presence")
TURNED = tuple(task.name for task in turned.TASKS)
_MODULES = (
    diagrams, reading, photos, relations, measures, tissue, counting, knowledge, facts, presence
)  # fmt: skip
TASKS: dict[str, Task] = {task.name: task for task in (*(module.TASK for module in _MODULES), *turned.TASKS)}
