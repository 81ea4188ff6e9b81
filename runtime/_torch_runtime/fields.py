"""Inputs and outputs of the configuration."""

from __future__ import annotations

from typing import Any, NamedTuple

TORCH_DTYPES = {f"{kind.upper()}{n}": f"{kind}{n}" for kind in ("int", "uint") for n in (8, 16, 32, 64)}
TORCH_DTYPES.update(BOOL="bool", FP16="float16", FP32="float32", FP64="float64", BF16="bfloat16")
"""Names of torch's dtypes by Triton's names. STRING has none."""
FLOATS = ("FP16", "FP32", "FP64", "BF16")


class Field(NamedTuple):
    """One input or output of the configuration."""

    name: str
    data_type: str
    dims: tuple[int, ...]
    optional: bool


def read_fields(config: dict[str, Any], key: str) -> list[Field]:
    """Return the inputs or outputs (*key*) of *config*, with the dims that the model itself sees."""
    fields = []
    for entry in config.get(key) or []:
        dims = (entry.get("reshape") or {}).get("shape", entry["dims"])
        data_type = entry["data_type"][len("TYPE_") :]
        optional = bool(entry.get("optional", False))
        fields.append(Field(entry["name"], data_type, tuple(int(size) for size in dims), optional))
    return fields
