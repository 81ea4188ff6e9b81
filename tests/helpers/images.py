"""Images in tests: what a tree holds, and what the tools of others make of a layout."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from envbuilder.images.layout import Layout
from envbuilder.images.read import Image, read_image
from envbuilder.registry.documents import (
    CONFIG,
    LAYER_GZIP,
    MANIFEST,
    REF_NAME,
    Descriptor,
    Manifest,
    canonical,
    describe,
)
from tests.helpers import tars

Tree = dict[str, tuple[str, int, str]]


def tree_of(folder: Path) -> Tree:
    """Each file, link and folder below *folder*: its kind, its mode, and sha256 or target."""
    found: Tree = {}
    for path in sorted(folder.rglob("*")):
        name, mode = path.relative_to(folder).as_posix(), path.lstat().st_mode & 0o7777
        if path.is_symlink():
            found[name] = ("link", 0, os.readlink(path))
        elif path.is_dir():
            found[name] = ("folder", mode, "")
        else:
            found[name] = ("file", mode, hashlib.sha256(path.read_bytes()).hexdigest())
    return found


def extracted(archive: Path, into: Path) -> Tree:
    """What tar makes of an archive, in a process with the umask that servers have."""
    into.mkdir(parents=True)
    subprocess.run(["tar", "-xf", archive, "-C", into, "--no-same-owner", "-p"], check=True, umask=0o022)
    return tree_of(into)


def umoci(layout: Path, name: str, into: Path, *, rootless: bool = False) -> Tree:
    """What umoci unpacks of an image; *rootless*: as another user, where this one is root."""
    command = ["umoci", "unpack", "--image", f"{layout}:{name}", str(into)]
    if not rootless:
        done = subprocess.run(command, capture_output=True, text=True, umask=0o022, check=False)
        assert done.returncode == 0, done.stderr
        return tree_of(into / "rootfs")
    with tempfile.TemporaryDirectory() as place:  # a test's own folder can be entered by its user only
        become: list[str] = []
        if os.geteuid() == 0:
            become = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
            os.chown(place, 65534, 65534)
        shutil.copytree(layout, f"{place}/image")
        command = [
            *become,
            *("umoci", "unpack", "--rootless", "--image", f"{place}/image:{name}", f"{place}/bundle"),
        ]
        env = {**os.environ, "HOME": place}
        done = subprocess.run(command, capture_output=True, text=True, umask=0o022, check=False, env=env)
        assert done.returncode == 0, done.stderr
        assert os.geteuid() != 0 or Path(f"{place}/bundle/rootfs").stat().st_uid == 65534
        shutil.copytree(f"{place}/bundle", into, symlinks=True)
    return tree_of(into / "rootfs")


def buildah(layout: Path, name: str, into: Path) -> Tree:
    """What buildah pulls and mounts of an image."""
    places = ["--storage-driver", "vfs", "--root", str(into / "root"), "--runroot", str(into / "run")]

    def call(*arguments: str) -> str:
        done = subprocess.run(["buildah", *places, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    call("from", "--name", "one", f"oci:{layout}:{name}")
    try:
        return tree_of(Path(call("mount", "one").strip()))
    finally:
        call("umount", "one")
        call("rm", "one")
        call("rmi", "--all")


@contextmanager
def mounted(tree: Path, folder: Path) -> Iterator[Path]:
    """Mount *tree* read-only, as an EROFS image, which is how nodes keep images that are not unpacked."""
    image, place = folder / "image.erofs", folder / "mount"
    place.mkdir()
    subprocess.run(["mkfs.erofs", "--quiet", "-zlz4", str(image), str(tree)], check=True, capture_output=True)
    subprocess.run(["mount", "-t", "erofs", "-o", "ro,loop", str(image), str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def skopeo(*arguments: object) -> str:
    """Run skopeo."""
    done = subprocess.run(
        ["skopeo", "--insecure-policy", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def inspected(layout: Path, name: str) -> dict[str, Any]:
    """The manifest of an image, as skopeo says it."""
    found: dict[str, Any] = json.loads(skopeo("inspect", "--raw", f"oci:{layout}:{name}"))
    return found


def read(layout: Path) -> tuple[Layout, Image]:
    """The only image in a layout."""
    opened = Layout(layout)
    (top,) = opened.index().manifests
    return opened, read_image(opened, top)


def missing_blobs(layout: Path) -> list[str]:
    """The sha256 of what the index of a layout leads to and that is not there, or is another one."""
    opened = Layout(layout)
    return [
        one
        for one in sorted(opened.used())
        if not opened.blob(one).is_file() or hashlib.sha256(opened.blob(one).read_bytes()).hexdigest() != one
    ]


def write_named(folder: Path, layers: Iterable[bytes], name: str) -> Descriptor:
    """The same, called *name*."""
    top = write_layers(folder, layers)
    index = folder / "index.json"
    index.write_text(index.read_text().replace(f'{REF_NAME}":"image"', f'{REF_NAME}":"{name}"'))
    return top


def write_layers(
    folder: Path,
    layers: Iterable[bytes],
    *,
    diff_ids: Iterable[str] | None = None,
    annotations: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
    media_type: str = LAYER_GZIP,
    packed: bool = False,
) -> Descriptor:
    """Write an image of these tars into the layout *folder*, whatever they hold; *packed*: they are compressed."""
    layout = Layout(folder)
    layout.begin()
    tars_ = list(layers)
    blobs = tars_ if packed else [tars.zipped(one) for one in tars_]
    described = [layout.put(one, describe(one, media_type)) for one in blobs]
    ids = (
        list(diff_ids)
        if diff_ids is not None
        else [f"sha256:{hashlib.sha256(one).hexdigest()}" for one in tars_]
    )
    body = canonical(
        {
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": ids},
            **(config or {}),
        }
    )
    manifest = Manifest(
        config=layout.put(body, describe(body, CONFIG)),
        layers=tuple(described),
        annotations=annotations or {},
    ).text()
    top = layout.put(manifest, describe(manifest, MANIFEST))
    layout.name(top, "image")
    return top
