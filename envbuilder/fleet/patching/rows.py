"""What became of each recipe of a fleet that is patched: a row of a table."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from envbuilder.errors import EnvbuilderError

State = Literal["affected", "patched", "still affected", "rolled back", "refused", "not searched"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchedRecipe:
    """What became of one recipe."""

    recipe: str
    """Its name; of one that is not in ``recipes/``, as a model's own, the path of its file. Of an environment or an
    image without a recipe, that model's or image's."""
    state: State
    """``still affected``: what could be patched was, and *error* says what still holds it. ``not searched``: nothing
    was found, but *notes* say where it was not looked for."""
    found: tuple[str, ...] = ()
    """What it holds: ``beta 1.0``, ``zlib 1.2.11 in pillow``."""
    changes: tuple[str, ...] = ()
    """What moved in the lock: ``beta 1.0 -> 1.1``."""
    before: Path | None = None
    archive: Path | None = None
    """The new archive."""
    aliases: tuple[str, ...] = ()
    """Aliases that point to an archive that holds it; once patched, those that were moved."""
    models: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    """Images of an archive that holds it."""
    notes: tuple[str, ...] = ()
    """What else is to be known: where it was not looked for, and why."""
    markdown: str = ""
    """What changed, for a pull request."""
    error: EnvbuilderError | None = None
    path: Path = field(default_factory=Path)
    """The file of the recipe: two models' own recipes have one name."""

    def cells(self) -> tuple[str, ...]:
        """Return it as a row of a table."""
        what = list(self.changes)
        if self.error is not None:
            said = " ".join(self.error.message.split())
            what.append(f"{said} ({self.error.hint})" if self.error.hint else said)
        archive = (self.archive or self.before or Path("-")).name
        return (
            self.recipe,
            self.state,
            ", ".join(self.found),
            "; ".join([*what, *self.notes]),
            archive,
            ", ".join(self.aliases),
            ", ".join(self.models),
            ", ".join(self.images),
        )


def label(path: Path) -> str:
    """Return what to call the recipe in the file *path*: its name, or the path of one that is not in ``recipes/``."""
    here = Path.cwd()
    if path.parent.resolve() == (here / "recipes").resolve():
        return path.stem
    return relative(path)


def relative(path: Path) -> str:
    """Return *path* as seen from here, where it is below."""
    whole = Path(os.path.abspath(path))
    return str(whole.relative_to(Path.cwd())) if whole.is_relative_to(Path.cwd()) else str(whole)
