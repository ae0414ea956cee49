"""How an arm, in a process of its own, talks with the benchmark: one line to start a step, one back."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
from typing import Any


class Channel:
    """Standard input and output of an arm; whatever else prints goes to standard error."""

    def __init__(self) -> None:
        self.output = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        faulthandler.register(signal.SIGUSR1)  # asked where it stands when it takes too long

    def send(self, **message: Any) -> None:
        self.output.write(json.dumps(message) + "\n")
        self.output.flush()

    def wait(self) -> str:
        """What to do next: `step`, or another way to make one; empty to stop."""
        command = sys.stdin.readline().strip()
        return "" if command == "stop" else command
