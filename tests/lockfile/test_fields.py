from __future__ import annotations

from typing import Any

import pytest

from envbuilder.lockfile.fields import lock_of
from envbuilder.lockfile.model import Lock
from envbuilder.util.documents import DocumentError, record_of

DIGEST = "ab" * 32


def wheel(name: str = "alpha", version: str = "1.0", **values: Any) -> dict[str, Any]:
    file = {"name": f"{name}-{version}-py3-none-any.whl", "hashes": {"sha256": DIGEST}, "size": 1}
    return {"name": name, "version": version, "wheels": [{**file, **values}]}


def parsed(*packages: dict[str, Any], **values: Any) -> Lock:
    tool = {
        "recipe": "small",
        "recipe-digest": DIGEST,
        "release": "25.06",
        "python": "3.12",
        "torch": "2.13.0+cpu",
        "cuda": "cpu",
        "demands": ["numpy<2"],
        "interpreter": {"version": "3.12.1", "origin": "host", "digest": DIGEST},
        "tools": {"uv": "1"},
    }
    return lock_of(
        record_of({"packages": [*packages]}, where="lock"), record_of({**tool, **values}, where="lock")
    )


def conda(**values: Any) -> dict[str, Any]:
    row = {
        "name": "python",
        "version": "3.12.1",
        "build": "h1_0",
        "channel": "conda-forge",
        "subdir": "linux-64",
        "file-name": "python-3.12.1-h1_0.conda",
        "sha256": DIGEST,
        "size": 1,
    }
    return {"packages": [{**row, **values}], "provides": {}}


def test_a_lock() -> None:
    lock = parsed(wheel(), conda=conda())
    assert [one.name for one in lock.all_artifacts] == ["python", "alpha"]
    assert lock.interpreter.provider == "cpython"


@pytest.mark.parametrize(
    ("packages", "values", "said"),
    [
        ([wheel(name="../alpha")], {}, "a project name"),
        ([wheel(), wheel(name="Alpha")], {}, "alpha a second time"),
        ([{**wheel(), "wheels": []}], {}, "0 wheels, not one"),
        ([wheel() | {"version": "2.0"}], {}, r"the file name of a wheel of alpha 2\.0"),
        ([wheel(size=-1)], {}, "size"),
        ([wheel(hashes={"sha256": "no"})], {}, "sha256"),
        ([], {"release": "1.0"}, "a Triton release: YY.MM"),
        ([], {"conda": conda(subdir="win-64")}, "subdir"),
        ([], {"conda": conda(**{"file-name": "../a.conda"})}, "the file name of a conda package"),
    ],
)
def test_what_cannot_be(packages: list[dict[str, Any]], values: dict[str, Any], said: str) -> None:
    with pytest.raises(DocumentError, match=said):
        parsed(*packages, **values)
