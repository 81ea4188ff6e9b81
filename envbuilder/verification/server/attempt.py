"""Requests to a model by one protocol, and whether another one may have been answered."""

from __future__ import annotations

import time
from collections.abc import Callable

from envbuilder.guest.answers import Answer
from envbuilder.guest.cases import may_be_the_inputs_fault
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

        try:
            return self._ask(running, deployed, inputs)
        except Exception:
            seconds = time.monotonic() - began
            self._again = lambda: may_be_the_inputs_fault(inputs, answers, seconds=seconds)
            raise

    def may_be_the_values(self) -> bool:
        """Return whether the last request, which was refused, may be answered with other float values."""
        return self._again()
