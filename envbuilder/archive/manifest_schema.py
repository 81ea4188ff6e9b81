"""The JSON schema of a manifest, for other tools: what :func:`envbuilder.archive.manifest.parse_manifest` accepts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envbuilder.archive.manifest import FORMAT


def manifest_schema() -> dict[str, Any]:
    """Return the JSON schema of a manifest."""
    text, number = {"type": "string"}, {"type": "integer", "minimum": 0}
    digest = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
    maybe = {"type": ["string", "null"]}

    def record(required: Mapping[str, Any], optional: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {**required, **(optional or {})},
            "required": sorted(required),
            "additionalProperties": False,
        }

    package = record({"name": text, "version": text, "filename": text, "sha256": digest, "size": number})
    conda = record({**package["properties"], **dict.fromkeys(("build", "channel", "subdir"), text)})
    file = record({"path": text, "mode": number, "size": number, "sha256": digest}, {"link": text})
    exclusion = record({"pattern": text, "files": number, "size": number})
    kept = record({"path": text, "imported_by": text})
    interpreter = record({"version": text, "origin": text, "digest": digest, "locked_digest": digest})
    schema = record(
        {
            "format": {"const": FORMAT},
            **dict.fromkeys(("recipe", "release", "python", "torch", "cuda"), text),
            **dict.fromkeys(("recipe_digest", "lock_digest"), digest),
            "interpreter": interpreter,
            "demands": {"type": "array", "items": text},
            "packages": {"type": "array", "items": package},
            "glibc": maybe,
            "glibcxx": maybe,
            "pack": {"type": "object"},
            "excluded": {"type": "array", "items": exclusion},
            "tools": {"type": "object", "additionalProperties": text},
            "unpacked_size": number,
            "files": {"type": "array", "items": file},
        },
        {
            "kept": {"type": "array", "items": kept},
            "system_libraries": {"type": "array", "items": text},
            "conda": {"type": "array", "items": conda},
            "provides": {"type": "object", "additionalProperties": text},
        },
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "envbuilder manifest",
        **schema,
    }
