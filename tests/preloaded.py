"""All that processes of tests are copied with; no garbage collector goes through it, then or later."""

from __future__ import annotations

import gc
from contextlib import suppress
from importlib import import_module

from holdfast.experiment.forked import PRELOAD

gc.disable()
for _name in ("unsynced", *PRELOAD, "holdfast.cli", "peft"):
    with suppress(ImportError):  # of what not every environment has
        import_module(_name)

from holdfast.policy import policy  # noqa: E402
from holdfast.policy.policy import Policy  # noqa: E402
from holdfast.policy.settings import ModelSettings  # noqa: E402
from readonce import copied_model  # noqa: E402

policy.load_model = copied_model  # what is read here, all copies have
Policy.load("embedded", ModelSettings(device="cpu"))  # the first one imports more
gc.freeze()
gc.enable()
