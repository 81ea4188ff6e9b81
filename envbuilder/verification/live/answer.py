"""Parse a probe's answer defensively: code of the archive may have written it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from envbuilder.util.documents import LINE, Record

_MOST: Final = 10_000
"""Longest list: modules and libraries of a process, batch sizes, outputs of a model."""


def check_answer(answer: Record) -> Mapping[str, Any]:
    """Parse the answer of a probe, as :mod:`envbuilder.guest.probe` writes it.

    Raises:
        DocumentError: it is malformed.
    """
    conditions = answer.record("conditions")
    for key in ("python", "prefix", "locale"):
        conditions.text(key)
    if "torch" in answer:
        _check_torch(answer.record("torch"))
    if "numpy" in answer:
        answer.text("numpy")
    for key in ("imported", "modules", "libraries"):
        if key in answer:
            _check_texts(answer, key)
    if "child" in answer:
        child = answer.record("child")
        child.text("executable")
        child.text("returncode")
        child.free_text("output")
    if "failed" in answer:
        check_failed(answer.record("failed"))
    if "unknown" in answer:
        answer.free_texts("unknown")
    for kind in ("CPU", "GPU"):
        if kind in answer:
            _check_served(answer.record(kind))
    return answer.value


def check_failed(failed: Record) -> Mapping[str, Any]:
    """Parse the guest's record of a failure.

    Raises:
        DocumentError: it is malformed.
    """
    failed.text("stage")
    for key in ("text", *(key for key in ("missing", "inputs", "lacking") if key in failed)):
        failed.free_text(key)
    if "otherwise" in failed:
        failed.boolean("otherwise")
    return failed.value


def _check_torch(torch: Record) -> None:
    torch.text("version")
    torch.text("numpy")
    torch.number("seconds")
    torch.texts("devices", most=_MOST)
    if "cuda" in torch:
        torch.text("cuda")


def _check_served(served: Record) -> None:
    """Check the results for a device; ``cases`` and the rest exist once the model has answered."""
    for key in {"own", "constructed"} & set(served.value):
        served.boolean(key)
    if "cases" not in served:
        return
    served.integers("responses", most=_MOST)
    shapes = served.record("shapes")
    shapes.check_keys(LINE)
    for name in shapes.value:
        shapes.integers(name, most=_MOST)
    for key in ("cases", "varying", "differs", "empty", *(("together",) if "together" in served else ())):
        _check_texts(served, key)
    for key in {"missing", "undescribed"} & set(served.value):
        _check_texts(served, key)
    for key in {"finalize", "not_ready"} & set(served.value):
        served.free_text(key)
    for key in ("recompiles", "graphs"):
        served.integer(key)
    for key in ("own", "compiled"):
        served.boolean(key)
    served.number("load_seconds")
    served.text("backend")
    if "compiler" in served:
        served.text("compiler")


def _check_texts(record: Record, key: str) -> None:
    record.texts(key, most=_MOST)
