"""A recipe of conda packages with channels and indexes of its own, to lock and build."""

from __future__ import annotations

import datetime
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from envbuilder.building.build import build
from envbuilder.building.record import BuildReport
from envbuilder.config.settings import Settings
from envbuilder.recipe.load import load_recipe
from envbuilder.recipe.model import Recipe
from envbuilder.resolve.lock import LockResult, lock_recipe
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from tests.helpers.channels import Cut, index, write_package
from tests.helpers.indexes import LINUX, Sources
from tests.helpers.notes import Notes

# What takes long to compile and compress, and nothing that runs in these tests imports.
LEFT_OUT: Final = (
    "include/**",
    "lib/python3.11/config-*/**",
    *(
        f"lib/python3.11/{name}/**"
        for name in (
            "asyncio", "curses", "dbm", "distutils", "ensurepip", "idlelib", "lib2to3", "msilib", "multiprocessing",
            "pydoc_data", "tkinter", "tomllib", "turtledemo", "unittest", "venv", "wsgiref", "xml", "xmlrpc",
        )
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Project:
    """A recipe of conda packages, a channel of its own beside the shared one, and an index of tiny wheels."""

    folder: Path
    channel: Path
    sources: Sources
    store: Store
    notes: Notes

    @property
    def settings(self) -> Settings:
        """Nothing but the tiny index."""
        return self.sources.settings()

    def recipe(self, **keys: object) -> Recipe:
        """Write the recipe, with *keys* in place of its own."""
        own: dict[str, object] = {
            "triton": "pytriton-0.7.0",
            "python": "3.11",
            "torch": "2.7.1",
            "cuda": "cpu",
            "provider": "conda",
            "channels": [str(self.folder / "own"), str(self.channel)],
            "pack": {"level": 1, "exclude": LEFT_OUT},
        }
        path = self.folder / "mine.yaml"
        values = {**own, **{key.replace("_", "-"): value for key, value in keys.items()}}
        path.write_text(
            "".join(
                f"{key}: {value if isinstance(value, datetime.date) else json.dumps(value)}\n"
                for key, value in values.items()
            )
        )
        return load_recipe(path)

    def publish(self, *cuts: Cut) -> None:
        """Put packages into the recipe's own channel."""
        for cut in cuts:
            write_package(self.folder / "own", cut)
        index(self.folder / "own")

    def lock(self, recipe: Recipe, **options: Any) -> LockResult:
        """Lock."""
        return lock_recipe(
            recipe, Session(settings=self.settings, store=self.store, reporter=self.notes), **options
        )

    def build(self, recipe: Recipe, output: str = "envs", store: Store | None = None) -> BuildReport:
        """Lock and build."""
        locked = self.lock(recipe).lock
        return build(
            recipe,
            locked,
            Session(settings=self.settings, store=store or self.store, reporter=self.notes),
            output=self.folder / output,
        )


def make_project(folder: Path, channel: Path) -> Project:
    """Return a project in *folder*, with torch and NumPy on its index and nothing in its own channel."""
    root = folder / "indexes"
    root.mkdir()
    sources = Sources(root=root)
    sources.publish("pytorch/cpu", "torch", "2.7.1+cpu", requires=["numpy"], tag=LINUX)
    for version in ("1.26.4", "2.1.0"):
        sources.publish("pypi", "numpy", version)
    made = Project(
        folder=folder, channel=channel, sources=sources, store=Store.open(folder / "store"), notes=Notes()
    )
    made.publish()
    return made


def extract(archive: Path, folder: Path) -> Path:
    """Extract *archive* into the new *folder*."""
    folder.mkdir()
    subprocess.run(["tar", "-xzf", archive, "-C", folder], check=True)
    return folder
