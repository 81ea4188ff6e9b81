from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from envbuilder import api
from envbuilder.images.layout import Layout
from envbuilder.images.write import ImageReport
from tests.cli.conftest import call
from tests.helpers import tars
from tests.helpers.images import write_named
from tests.helpers.registries import faulty_registry


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


def test_one_of_several_images_is_pushed_and_verified_by_its_name() -> None:
    for name in ("one", "two"):
        write_named(Path("two.oci"), [tars.file("a", name.encode()) + bytes(1024)], name)
    with faulty_registry() as registry:
        refused = call("push", "two.oci", f"oci://{registry.host}/a:v1")
        assert "two.oci has 2 images\n  hint: name one, two.oci:NAME: one, two" in refused.stderr
        assert registry.manifests == {}
        done = call("push", "-q", "two.oci:two", f"oci://{registry.host}/a:v1")
        assert done.exit_code == 0, done.stderr
        (top,) = (
            one for one in Layout(Path("two.oci")).index().manifests if "two" in one.annotations.values()
        )
        assert top.digest in registry.manifests
    assert "two.oci has 2 images" in call("verify", "two.oci").stderr
    assert "the image is not an environment" in call("verify", "two.oci:one").stderr
    assert "has no image three\n  hint: it has one, two" in call("verify", "two.oci:three").stderr
    assert call("verify", "gone.oci:three").exit_code == 2
