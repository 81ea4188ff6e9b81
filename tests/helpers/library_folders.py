"""Folders as libraries write them, but for what the weights are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

BERT = {"vocab_size": 100, "hidden_size": 32, "id2label": {"0": "a", "1": "b", "2": "c"}}
PICTURE = {"image_size": 32, "num_channels": 3, "hidden_size": 32}


def pretrained(folder: Path, config: dict[str, Any], *more: str) -> Path:
    """Write a folder as save_pretrained does, but for what the weights are."""
    for name in ("model.safetensors", *more):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    (folder / "config.json").write_text(json.dumps(config))
    return folder
