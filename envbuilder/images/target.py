"""The target of an image: a layout that one process at a time extends, or a new one."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from envbuilder.errors import IntegrityError, RecipeError
from envbuilder.images.layout import MARK, Layout, open_layout
from envbuilder.progress import Reporter


def check_target(out: Path) -> None:
    """Refuse to write an image to *out* if it exists and is not a layout, or its name is misleading.

    Raises:
        RecipeError: it is refused.
    """
    if not out.name.endswith(".oci.tar") and out.name.endswith((".tar", ".tar.gz", ".tgz")):
        raise RecipeError(
            f"{out} is called like an archive", hint="--output FILE.oci.tar writes a tar of an image layout"
        )
    if not os.path.lexists(out):
        return
    if out.is_dir():
        fits = (out / MARK).is_file() or not any(out.iterdir())
    else:
        fits = out.name.endswith(".oci.tar") and _is_tar_of_layout(out)
    if not fits:
        raise RecipeError(
            f"{out} exists and is not an image layout", hint="remove it, or --output names another place"
        )


def _is_tar_of_layout(path: Path) -> bool:
    try:
        with open_layout(path) as layout:
            layout.index()
    except IntegrityError:
        return False
    return True


@contextmanager
def extending(out: Path, reporter: Reporter) -> Iterator[Layout]:
    """Yield the layout *out*, locked; if the block fails, unreferenced blobs that it wrote are removed.

    Blobs of an image in the index are kept: an interruption may come after that, too.
    """
    with _locked(out, reporter):
        layout = Layout(out)
        try:
            yield layout
        except BaseException:
            with contextlib.suppress(IntegrityError, OSError):  # if that is unknown, nothing is removed
                for sha256 in layout.made - layout.used():
                    layout.blob(sha256).unlink(missing_ok=True)
            raise


@contextmanager
def _locked(folder: Path, reporter: Reporter) -> Iterator[None]:
    """Lock a layout for this process. The lock is on the folder itself, so no file is left in it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            reporter.note(f"waiting for another process that writes to {folder}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            reporter.note(
                f"{folder} cannot be locked on this file system: write only one image at a time there"
            )
        yield
    finally:
        os.close(handle)
