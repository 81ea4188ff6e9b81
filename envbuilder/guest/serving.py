"""Load a model and send requests to it: one that the runtime serves, compared with eager, or a user's own."""

# ruff: noqa: UP006 - Python 3.8
from __future__ import annotations

import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any, Dict, List

from .answers import (
    Answer,
    as_saved,
    empty_outputs,
    mismatches,
    missing_outputs,
    undescribed_outputs,
    varying_outputs,
)
from .cases import may_be_the_inputs_fault, read_cases, titled
from .ensemble import run_ensemble
from .equality import rough_outputs
from .host import Host, stand_in, words
from .neighbours import Neighbours

Answers = Dict[str, Answer]
Stage = Callable[..., Any]
"""Runs a function, and stores its error under a name."""


class StageError(Exception):
    """A stage failed, and the ones after it cannot be tried."""


class _Served:
    """The requests to both kinds of models."""

    def __init__(self, host: Host, stage: Stage) -> None:
        self.host, self.stage = host, stage
        self.rough = rough_outputs(host.config)
        self.cases = read_cases(host.job["inputs"])

    def asked(self, model: Any, stage: str, labels: List[str] | None = None) -> Answers:
        """Return the answers to the requests of *labels*, or to all."""
        return {
            label: self.stage(stage, self.ask_alone, model, case)
            for label, case in self.cases.items()
            if labels is None or label in labels
        }

    def ask(self, model: Any, requests: List[Dict[str, Any]]) -> List[Answer]:
        """Return the answers to *requests*, sent together."""
        return self.host.ask(model, requests)

    def ask_alone(self, model: Any, request: Dict[str, Any]) -> Answer:
        """Return the answer to one request; if it is refused, record whether others would be accepted."""
        began = time.monotonic()
        try:
            return self.ask(model, [request])[0]
        except Exception:
            if self.host.job.get("made_up"):
                asked, seconds = self.host.asked, time.monotonic() - began
                self.host.otherwise = may_be_the_inputs_fault(
                    request, lambda other: self.answers(model, other), seconds=seconds
                )
                self.host.asked = asked
            raise

    def answers(self, model: Any, request: Dict[str, Any]) -> bool:
        """Return whether the model accepts a request."""
        try:
            self.ask(model, [request])
        except Exception:
            return False
        return True

    @property
    def some(self) -> List[str]:
        """The requests that are sent twice: the first and the last."""
        labels = list(self.cases)
        return list(dict.fromkeys([labels[0], labels[-1]]))

    def varying(self, first: Answers, second: Answers) -> List[str]:
        """Return the outputs that differ the second time."""
        return sorted({name for k in second for name in varying_outputs(first[k], second[k], self.rough)})

    def together(self, model: Any, answers: Answers, varying: List[str], against: str) -> List[str] | None:
        """Send two simultaneous requests, and return how the answers differ from those to each alone."""
        label, case = next(iter(self.cases.items()))
        rows = {len(array) for array in case.values() if array.ndim}
        if self.host.max_batch < 2 * max(rows, default=1) or self.host.sequence is not None:
            return None
        both = self.stage("answer", self.ask, model, [case, case])
        return [text for one in both for text in self.mismatches(one, answers[label], varying, against)]

    def mismatches(self, found: Answer, expected: Answer, varying: List[str], against: str) -> List[str]:
        """Compare two answers."""
        return mismatches(found, expected, rough=self.rough, varying=varying, against=against)

    def compare(
        self, found: Dict[str, Any], answers: Answers, expected: Answers, varying: List[str], against: str
    ) -> None:
        """Record empty outputs, and differences from *expected*."""
        first = next(iter(answers.values()))
        found["cases"] = list(answers)
        found["shapes"] = {name: list(array.shape) for name, array in (first or [{}])[0].items()}
        found["responses"] = [len(answer) for answer in answers.values()]
        found["empty"] = empty_outputs(answers.values())
        found["varying"] = varying
        found["differs"] = [
            f"{titled(label)}: {text}"
            for label, answer in answers.items()
            for text in self.mismatches(answer, expected[label], varying, against)
        ]

    def save(self, answers: Answers) -> None:
        """Write the answers for a comparison with a server's."""
        import numpy as np

        np.savez(self.host.job["outputs"], **as_saved(answers))


class OwnModel(_Served):
    """A user's ``TritonPythonModel``, which has no eager form."""

    def __init__(self, host: Host, stage: Stage, neighbours: Neighbours) -> None:
        super().__init__(host, stage)
        self.neighbours = neighbours
        self.model: Any = None

    def serve(self, found: Dict[str, Any]) -> None:
        """Load the model and send requests, some of them twice."""
        stand_in().use_router(self.neighbours)
        found["own"], found["compiled"] = True, False
        found.update(graphs=0, recompiles=0, backend="none")
        began = time.perf_counter()
        model = self.stage("compiled", self.load)
        found["load_seconds"] = time.perf_counter() - began
        self.model = model
        not_ready = "" if model is None else model.why_not_ready()
        if not_ready:
            found["not_ready"] = not_ready
        if not self.cases:  # its requests are unknown
            return
        answers = self.asked(model, "answer")
        varying = self.varying(answers, self.asked(model, "answer", self.some))
        if "dynamic_batching" in self.host.config:  # without it a server never passes two at once
            together = self.together(model, answers, varying, "alone it")
            if together is not None:
                found["together"] = together
        self.compare(found, answers, answers, varying, "alone it")
        found["missing"] = missing_outputs(self.host.config, answers.values())
        found["undescribed"] = undescribed_outputs(self.host.config, answers)
        self.save(answers)

    def finish(self) -> str | None:
        """Unload the model; return the error of its ``finalize``, if any, which no client sees."""
        try:
            if self.model is not None:
                self.model.finalize()
        except Exception as error:
            return words(error)
        return None

    def load(self) -> Any:
        """Initialize the model."""
        return self.host.load_own()


