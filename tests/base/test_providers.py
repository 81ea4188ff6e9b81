"""A base provider from another distribution."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from envbuilder.archive.names import Archive
from envbuilder.base.choose import lock_base, open_base
from envbuilder.base.interpreter import Interpreter
from envbuilder.base.providers import PROVIDERS
from envbuilder.building.build import build
from envbuilder.errors import PluginError, RecipeError
from envbuilder.lockfile.upgrade import Upgrade
from envbuilder.recipe.load import load_recipe
from envbuilder.store.session import Session
from tests.helpers.plugins import install
from tests.helpers.small import make_small

SOURCE = '''
import contextlib
import dataclasses
from envbuilder.base.cpython import CPythonBase
from envbuilder.base.interpreter import describe, find_interpreter
from envbuilder.base.providers import LockedBase
from envbuilder.lockfile.model import LockedInterpreter


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Base(CPythonBase):
    @property
    def interpreter(self):
        return dataclasses.replace(describe(self.found), origin="acme:interpreter")


class Provider:
    """This machine's CPython, under a name of its own."""

    def lock(self, recipe, session, *, previous, upgrade):
        return LockedBase(interpreter=Base(found=find_interpreter(recipe.python)).interpreter)

    @contextlib.contextmanager
    def open(self, recipe, lock, session, *, change):
        yield Base(found=find_interpreter(recipe.python))


class Mute(Provider):
    def lock(self, recipe, session, *, previous, upgrade):
        return LockedBase(interpreter=LockedInterpreter(version="3.11.7", origin="host", digest="0" * 64))
'''
RECIPE = 'triton: pytriton-0.7.0\ntorch: "2.13.0"\ncuda: cpu\npython: "3.11"\n'


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution with two providers."""
    places = {"envbuilder.providers/acme": "Provider", "envbuilder.providers/mute": "Mute"}
    install(tmp_path / "site", monkeypatch, name="acme-base", source=SOURCE, entry_points=places)


def test_those_that_are_built_in_have_the_same_form() -> None:
    assert PROVIDERS.names() == ("conda", "cpython")
    for name in PROVIDERS.names():
        assert all(callable(getattr(PROVIDERS.get(name), need)) for need in ("lock", "open"))


@pytest.mark.usefixtures("acme")
def test_an_environment_on_the_base_of_another_distribution(tmp_path: Path, python311: Interpreter) -> None:
    small = make_small(tmp_path / "small", python311)
    recipe = dataclasses.replace(small.recipe, provider="acme")
    session = Session(settings=small.settings, store=small.store())
    base = lock_base(recipe, session, previous=None, upgrade=Upgrade())
    assert base.interpreter.origin == "acme:interpreter"
    lock = dataclasses.replace(small.lock, interpreter=base.interpreter, recipe_digest=recipe.digest())
    with open_base(recipe, lock, session, change=False) as opened:
        assert opened.interpreter == base.interpreter
    report = build(recipe, lock, session, output=tmp_path / "envs")
    archive = Archive.open(report.archive)
    assert archive.manifest.interpreter.origin == "acme:interpreter"
    assert build(recipe, lock, session, output=tmp_path / "again").sha256 == report.sha256


@pytest.mark.usefixtures("acme")
def test_a_lock_names_whose_base_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(f"{RECIPE}provider: mute\n")
    with pytest.raises(PluginError) as raised:
        lock_base(load_recipe(tmp_path / "mine.yaml"), Session(), previous=None, upgrade=Upgrade())
    assert str(raised.value) == (
        "the provider 'mute' locked an interpreter whose origin is 'host'; expected 'mute:…'\n"
        "  hint: update or uninstall it"
    )


@pytest.mark.usefixtures("acme")
def test_an_unknown_provider_is_told_what_there_is(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"{RECIPE}provider: acne\n")
    with pytest.raises(RecipeError) as raised:
        load_recipe(path)
    assert str(raised.value) == (
        f"{path}:5: `provider` is 'acne', did you mean `acme`?\n  hint: possible: cpython, conda, acme, mute"
    )
