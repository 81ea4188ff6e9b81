"""Which image of a layout is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.errors import IntegrityError
from envbuilder.images.layout import Layout
from envbuilder.images.named import only_image, split_name
from tests.helpers import tars
from tests.helpers.images import write_named

END = bytes(1024)


def two(folder: Path) -> Layout:
    write_named(folder, [tars.file("a", b"1") + END], "one")
    write_named(folder, [tars.file("a", b"2") + END], "two:b")
    return Layout(folder)


def test_a_path_and_a_name(tmp_path: Path) -> None:
    two(tmp_path / "a:b.oci")
    there = tmp_path / "a:b.oci"
    assert split_name(str(there)) == (there, None)
    assert split_name(f"{there}:one") == (there, "one")
    assert split_name(f"{there}:two:b") == (there, "two:b")
    assert split_name(f"{tmp_path}/new.oci.tar:v1") == (tmp_path / "new.oci.tar", "v1")
    for other in (
        "resnet:stable",
        "resnet",
        "",
        ":x",
        "oci://host/x.oci.tar:v1",
        f"{tmp_path}/x-0123.tar.gz",
    ):
        assert split_name(other) is None


def test_one_of_several(tmp_path: Path) -> None:
    layout = two(tmp_path / "image")
    index = layout.index()
    digests = {one.annotations["org.opencontainers.image.ref.name"]: one.digest for one in index.manifests}
    assert only_image(index, "one", "x").digest == digests["one"]
    assert only_image(index, "two:b", "x").digest == digests["two:b"]
    assert only_image(index, digests["one"], "x").digest == digests["one"]
    assert only_image(index, digests["one"][:19], "x").digest == digests["one"], "as errors show it"
    with pytest.raises(IntegrityError, match="x has no image three") as raised:
        only_image(index, "three", "x")
    assert "it has one, two:b" in str(raised.value)
    with pytest.raises(IntegrityError, match="x has 2 images") as raised:
        only_image(index, None, "x")
    assert "name one, x:NAME: one, two:b" in str(raised.value)
