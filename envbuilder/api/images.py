"""Images of environments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from envbuilder.archive.called import ENVS
from envbuilder.recipe.model import Recipe
from envbuilder.store.session import Session
from envbuilder.util.files import StrPath

if TYPE_CHECKING:
    from envbuilder.images.write import ImageReport


def image(
    what: Recipe | StrPath | Sequence[Recipe | StrPath],
    *,
    output: StrPath | None = None,
    name: str | None = None,
    estargz: bool = False,
    archives: StrPath = ENVS,
    session: Session | None = None,
) -> ImageReport:
    """Write the OCI image of an archive, or of a recipe, which is first built into the folder *archives* if needed.

    See :func:`envbuilder.images.write.write_image`; several archives make a multi-platform image. *output* is the
    layout, a folder or a file ``….oci.tar``; default: ``NAME-DIGEST.oci`` next to the archive.

    Raises:
        StaleLockError: the lock is stale.
        DeployError, IntegrityError: a file is not an archive, or does not match its name.
        RecipeError: *output* exists and is not a layout, or two archives are for the same platform.
        AssembleError: the image cannot be written.
    """
    from envbuilder.api.archives import build
    from envbuilder.images.write import default_layout, write_image

    session = session or Session.open()
    several = [what] if isinstance(what, (Recipe, str)) or not isinstance(what, Sequence) else what
    paths = [
        build(one, output=archives, session=session).archive if isinstance(one, Recipe) else Path(one)
        for one in several
    ]
    out = default_layout(paths[0]) if output is None else Path(output)
    return write_image(paths, out, session, name=name, estargz=estargz)
