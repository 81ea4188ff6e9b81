"""Requests to a model by one protocol, and whether another one would have been answered."""

from __future__ import annotations

import time
from collections.abc import Callable

from envbuilder.guest.answers import Answer
from envbuilder.guest.cases import PATIENCE, is_the_inputs_fault
from envbuilder.verification.live.deployed import DeployedModel
from envbuilder.verification.live.inputs import Inputs
from envbuilder.verification.server.process import RunningServer

Ask = Callable[[RunningServer, DeployedModel, Inputs], Answer]


class Attempt:
    """Sends requests with *ask*, and remembers the last one."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._again: Callable[[], bool] = lambda: False

    def __call__(self, running: RunningServer, deployed: DeployedModel, inputs: Inputs) -> Answer:
        """Return the responses to a request."""
        began = time.monotonic()

        def answers(other: Inputs) -> bool:
            try:
                self._ask(running, deployed, other)
            except Exception:  # however it is refused
                return False
            return True

        def again() -> bool:
            return time.monotonic() - began < PATIENCE and is_the_inputs_fault(inputs, answers)

        self._again = again
        return self._ask(running, deployed, inputs)

    def may_be_the_values(self) -> bool:
        """Return whether the last request, which was refused, is answered with other float values."""
        return self._again()
