"""What was asked for, to compare what comes from a remote store with: whatever is signed there, it must be that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from envbuilder.archive.manifest import Manifest
from envbuilder.assemble.packing import pack_options
from envbuilder.errors import IntegrityError
from envbuilder.lockfile.digest import lock_digest
from envbuilder.lockfile.model import Lock
from envbuilder.recipe.model import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What an archive must be; what is None may be anything."""

    recipe: str | None = None
    """The name of its recipe."""
    lock_digest: str | None = None
    recipe_digest: str | None = None
    release: str | None = None
    pack: Mapping[str, Any] | None = None
    """The options of packing."""
    interpreter: str | None = None
    """Digest of its interpreter."""

    def check(self, manifest: Manifest, where: str) -> None:
        """Compare with the manifest that came; *where* names the store's object in errors.

        Raises:
            IntegrityError: it is of something else.
        """
        compared = (
            ("recipe", self.recipe, manifest.recipe),
            ("release", self.release, manifest.release),
            ("lock", self.lock_digest, manifest.lock_digest),
            ("recipe digest", self.recipe_digest, manifest.recipe_digest),
            ("interpreter", self.interpreter, manifest.interpreter.digest),
        )
        for what, wanted, found in compared:
            if wanted is not None and wanted != found:
                short = slice(12 if what not in ("recipe", "release") else None)
                raise _another(where, f"{what} {found[short]}, not {wanted[short]}")
        if self.pack is not None and dict(self.pack) != dict(manifest.pack):
            raise _another(where, "other options of packing")


ANYTHING: Final = Wanted()


def wanted_of(recipe: Recipe, lock: Lock) -> Wanted:
    """Return what the archive of a recipe's lock must be, whichever interpreter it was built with."""
    return Wanted(
        recipe=recipe.name,
        lock_digest=lock_digest(lock),
        recipe_digest=lock.recipe_digest,
        release=lock.release,
        pack=pack_options(recipe),
    )


def _another(where: str, found: str) -> IntegrityError:
    return IntegrityError(
        f"{where} is not what was asked for: {found}",
        hint="it was signed under a wrong name: push the archive that was asked for again",
    )
