"""``envbuilder verify`` of an image: unpacked as a runtime does, compared, mounted; then its archive is verified."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from envbuilder.errors import IntegrityError
from envbuilder.images.layout import Blobs, open_layout
from envbuilder.images.named import only_image, split_name
from envbuilder.images.read import Image, read_image
from envbuilder.images.repack import pack_tree
from envbuilder.images.restore import restore_archive
from envbuilder.images.unpack import compare_tree, some_of, tree_manifest, unpack
from envbuilder.registry.reference import is_reference, parse_reference
from envbuilder.store.session import Session
from envbuilder.transfer.image_documents import fetch_referrers, place_beside
from envbuilder.transfer.images import ANOTHER_STORE, machine_platform, open_remote_image
from envbuilder.util.text import counted, human
from envbuilder.verification.live.mounted import check_mounted, check_readable
from envbuilder.verification.report import Check, Report, failed, passed

_WRITTEN = "push the image that `envbuilder image` writes, as it is"


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyTarget:
    """The archive or image to verify."""

    name: str
    archive: Path
    checks: tuple[Check, ...] = ()
    """The checks of the image, if it is one."""

    @property
    def is_image(self) -> bool:
        """Whether it is an image."""
        return bool(self.checks)

    def merged(self, report: Report) -> Report:
        """Return the report of the archive as one of the image."""
        if not self.is_image:
            return report
        return replace(report, archive=self.name, checks=(*self.checks, *report.checks))


@contextmanager
def open_target(what: str, session: Session) -> Iterator[VerifyTarget]:
    """Yield the archive *what*, or for an image (``oci://…``, a layout) the archive in it, with the image's checks.

    Of a layout with several images, ``PATH:NAME`` is one.

    Raises:
        StoreError: the image cannot be downloaded.
        IntegrityError: it contains no environment, or a layer is not what its digest says.
        VerifyError: it cannot be unpacked.
    """
    local = split_name(what)
    if not is_reference(what) and local is None:
        yield VerifyTarget(name=what, archive=Path(what))
        return
    with session.store.scratch("verify-image") as scratch:
        if local is None:
            with open_remote_image(parse_reference(what), session) as (repository, image):
                about = fetch_referrers(repository, image, scratch, session.reporter)
                subject = _subject(what, repository, image, scratch, session)
                place_beside(subject.archive, about)
                yield subject
            return
        path, name = local
        with open_layout(path) as layout:
            top = only_image(layout.index(), name, layout.place)
            yield _subject(
                what, layout, read_image(layout, top, platform=machine_platform()), scratch, session
            )


def _subject(name: str, blobs: Blobs, image: Image, scratch: Path, session: Session) -> VerifyTarget:
    session.reporter.step("Unpacking the image")
    unpacked = unpack(blobs, image, scratch / "image", reporter=session.reporter)
    manifest = tree_manifest(unpacked.tree)
    size = sum(layer.size for layer in image.manifest.layers)
    checks = [
        passed(
            "image.layers",
            f"{counted(unpacked.layers, 'layer')}, {human(size)}: each is what its digest and its diff id say",
        )
    ]
    wrong = [*unpacked.problems, *compare_tree(unpacked.tree, manifest)]
    if wrong:
        checks.append(failed("image.tree", f"it is not what its manifest says: {some_of(wrong)}", _WRITTEN))
    else:
        text = f"unpacked, it is what its manifest says: {counted(len(manifest.files), 'file')}"
        checks.append(passed("image.tree", text))
    session.reporter.step("Mounting the image read-only")
    checks += [check_readable(unpacked.tree), check_mounted(unpacked.tree)]
    (scratch / "envs").mkdir()
    try:
        archive = restore_archive(blobs, image, scratch / "envs", session, elsewhere=ANOTHER_STORE).archive
        checks.append(
            passed("image.archive", f"its layers make the archive {image.archive[:12]}, byte for byte")
        )
    except IntegrityError as error:
        archive = pack_tree(unpacked.tree, scratch / "envs", manifest.recipe)
        text = f"{error.message}; what follows is of the tree that a runtime would mount"
        checks.append(failed("image.archive", text, _WRITTEN))
    return VerifyTarget(name=name, archive=archive, checks=tuple(checks))
