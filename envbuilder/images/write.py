"""``envbuilder image``: write archives to an OCI image layout."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from envbuilder.archive.called import ARCHIVE as ARCHIVE_NAME
from envbuilder.archive.plan import About, Part, Plan, about, find_plan, find_plan_of, keep_plan
from envbuilder.archive.tar import END_OF_ARCHIVE, MTIME, gzip_member
from envbuilder.errors import AssembleError, IntegrityError, RecipeError
from envbuilder.images.annotations import ARCHIVE, OURS, SEGMENTS, TAIL, TOC_DIGEST, UNCOMPRESSED
from envbuilder.images.layers import MOST_LAYERS, Layer, LayerMaker, group_parts
from envbuilder.images.layout import MARK, Layout, write_tar
from envbuilder.images.local import note_layer
from envbuilder.images.target import check_target, extending
from envbuilder.registry.documents import (
    CONFIG,
    INDEX,
    MANIFEST,
    Descriptor,
    Index,
    Platform,
    canonical,
    describe,
)
from envbuilder.registry.documents import Manifest as ImageManifest
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.util.files import FULL, open_regular
from envbuilder.util.interruption import shielded
from envbuilder.util.tempdirs import draft_folder, output_folder

_DEPTH: Final = 4
"""Most layers that are made at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageReport:
    """A written image."""

    path: Path
    """The layout: a folder, or its tar."""
    name: str
    """The image's name in the layout."""
    digest: str
    """Digest of its manifest, or of the index for several platforms: ``sha256:…``"""
    platforms: tuple[str, ...]
    archives: tuple[str, ...]
    """sha256 of each of its archives."""
    layers: int
    """The number of layers for all platforms."""
    size: int
    """Size of its layers in bytes."""
    written: int
    """How many bytes of layers were not in the layout before."""
    hashed: int
    """How many bytes of layers had unknown digests."""


def write_image(
    archives: Sequence[Path],
    out: Path,
    session: Session,
    *,
    name: str | None = None,
    estargz: bool = False,
    elsewhere: str = "--output names another place",
) -> ImageReport:
    """Write the image of an archive, or of one archive for each platform, into the layout *out*.

    *out* is a folder, which is extended if it is a layout, or a file ``….oci.tar``, which is replaced.
    *name* is the image's name there; default: its recipe. With *estargz* each layer has a table of contents:
    :mod:`envbuilder.images.estargz`. *elsewhere* is the hint if *out* cannot be
    written.

    Raises:
        DeployError, IntegrityError: a file is not an archive, or does not match its name.
        RecipeError: *out* is not a layout, or two archives are for one platform.
        AssembleError: it cannot be written.
    """
    check_target(out)
    try:
        report = None if (out / MARK).is_file() else _write_new(archives, out, session, name, estargz)
        if report is not None:
            return report
        with extending(out, session.reporter) as layout:
            return _write(archives, layout, out, session, name, estargz)
    except OSError as error:
        raise AssembleError(
            f"the image {out} cannot be written: {error.strerror or error}",
            hint=f"{elsewhere}, with room for a second copy of the archive"
            if error.errno in FULL
            else elsewhere,
        ) from error


def _write_new(
    archives: Sequence[Path], out: Path, session: Session, name: str | None, estargz: bool
) -> ImageReport | None:
    """Write a new layout, or replace the tar of one; None: another process wrote a layout there meanwhile."""
    with output_folder(out.parent), draft_folder(out.parent, out.name) as folder:
        draft = folder / "draft"
        report = _write(archives, Layout(draft), out, session, name, estargz)
        if out.name.endswith(".tar"):
            write_tar(Layout(draft), folder / "tar")
            draft = folder / "tar"
        try:
            with shielded():
                draft.replace(out)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not (out / MARK).is_file():
                raise
            return None
        return report


