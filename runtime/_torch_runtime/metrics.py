"""A model's metrics in the server."""

from __future__ import annotations

import time
from typing import Any

import triton_python_backend_utils as pb_utils


class Metrics:
    """The metrics of a model, if the server has metrics.

    An update costs a message, so there is one a second at most.
    """

    TEXTS = {  # noqa: RUF012 - a constant
        "recompiles": "Graphs compiled after warm-up",
        "uncompiled_calls": "Calls with shapes that are not compiled, because RECOMPILE denies it",
        "failed_requests": "Requests answered with an error",
        "batches": "Calls of the model",
        "batch_rows": "Rows in all calls of the model; by batches, the mean batch size",
        "compile_seconds": "Seconds of compiling and warming while loading",
    }

    START = "pytorch_runtime_start_seconds"
    INFO = "pytorch_runtime_info"

    def __init__(self, name: str, version: str) -> None:
        self._values = dict.fromkeys(self.TEXTS, 0)
        self._labels = {"model": name, "version": version}
        self._kept: list[Any] = []
        self._series: dict[str, Any] = {}
        self._told = time.monotonic()
        labels = {"model": name, "version": version}
        try:
            family = pb_utils.MetricFamily
            for key, text in self.TEXTS.items():
                kind = family.GAUGE if key == "compile_seconds" else family.COUNTER
                metric = family(name=f"pytorch_runtime_{key}", description=text, kind=kind)
                self._series[key] = (metric, metric.Metric(labels=labels))  # the family keeps it alive
        except Exception as error:  # releases without metrics for models, or a server started without metrics
            self._series = {}
            pb_utils.Logger.log_verbose(f"{name}: no metrics: {error}")

    def started(self, known: dict[str, str], phases: dict[str, float]) -> None:
        """Report the identity of model and environment, and the seconds of each phase of the start."""
        if not self._series:
            return
        family = pb_utils.MetricFamily
        start = family(name=self.START, description="Seconds of each phase of the start", kind=family.GAUGE)
        info = family(name=self.INFO, description="1; which model, in which environment", kind=family.GAUGE)
        series = [start.Metric(labels={**self._labels, "phase": phase}) for phase in phases]
        for one, seconds in zip(series, phases.values()):
            one.set(seconds)
        named = info.Metric(labels={**self._labels, **known})
        named.set(1)
        self._kept = [start, info, named, *series]

    def compiled(self, seconds: float) -> None:
        """Report the seconds of warm-up."""
        if self._series:
            self._series["compile_seconds"][1].set(seconds)

    def count(self, key: str, number: int = 1) -> None:
        """Add *number* to the counter *key*."""
        self._values[key] += number

    def answered(self, rows: int) -> None:
        """Count one call of the model with *rows* rows."""
        values = self._values
        values["batches"] += 1
        values["batch_rows"] += rows

    def tell(self, at_once: bool = False) -> None:
        """Send the counts to the server, at most once a second."""
        if not self._series or (not at_once and time.monotonic() - self._told < 1.0):
            return
        self._told = time.monotonic()
        for key, value in self._values.items():
            if value:
                self._series[key][1].increment(value)
                self._values[key] = 0
