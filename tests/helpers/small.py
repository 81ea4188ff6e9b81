"""A small environment that is really built: two wheels, and as little of an interpreter as can be."""

from __future__ import annotations

import dataclasses
import random
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from envbuilder.base.interpreter import Interpreter, describe, find_interpreter
from envbuilder.building.build import build
from envbuilder.building.record import BuildReport
from envbuilder.config.settings import Settings
from envbuilder.lockfile.model import Lock
from envbuilder.lockfile.pylock import read_lock, write_lock
from envbuilder.progress import SILENT, Reporter
from envbuilder.recipe.model import PackOptions, Recipe
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from tests.helpers.wheels import small_lock, small_recipe, write_wheel


def little(interpreter: Interpreter) -> PackOptions:
    """Leave out of a base what takes long to assemble: nothing runs it in these tests."""
    folders = (path.name for path in interpreter.stdlib.iterdir() if path.is_dir())
    return PackOptions(
        exclude=(
            "include/**",
            "lib/libpython*",
            "lib/python3.*/*.py",
            *(f"lib/python3.*/{name}/**" for name in sorted(folders) if name != "site-packages"),
        )
    )


@dataclass(frozen=True, kw_only=True)
class Small:
    """A recipe, its lock, and the wheelhouse that it is built from."""

    folder: Path
    recipe: Recipe
    lock: Lock

    @property
    def wheelhouse(self) -> Path:
        """Where the wheels lie."""
        return self.folder / "wheels"

    @property
    def output(self) -> Path:
        """Directory for archives."""
        return self.folder / "envs"

    @property
    def settings(self) -> Settings:
        """The wheelhouse, and no index."""
        return Settings(find_links=(str(self.wheelhouse),), no_index=True)

    def store(self, name: str = "store") -> Store:
        """Open a store beside it."""
        return Store.open(self.folder / name)

    def build(
        self,
        *,
        store: Store | None = None,
        output: Path | None = None,
        threads: int | None = None,
        reporter: Reporter = SILENT,
        interpreter_change: bool = False,
    ) -> BuildReport:
        """Build it, from the wheelhouse alone."""
        return build(
            self.recipe,
            self.lock,
            Session(
                settings=self.settings,
                store=store or self.store(),
                reporter=reporter,
            ),
            output=output or self.output,
            threads=threads,
            interpreter_change=interpreter_change,
        )

    def with_pack(self, **options: object) -> Small:
        """Return the same with other options of packing."""
        pack = dataclasses.replace(self.recipe.pack, **options)  # type: ignore[arg-type]  # a test's own options
        return dataclasses.replace(self, recipe=dataclasses.replace(self.recipe, pack=pack))


def make_small(folder: Path, interpreter: Interpreter) -> Small:
    """Write the wheels of a small environment into *folder*, and lock them."""
    noise = random.Random(7)
    wheels = [
        write_wheel(
            folder / "wheels",
            "alpha",
            files={
                "alpha/__init__.py": b"VALUE = 1\n",
                "alpha/big.bin": noise.randbytes(400_000),
                **{f"alpha/m{n}.py": f"def f{n}(x={n}):\n    return x\n".encode() for n in range(20)},
            },
            entry_points="[console_scripts]\nalpha = alpha:main\n",
        ),
        write_wheel(folder / "wheels", "beta", files={"beta.py": b"import alpha\n"}),
    ]
    recipe = small_recipe(folder, pack=little(interpreter))
    return Small(folder=folder, recipe=recipe, lock=small_lock(recipe, wheels, describe(interpreter)))


def copy_small(made: Small, folder: Path) -> Small:
    """Copy one that is built, with its store, into *folder*: a test then builds it in no time."""
    shutil.copytree(made.folder, folder, dirs_exist_ok=True)
    recipe = dataclasses.replace(made.recipe, path=folder / made.recipe.path.name)
    return dataclasses.replace(made, folder=folder, recipe=recipe)


def save(small: Small) -> None:
    """Write down what :func:`main` needs to build *small* in another process."""
    write_lock(small.lock, small.folder / "pylock.small.toml")


def main(folder: Path) -> None:
    """Build what :func:`save` wrote down; the archive's path is printed when it has its name."""
    lock = read_lock(folder / "pylock.small.toml")
    recipe = small_recipe(folder, pack=little(find_interpreter("3.11")))
    print(Small(folder=folder, recipe=recipe, lock=lock).build().archive, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
