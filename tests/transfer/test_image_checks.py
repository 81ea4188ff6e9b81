"""Images that are verified: unpacked as a runtime does, compared with their manifest, mounted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envbuilder.errors import IntegrityError
from envbuilder.images.layout import Layout
from envbuilder.images.write import write_image
from envbuilder.registry.documents import CONFIG, LAYER_GZIP, MANIFEST, REF_NAME, describe
from envbuilder.store.session import Session
from envbuilder.transfer.image_checks import open_target
from envbuilder.verification.report import passed, unread
from tests.helpers import tars
from tests.helpers.images import write_layers


def changed_image(archive: Path, out: Path, session: Session, change: Callable[[list[Any]], object]) -> None:
    """Write the image of an archive with other layers: pairs of a descriptor and a diff id."""
    write_image([archive], out, session)
    layout = Layout(out)
    (top,) = layout.index().manifests
    manifest = json.loads(layout.blob(top.sha256).read_bytes())
    config = json.loads(layout.blob(manifest["config"]["digest"][7:]).read_bytes())
    layers = list(zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True))
    change(layers)
    manifest["layers"] = [layer for layer, _ in layers]
    config["rootfs"]["diff_ids"] = [diff_id for _, diff_id in layers]
    text = json.dumps(config).encode()
    manifest["config"] = layout.put(text, describe(text, CONFIG)).json()
    text = json.dumps(manifest).encode()
    layout.name(layout.put(text, describe(text, MANIFEST)), "small")


def test_an_image_with_its_layers_in_another_order_is_the_same_tree(
    archive: Path, session: Session, tmp_path: Path
) -> None:
    changed_image(archive, tmp_path / "image.oci", session, lambda layers: layers.reverse())
    with open_target(str(tmp_path / "image.oci"), session) as subject:
        status = {check.id: check.status for check in subject.checks}
        assert subject.archive.read_bytes() == archive.read_bytes()
    assert status["image.layers"] == status["image.tree"] == status["image.archive"] == "passed"


def test_an_image_that_is_not_what_its_manifest_says(archive: Path, session: Session, tmp_path: Path) -> None:
    tar = tars.file("more", b"x") + tars.file("bin/.wh.python3") + bytes(1024)
    blob = tars.zipped(tar)

    def add(layers: list[Any]) -> None:
        layer = Layout(tmp_path / "image.oci").put(blob, describe(blob, LAYER_GZIP)).json()
        layers.append((layer, f"sha256:{hashlib.sha256(tar).hexdigest()}"))

    changed_image(archive, tmp_path / "image.oci", session, add)
    with open_target(str(tmp_path / "image.oci"), session) as subject:
        found = {check.id: check for check in subject.checks}
        assert subject.archive.name.endswith(".tar"), "the tree that a runtime would mount is verified"
    assert found["image.layers"].status == "passed"
    assert found["image.tree"].status == found["image.archive"].status == "failed"
    for said in ("has a whiteout, bin/.wh.python3", "more is not in the manifest", "bin/python3 is missing"):
        assert said in found["image.tree"].found


# -- what is verified ------------------------------------------------------------------------------


def test_an_archive_is_given_as_it_is(tmp_path: Path, session: Session) -> None:
    report = unread(Path("a.tar.gz"), [passed("archive.readable", "x")], 1.0)
    with open_target(str(tmp_path / "a.tar.gz"), session) as subject:
        assert (subject.archive, subject.checks) == (tmp_path / "a.tar.gz", ())
        assert not subject.is_image
        assert subject.merged(report) is report


def test_the_report_of_an_image_begins_with_its_own_checks(
    archive: Path, session: Session, tmp_path: Path
) -> None:
    write_image([archive], tmp_path / "image.oci", session)
    with open_target(str(tmp_path / "image.oci"), session) as subject:
        assert subject.is_image
        assert [check.id for check in subject.checks][:3] == ["image.layers", "image.tree", "image.readable"]
        report = unread(subject.archive, [passed("archive.readable", "x")], 1.0)
        merged = subject.merged(report)
        extracted = subject.archive
    assert merged.archive == str(tmp_path / "image.oci")
    assert [check.id for check in merged.checks] == [
        *(check.id for check in subject.checks),
        "archive.readable",
    ]
    assert not extracted.exists(), "what was unpacked is gone"


def test_one_of_several_images(archive: Path, session: Session, tmp_path: Path) -> None:
    layout = tmp_path / "image.oci"
    write_image([archive], layout, session)
    write_layers(layout, [tars.file("a", b"x") + bytes(1024)])
    (name,) = {one.annotations[REF_NAME] for one in Layout(layout).index().manifests} - {"image"}
    with open_target(f"{layout}:{name}", session) as subject:
        assert subject.archive.read_bytes() == archive.read_bytes()
    for what, said in ((str(layout), "has 2 images"), (f"{layout}:none", "has no image none")):
        with pytest.raises(IntegrityError, match=said), open_target(what, session):
            pass


def test_an_image_without_an_environment(session: Session, tmp_path: Path) -> None:
    write_layers(tmp_path / "image.oci", [tars.file("etc/motd", b"hello") + bytes(1024)])
    with pytest.raises(IntegrityError), open_target(str(tmp_path / "image.oci"), session):
        pass
