"""What new archives still hold; the rest of a patch's builds is shown by the patches as a whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from envbuilder.config.settings import Settings
from envbuilder.fleet.patching.build import Remaining
from envbuilder.fleet.patching.holdings import Holding, held_by, labels_of
from envbuilder.fleet.patching.subject import Subject
from envbuilder.fleet.plan import Job
from envbuilder.fleet.repository.environments import Inventories
from envbuilder.inventory.components import Component
from envbuilder.lockfile.model import Lock
from tests.fleet.patching.conftest import lock_of, wheel
from tests.helpers.inventories import Package, write_archive
from tests.helpers.wheels import small_recipe


class Anything(Subject):
    """Hits every wheel but the newer alpha."""

    def hits(self, component: Component) -> bool:
        return component.kind == "wheel" and (component.name, component.version) != ("alpha", "1.1")


def archive_of(folder: Path, lock: Lock, name: str) -> Path:
    packages = [Package(name=one.name, version=one.version) for one in lock.artifacts]
    return write_archive(folder / f"{name}.tar.gz", *packages)


def test_where_the_same_changed_one_new_archive_is_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject, recipe, inventories = Anything(name="x"), small_recipe(tmp_path), Inventories()
    newer = replace(wheel("alpha", "1.1"), sha256="5" * 64)
    remaining = Remaining(subject, inventories)
    read: list[str] = []
    look = inventories.of
    found = []
    for number, others in enumerate((["beta"], ["gamma"], ["beta", "gamma"])):
        before = lock_of(tmp_path, wheel("alpha"), *map(wheel, others))
        after = lock_of(tmp_path, newer, *map(wheel, others))
        inventory = look(archive_of(tmp_path, before, f"before{number}"))
        job = Job(recipe=recipe, lock=before, settings=Settings())
        holding = Holding(job=job, held=held_by(subject, before, inventory), inventory=inventory)
        archive = archive_of(tmp_path, after, f"after{number}")

        def counted(place: Path) -> object:
            read.append(place.name)
            return look(place)

        monkeypatch.setattr(inventories, "of", counted)
        found.append(labels_of(remaining.of(holding, replace(job, lock=after), archive)))
    assert found == [("beta 1.0",), ("gamma 1.0",), ("beta 1.0", "gamma 1.0")]
    assert read == ["after0.tar.gz"]
    # Of one that was relocked before an interruption, nothing is known.
    assert labels_of(remaining.of(None, replace(job, lock=after), archive)) == ("beta 1.0", "gamma 1.0")
    assert read[1:] == ["after2.tar.gz"]
