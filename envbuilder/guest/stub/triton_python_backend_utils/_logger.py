"""The logger and the custom metrics of a model; both keep what they are given."""

# ruff: noqa: UP006 - Python 3.8
from __future__ import annotations

import enum
import re
import weakref
from typing import Any, Dict, List, Sequence

from ._arguments import check_kind, real, text
from ._errors import TritonModelException

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
"""Matches names of metrics that Prometheus accepts."""


class LogLevel(enum.Enum):
    """The levels of :class:`Logger`."""

    INFO, WARNING, ERROR, VERBOSE = "info", "warn", "error", "verbose"


class Logger:
    """Keeps all messages: ``lines`` holds (level, message)."""

    LogLevel: Any = LogLevel
    INFO, WARNING, ERROR, VERBOSE = LogLevel
    lines: List[Any] = []  # noqa: RUF012 - one log for the process, as in Triton

    def __init__(self) -> None:
        raise TypeError("c_python_backend_utils.Logger: No constructor defined!")

    @classmethod
    def log(cls, message: str, level: Any = LogLevel.INFO) -> None:
        """Log *message*, which must be a text, at *level*."""
        said = text("log", message)
        check_kind("log", level, LogLevel)
        cls.lines.append((level.value, said))

    @classmethod
    def log_info(cls, message: str) -> None:
        """Log an informational message."""
        cls.log(message, cls.INFO)

    @classmethod
    def log_warn(cls, message: str) -> None:
        """Log a warning."""
        cls.log(message, cls.WARNING)

    @classmethod
    def log_error(cls, message: str) -> None:
        """Log an error."""
        cls.log(message, cls.ERROR)

    @classmethod
    def log_verbose(cls, message: str) -> None:
        """Log a verbose message."""
        cls.log(message, cls.VERBOSE)


class MetricKind(enum.Enum):
    """The kind of a family; as in Triton, no number is accepted in place of a member."""

    COUNTER, GAUGE, HISTOGRAM = range(3)


class Metric:
    """One series of a family; the family must outlive it."""

    def __init__(
        self,
        family: MetricFamily,
        kind: MetricKind,
        buckets: Sequence[float] = (),
        before: Metric | None = None,
    ) -> None:
        self._family = weakref.ref(family)
        self._kind, self._buckets = kind, list(buckets)
        self._value: float = before._value if before is not None and before.is_usable() else 0.0
        self.observed: List[float] = []
        """The observations of a histogram."""

    def increment(self, value: float, /) -> None:
        """Add *value*, which must not be negative for a counter."""
        value = real("increment", value)
        self._check("increment")
        if self._kind == MetricKind.HISTOGRAM:
            raise TritonModelException("Failed to increment metric value: a histogram observes")
        if self._kind == MetricKind.COUNTER and value < 0:
            raise TritonModelException("Failed to increment metric value: a counter never goes down")
        self._value += value

    def set(self, value: float, /) -> None:
        """Set a gauge to *value*."""
        value = real("set", value)
        self._check("set")
        if self._kind != MetricKind.GAUGE:
            kind = "counter" if self._kind == MetricKind.COUNTER else "histogram"
            raise TritonModelException(f"Failed to set metric value: a {kind} cannot be set")
        self._value = value

    def observe(self, value: float, /) -> None:
        """Add the observation *value* to a histogram."""
        value = real("observe", value)
        self._check("observe")
        if self._kind != MetricKind.HISTOGRAM:
            raise TritonModelException("Failed to observe metric value: only a histogram observes")
        self.observed.append(value)

    def value(self) -> float:
        """Return the value."""
        self._check("get")
        if self._kind == MetricKind.HISTOGRAM:
            raise TritonModelException("Failed to get metric value: a histogram has none")
        return self._value

    def belongs_to(self, family: MetricFamily) -> bool:
        """Return whether it is a series of that very object."""
        return self._family() is family

    def is_usable(self) -> bool:
        """Return whether its family still exists."""
        return self._family() is not None

    def _check(self, what: str) -> None:
        if not self.is_usable():
            raise TritonModelException(
                f"Failed to {what} metric value: Invalid metric operation as the corresponding 'MetricFamily' has "
                "been deleted. The 'MetricFamily' object should be deleted AFTER its corresponding 'Metric' objects "
                "have been deleted."
            )


class MetricFamily:
    """The series of one name; ``families`` holds the series of this process by family and labels."""

    COUNTER, GAUGE, HISTOGRAM = MetricKind
    families: Dict[str, Dict[Any, Metric]] = {}  # noqa: RUF012 - one registry for the process, as in Triton

    def __init__(self, name: str, description: str, kind: MetricKind) -> None:
        name, _ = text("MetricFamily", name), text("MetricFamily", description)
        if not isinstance(kind, MetricKind):
            raise TypeError(f"__init__(): incompatible constructor arguments: {type(kind).__name__}")
        if not _NAME.fullmatch(name):
            raise TritonModelException("Error when creating MetricFamily: Invalid metric name")
        self._series = self.families.setdefault(name, {})
        self._kind = kind

    def Metric(self, labels: Dict[str, str] | None = None, buckets: Sequence[float] | None = None) -> Metric:
        """Return a series; a histogram needs *buckets*, ascending bounds, and other kinds take none."""
        labels = {} if labels is None else labels
        if not isinstance(labels, dict):
            raise TritonModelException("Failed to create metric. Labels must be a dictionary.")
        if (self._kind == MetricKind.HISTOGRAM) is not (buckets is not None):
            wanted = "needs" if buckets is None else "is the only one that has"
            raise TritonModelException(f"Failed to create metric. A histogram {wanted} buckets.")
        if not all(isinstance(value, str) for value in labels.values()):
            raise TritonModelException(
                "Error when creating Metric: attempt to access JSON non-string as string"
            )
        if buckets is not None and any(right <= left for left, right in zip(buckets, buckets[1:])):
            raise TritonModelException(
                "Error when creating Metric: Bucket Boundaries must be strictly sorted"
            )
        key = tuple(sorted(labels.items()))
        known = self._series.get(key)
        if known is None or not known.belongs_to(self):
            # Two families of one name have separate series, which end with their family; the server adds them up.
            self._series[key] = Metric(self, self._kind, buckets or (), before=known)
        return self._series[key]
