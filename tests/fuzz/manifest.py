"""Fuzz the reader of manifests: ``python -m tests.fuzz.manifest --seconds 60``.

Any bytes are either refused with an IntegrityError, or are a manifest that is written and read again as the same. See
:mod:`tests.fuzz.common`.
"""

from __future__ import annotations

from tests.fuzz.common import fuzz, instrumented

with instrumented(include=["envbuilder.archive.manifest", "envbuilder.util.strict_json"]):
    from envbuilder.archive.manifest import parse_manifest
from envbuilder.errors import IntegrityError
from tests.deployment.conftest import make_manifest
from tests.hostile.test_manifest import ROWS, changed


def read_manifest(data: bytes) -> None:
    """Read *data*, and what comes of it again."""
    try:
        manifest = parse_manifest(data, where="fuzzed")
    except IntegrityError:
        return
    assert parse_manifest(manifest.text(), where="written") == manifest


SEEDS = [make_manifest().text().encode(), *(changed(row) for row in ROWS[::10])]

if __name__ == "__main__":
    fuzz(read_manifest, SEEDS, __doc__.splitlines()[0])