def _write(
    archives: Sequence[Path],
    layout: Layout,
    out: Path,
    session: Session,
    name: str | None,
    estargz: bool,
) -> ImageReport:
    layout.begin()
    made = [_write_one(archive, layout, session, estargz) for archive in archives]
    described = {str(one.platform): one.descriptor for one in made}
    if len(described) != len(made):
        platforms = [str(one.platform) for one in made]
        twice = next(one for one in platforms if platforms.count(one) > 1)
        raise RecipeError(
            f"two of the archives are for {twice}: an index has one image for each platform",
            hint="write an image of each, or give archives of different platforms",
        )
    name = name or made[0].recipe
    top = made[0].descriptor
    if len(made) > 1:
        index = Index(
            manifests=tuple(one.descriptor for one in sorted(made, key=lambda one: str(one.platform)))
        )
        top = layout.put(index.text(), describe(index.text(), INDEX))
    with shielded():
        layout.name(top, name)
    return ImageReport(
        path=out,
        name=name,
        digest=top.digest,
        platforms=tuple(described),
        archives=tuple(one.archive for one in made),
        layers=sum(one.layers for one in made),
        size=sum(one.size for one in made),
        written=sum(one.written for one in made),
        hashed=sum(one.hashed for one in made),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Made:
    descriptor: Descriptor
    platform: Platform
    recipe: str
    archive: str
    layers: int
    size: int
    written: int
    hashed: int


def _write_one(archive: Path, layout: Layout, session: Session, estargz: bool) -> _Made:
    store, reporter = session.store, session.reporter
    reporter.step(f"Writing the image of {archive.name}")
    plan = _plan(archive, store)
    parts, plain = plan.parts, plan.about.uncompressed
    if plain and estargz:
        raise RecipeError(
            f"{archive.name} is not compressed, as eStargz layers are", hint="pack: {uncompressed: false}"
        )
    groups = group_parts(parts)
    assert len(groups) <= MOST_LAYERS
    end = parts[-1].offset + parts[-1].size
    with ExitStack() as stack:
        file = stack.enter_context(open_regular(archive))
        tail = os.pread(file.fileno(), 2 * len(END_OF_ARCHIVE), end)
        if end + len(tail) != os.fstat(file.fileno()).st_size or tail != _tail(plan.about):
            raise IntegrityError(f"{archive} does not end where its parts do", hint="build the archive again")
        maker = LayerMaker(file, plan.archive, plain=plain, store=store, estargz=estargz)
        total = sum(part.size for part in parts)
        task = stack.enter_context(reporter.task("Packing layers", total))

        def one(number: int) -> tuple[Layer, int, int]:
            group = groups[number]
            size = sum(part.size for part in group.parts)
            known = maker.known(group)
            if known is not None and layout.holds(_descriptor(known)):
                task.advance(size, from_store=True)
                return known, 0, 0
            with draft_folder(layout.folder, f"layer-{number}") as folder:
                if known is not None:
                    maker.copy(group, known.facts, folder / "blob")
                    layer = known
                else:
                    layer = maker.make(group, folder / "blob")
                # Before it is in the layout: existing blobs are not checked again.
                ranges = [(part.offset, part.size) for part in group.parts]
                note_layer(store, layer.facts.sha256, plan.archive, ranges)
                layout.take(folder / "blob", layer.facts.sha256)
            task.advance(size)
            return layer, layer.facts.size, 0 if known is not None else layer.facts.size

        with ThreadPoolExecutor(min(_DEPTH, os.cpu_count() or 1)) as pool:
            made = list(pool.map(one, sorted(range(len(groups)), key=lambda n: -_size(groups[n].parts))))
        layers = [layer for layer, _, _ in made]
        layers.sort(key=lambda layer: [group.name for group in groups].index(layer.name))
    platform = Platform(os="linux", architecture=plan.about.architecture)
    config = canonical(_config(plan, platform, layers))
    text = ImageManifest(
        config=layout.put(config, describe(config, CONFIG)),
        layers=tuple(_descriptor(layer, _layer_annotations(layer, parts)) for layer in layers),
        annotations={**_annotations(plan), TAIL: tail.hex() if not plain else ""},
    ).text()
    return _Made(
        descriptor=layout.put(text, describe(text, MANIFEST, platform=platform)),
        platform=platform,
        recipe=plan.about.recipe,
        archive=plan.archive,
        layers=len(layers),
        size=sum(layer.facts.size for layer in layers),
        written=sum(written for _, written, _ in made),
        hashed=sum(hashed for _, _, hashed in made),
    )


def _size(parts: Sequence[Part]) -> int:
    return sum(part.size for part in parts)


def _plan(archive: Path, store: Store) -> Plan:
    """Return the parts of an archive.

    Those of an archive that this machine built or read before are recorded by its name; its bytes are verified when
    they are copied.
    """
    named = ARCHIVE_NAME.fullmatch(archive.name)
    plan = find_plan_of(store, named["digest"]) if named is not None and archive.is_file() else None
    if plan is not None:
        return plan
    from envbuilder.archive.names import open_archive
    from envbuilder.images.split import split_archive

    read = open_archive(archive)
    plan = find_plan(store, read.sha256)
    if plan is None:
        parts = split_archive(archive, read.manifest)
        plan = Plan(archive=read.sha256, about=about(read.manifest), parts=parts)
        keep_plan(store, plan)
    return plan


def _tail(about: About) -> bytes:
    """Return the last bytes of an archive of this tool."""
    return END_OF_ARCHIVE if about.uncompressed else gzip_member(END_OF_ARCHIVE, about.level)


def _descriptor(layer: Layer, annotations: dict[str, str] | None = None) -> Descriptor:
    return Descriptor(
        media_type=layer.media_type,
        digest=f"sha256:{layer.facts.sha256}",
        size=layer.facts.size,
        annotations=annotations or {},
    )


def _layer_annotations(layer: Layer, parts: Sequence[Part]) -> dict[str, str]:
    found = {SEGMENTS: _segments(layer, parts)}
    if layer.facts.toc:
        found |= {TOC_DIGEST: layer.facts.toc, UNCOMPRESSED: str(layer.facts.unpacked)}
    return found


def _segments(layer: Layer, parts: Sequence[Part]) -> str:
    """Describe the parts of the archive in a layer: number in the archive, label, offset in the layer, size."""
    rows, offset = [], layer.head
    for part in layer.parts:
        rows.append([parts.index(part), part.label, offset, part.size])
        offset += part.size
    return json.dumps(rows, separators=(",", ":"))


def _created() -> str:
    """Return the creation time of an image, which is that of all files of archives, because a lock has no date.
    ``SOURCE_DATE_EPOCH`` (reproducible-builds.org) overrides it.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    try:
        seconds = int(given) if given else MTIME
        return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError) as error:
        raise RecipeError(f"SOURCE_DATE_EPOCH: {given!r} is not a number of seconds since 1970") from error


def _annotations(plan: Plan) -> dict[str, str]:
    it = plan.about
    return {
        "org.opencontainers.image.created": _created(),
        "org.opencontainers.image.title": it.recipe,
        "org.opencontainers.image.version": plan.archive[:12],
        "org.opencontainers.image.revision": it.lock_digest,
        "org.opencontainers.image.description": f"Python {it.python} with torch {it.torch} for Triton {it.release}: "
        "mount it and name the mount in EXECUTION_ENV_PATH",
        ARCHIVE: plan.archive,
        f"{OURS}recipe": it.recipe,
        f"{OURS}recipe-digest": it.recipe_digest,
        f"{OURS}lock-digest": it.lock_digest,
        f"{OURS}triton": it.release,
        f"{OURS}torch": it.torch,
        f"{OURS}cuda": it.cuda,
        f"{OURS}python": it.python,
    }


def _config(plan: Plan, platform: Platform, layers: Sequence[Layer]) -> dict[str, object]:
    created = _created()
    return {
        "created": created,
        "architecture": platform.architecture,
        "os": platform.os,
        "config": {"Labels": _annotations(plan)},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.facts.diff_id}" for layer in layers]},
        "history": [
            {"created": created, "created_by": "envbuilder image", "comment": layer.name} for layer in layers
        ],
    }


def default_layout(archive: Path) -> Path:
    """Return the default path of the image of *archive*: ``NAME-DIGEST.oci`` beside it."""
    return archive.with_name(archive.name.removesuffix(".gz").removesuffix(".tar") + ".oci")
