from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from envbuilder import api
from envbuilder.images.write import ImageReport
from tests.cli.conftest import call


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the API was asked for."""
    found: dict[str, Any] = {}

    def image(what: Any, **options: Any) -> ImageReport:
        found.update(options, what=what)
        return ImageReport(
            path=Path("a.oci"),
            name="small",
            digest=f"sha256:{'a' * 64}",
            platforms=("linux/amd64",),
            layers=2,
            archives=("b" * 64,),
            hashed=0,
            size=1000,
            written=10,
        )

    monkeypatch.setattr(api, "image", image)
    Path("a-0123456789ab.tar.gz").touch()
    return found


def test_what_was_written(asked: dict[str, Any]) -> None:
    done = call("image", "-q", "a-0123456789ab.tar.gz", "--name", "small", "--estargz", "-o", "a.oci")
    assert done.stdout.splitlines() == [
        "a.oci: small, linux/amd64",
        "  2 layers, 1.0 kB, 10 B written",
        f"  sha256:{'a' * 64}",
    ]
    assert (asked["name"], asked["estargz"], asked["output"]) == ("small", True, Path("a.oci"))
    assert [Path(one).name for one in asked["what"]] == ["a-0123456789ab.tar.gz"]
    assert done.stderr == ""
    told = call("image", "a-0123456789ab.tar.gz").stderr
    assert told.splitlines()[-1] == "next: envbuilder push a.oci oci://HOST/REPOSITORY:TAG"


def test_as_json(asked: dict[str, Any]) -> None:
    assert json.loads(call("image", "a-0123456789ab.tar.gz", "--json").stdout)["layers"] == 2
    assert asked["output"] is None


def test_a_recipe_that_is_not_there(asked: dict[str, Any]) -> None:
    assert (call("image", "gone").exit_code, asked) == (2, {})