class Ensemble(OwnModel):
    """An ensemble: nothing is loaded, and its steps are called in turn."""

    def load(self) -> None:
        """Load nothing."""

    def ask(self, model: Any, requests: List[Dict[str, Any]]) -> List[Answer]:
        """Return the answers to *requests*, one after the other."""
        config = self.host.config
        answers = [run_ensemble(config, request, self.neighbours.step, []) for request in requests]
        wrong = undescribed_outputs(config, {"an answer": [one for answer in answers for one in answer]})
        if wrong:  # where the configurations of ensemble and step differ, a server does not even load it
            raise stand_in().TritonModelException(
                f"outputs are not as config.pbtxt describes them: {wrong[0]}"
            )
        return answers


class RuntimeModel(_Served):
    """A model that the runtime serves, on a device of a *kind*."""

    def __init__(self, host: Host, stage: Stage, kind: str) -> None:
        super().__init__(host, stage)
        self.kind = kind

    def serve(self, found: Dict[str, Any]) -> None:
        """Load the model eager and as configured; send both the same requests."""
        found["own"] = False
        expected, varying, constructed = self.eager(found)
        options = self.options(found)
        began = time.perf_counter()
        model = self.load("compiled", options)
        found["load_seconds"] = time.perf_counter() - began
        found["compiled"] = self.host.engine(model).compiler is not None
        found["graphs"] = unique_graphs()
        answers = self.asked(model, "answer")
        if constructed and self.varying(expected, answers) and self.built_otherwise(expected):
            # Not even the same seed gives the same model: values cannot be compared.
            varying = sorted({name for answer in answers.values() for one in answer for name in one})
        together = self.together(model, answers, varying, "eager")
        if together is not None:
            found["together"] = together
        found["recompiles"] = unique_graphs() - found["graphs"]
        model.finalize()
        self.compare(found, answers, expected, varying, "eager")
        if self.kind == "CPU":
            self.save(expected)

    def eager(self, found: Dict[str, Any]) -> tuple[Answers, List[str], bool]:
        """Return eager's answers, the outputs that vary between calls, and whether it has no weights file.

        A model without one may get other random weights at each start of a server: then a server's answers cannot
        be compared (``constructed``).
        """
        model = self.load("eager", {"disable": True})
        files = self.host.engine(model).model.files
        constructed = not files.weights and not files.exported
        answers = self.asked(model, "eager")
        varying = self.varying(answers, self.asked(model, "eager", self.some))
        model.finalize()
        found["constructed"] = constructed and self.built_otherwise(answers, 1)
        return answers, varying, constructed

    def built_otherwise(self, answers: Answers, number: int = 0) -> bool:
        """Return whether the model, constructed again with another or the same seed, gives other answers."""
        model = self.load("eager", {"disable": True}, number)
        again = self.asked(model, "eager", self.some)
        model.finalize()
        return bool(self.varying(answers, again))

    def load(self, stage: str, options: Dict[str, Any], number: int = 0) -> Any:
        """Load the model; *number* seeds the random numbers of its construction."""
        seed(number)
        return self.stage(stage, self.host.load, self.kind, options)

    def options(self, found: Dict[str, Any]) -> Dict[str, Any]:
        """Return the options to compile with: the model's own, or ones that need no compiler if there is none."""
        options = self.host.compile_options
        found["compiler"] = cpp_compiler()
        # Named by the environment or by the user: no other compiler may replace it.
        named = "CXX" in os.environ
        inductor = options.get("backend", "inductor") == "inductor"
        if self.kind == "CPU" and inductor and not found["compiler"] and not named:
            options = {k: v for k, v in options.items() if k not in ("mode", "options")}
            options["backend"] = "aot_eager"  # everything of torch.compile except Inductor's code
        found["backend"] = options.get("backend", "inductor")
        return options


def seed(number: int) -> None:
    """Seed all random generators, except the system's."""
    import numpy as np
    import torch

    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def unique_graphs() -> int:
    """Return how many graphs Dynamo has compiled in this process."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    return int(dynamo.counters["stats"].get("unique_graphs", 0)) if dynamo else 0


def cpp_compiler() -> str | None:
    """Return the C++ compiler that Inductor would find, if any."""
    named = os.environ.get("CXX")
    names = [named] if named else ["g++", "clang++", "c++"]
    return next((path for path in map(shutil.which, names) if path), None)
