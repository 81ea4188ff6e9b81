"""Decide whether two results are equal up to rounding: one rule for the runtime and for verification.

It needs NumPy only. ``envbuilder/guest/equality.py`` is a link to this file: the probe of ``envbuilder verify``
also compares models that do not use this runtime.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

TOLERANCES = {"float16": 2e-2, "float32": 1e-4, "float64": 1e-8}
"""Tolerance of compiled code against eager, by the output's dtype: relative to a value, and to the output's largest.

Compiled code sums in another order, and a result near zero has the absolute error of its terms: so the second
tolerance is relative to the largest value, and independent of an output's scale. Twice the unit roundoff of
bfloat16 is 0.016; a sum of ten thousand float32 is 1e-5 off, and layers add to that. Other dtypes must be equal.
"""


def rough_outputs(config: Mapping[str, Any]) -> list[str]:
    """Return the outputs that are computed in half precision according to *config*, whatever their arrays' dtype.

    *config* is a model's configuration as Triton passes it to a model.
    """
    parameters = config.get("parameters") or {}
    half = (parameters.get("DTYPE") or {}).get("string_value") in ("float16", "bfloat16")
    outputs = config.get("output") or []
    return [one["name"] for one in outputs if half or one["data_type"] in ("TYPE_FP16", "TYPE_BF16")]


def differences(
    found: Mapping[str, Any],
    expected: Mapping[str, Any],
    rough: Iterable[str] = (),
    *,
    against: str = "eager",
    tolerance: Mapping[str, float] | None = None,
) -> list[str]:
    """Describe the outputs in which *found* differs from *expected*, the result of *against*.

    Both are arrays by name.

    Outputs of :func:`rough_outputs` are *rough*. A *tolerance* of ``rtol`` and ``atol``, as NumPy's ``allclose`` takes
    them, overrides :data:`TOLERANCES`.
    """
    texts = []
    for name in sorted({*found, *expected}):
        if name in found and name in expected:
            bounds = _bounds(expected[name], name in rough, tolerance)
            text = _difference(found[name], expected[name], bounds, against)
            texts += [f"{name} {text}"] if text else []
        else:
            texts.append(f"{name} is in only one of the answers")
    return texts


def largest_difference(found: Mapping[str, Any], expected: Mapping[str, Any]) -> float:
    """Return the largest absolute difference of two results of the same shapes."""
    largest = 0.0
    for name, array in found.items():
        if array.dtype.kind in "biuf" and array.size:
            with np.errstate(invalid="ignore"):  # infinity from infinity
                away = np.abs(array.astype(np.float64) - expected[name].astype(np.float64))
            largest = max(largest, float(np.nan_to_num(away).max()))
    return largest


def _bounds(expected: Any, rough: bool, tolerance: Mapping[str, float] | None) -> tuple[float, float] | None:
    """Return the relative and the absolute tolerance for *expected*; None: it must be equal."""
    if expected.dtype.name not in TOLERANCES:
        return None
    part = TOLERANCES["float16" if rough else expected.dtype.name]
    if tolerance is not None:
        return tolerance.get("rtol", part), tolerance.get("atol", 0.0)
    values = np.abs(expected[np.isfinite(expected)].astype(np.float64))
    return part, part * (float(values.max()) if values.size else 0.0)


def _difference(found: Any, expected: Any, bounds: tuple[float, float] | None, against: str) -> str | None:
    if found.dtype != expected.dtype or found.shape != expected.shape:
        return f"is {found.dtype}{list(found.shape)}, {against} gives {expected.dtype}{list(expected.shape)}"
    if bounds is None:
        same, many = np.array_equal(found, expected), int(np.sum(found != expected))
        return None if same else f"differs from {against} in {many} of {found.size} values"
    a, b = found.astype(np.float64), expected.astype(np.float64)
    if np.allclose(a, b, rtol=bounds[0], atol=bounds[1], equal_nan=True):
        return None
    with np.errstate(invalid="ignore"):  # infinity from infinity
        away = np.nan_to_num(np.abs(a - b), nan=np.inf)
    return f"differs from {against} by up to {float(away.max()):.3g}"
