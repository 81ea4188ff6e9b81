"""The statement of an archive: in-toto v1, with SLSA's provenance v1 as its predicate."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from envbuilder.errors import IntegrityError
from envbuilder.inventory.components import Inventory
from envbuilder.util.documents import LISTING, DocumentError, parse_json
from envbuilder.util.files import read_regular
from envbuilder.util.printable import printable
from envbuilder.util.version import VERSION

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "urn:envbuilder:build:v1"
BUILDER: Final = "urn:envbuilder:builder"
"""The default builder.id: this tool, on an unidentified machine."""


def make_statement(
    inventory: Inventory, *, report: Path | None = None, builder: str | None = None
) -> dict[str, Any]:
    """Return the statement about an archive: recipe, lock and artifacts with digests, tools, verification report.

    *report* is the JSON of ``envbuilder verify --report``; *builder* is the builder's URI.

    Raises:
        IntegrityError: the report cannot be read, or is about another archive.
    """
    manifest = inventory.manifest
    artifacts = [
        {
            "name": component.filename or component.name,
            "uri": component.purl,
            "digest": {"sha256": component.sha256},
        }
        for component in inventory.components
        if component.kind in ("wheel", "conda")
    ]
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": inventory.archive, "digest": {"sha256": inventory.sha256}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "recipe": {"name": manifest.recipe, "digest": {"envbuilder": manifest.recipe_digest}},
                    "lock": {
                        "name": f"pylock.{manifest.recipe}.toml",
                        "digest": {"sha256": manifest.lock_digest},
                    },
                    "triton": manifest.release,
                    "torch": manifest.torch,
                    "cuda": manifest.cuda,
                    "pack": dict(manifest.pack),
                },
                "internalParameters": {"interpreter": manifest.interpreter.origin},
                "resolvedDependencies": [
                    *artifacts,
                    {
                        "name": "cpython",
                        "uri": f"pkg:generic/cpython@{manifest.interpreter.version}",
                        # A digest over its files, as in locks, not the sha256 of one file.
                        "digest": {"envbuilder": manifest.interpreter.digest},
                    },
                ],
            },
            "runDetails": {
                "builder": {"id": builder or BUILDER, "version": dict(manifest.tools)},
                "metadata": {"invocationId": inventory.sha256},
                "byproducts": [
                    {
                        "name": "manifest",
                        "digest": {
                            "sha256": hashlib.sha256(
                                manifest.text().encode("utf-8", "surrogateescape")
                            ).hexdigest()
                        },
                    },
                    *([] if report is None else [_report(report, inventory)]),
                ],
            },
        },
    }


def statement_text(statement: Mapping[str, Any]) -> str:
    """Return a statement as the JSON that is signed; deterministic. Names that are no UTF-8 are escaped."""
    return printable(json.dumps(statement, indent=1, sort_keys=True, ensure_ascii=False)) + "\n"


def _report(path: Path, inventory: Inventory) -> dict[str, Any]:
    try:
        content = read_regular(path, most=LISTING.size + 1)
        found = parse_json(content, where=str(path), cap=LISTING)
        of, passed, checks = found.digest("sha256"), found.boolean("passed"), found.records("checks")
        failed = sorted({one.text("id") for one in checks if one.text("status") == "failed"})
        releases = list(found.texts("releases")) if "releases" in found else []
    except OSError as error:
        raise IntegrityError(f"the report {path} cannot be read: {error.strerror}") from error
    except DocumentError as error:
        what = f"{error.path}: {error.reason}" if error.path else error.reason
        raise IntegrityError(
            f"{path} is not a verification report: {what}",
            hint="`envbuilder verify --report FILE` writes one",
        ) from error
    if of != inventory.sha256:
        raise IntegrityError(
            f"the report {path} is about another archive: sha256 {of}, not {inventory.sha256}",
            hint=f"envbuilder verify {inventory.archive} --report {path.name}",
        )
    return {
        "name": "verification report",
        "mediaType": "application/json",
        "digest": {"sha256": hashlib.sha256(content).hexdigest()},
        "annotations": {
            "passed": passed,
            "checks": len(checks),
            "failed": failed,
            "releases": releases,
            "envbuilder": VERSION,
        },
    }
