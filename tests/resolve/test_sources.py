from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version

from envbuilder.config.settings import Settings
from envbuilder.errors import ResolveError
from envbuilder.resolve.sources import Plan, is_source
from envbuilder.resolve.target import Target
from envbuilder.resolve.wheelhouse import HouseWheel, Wheelhouse
from tests.helpers.wheels import small_recipe


def house(filename: str) -> Wheelhouse:
    name, version = filename.split("-")[:2]
    wheel = HouseWheel(name=canonicalize_name(name), version=Version(version), filename=filename)
    return Wheelhouse(url="file:///house", wheels=(wheel,))


def plan(folder: Path, *houses: Wheelhouse, dependencies: tuple[str, ...] = (), **settings: object) -> Plan:
    recipe = small_recipe(folder)
    return Plan(
        recipe=recipe,
        dependencies=dependencies,
        settings=replace(Settings(), **settings),  # type: ignore[arg-type]  # a test's own values
        target=Target(python="3.11.7", glibc="2.34"),
        houses=houses,
    )


@pytest.mark.parametrize(
    ("url", "source"),
    [
        (None, False),
        ("git+https://example.com/a", True),
        ("file:///a", True),
        ("file:///a.whl", False),
        ("https://example.com/a.whl", False),
    ],
)
def test_what_a_wheel_is_built_of(url: str | None, source: bool) -> None:
    assert is_source(url) is source


def test_torch_comes_from_its_own_index_or_a_wheelhouse(tmp_path: Path) -> None:
    asked = plan(tmp_path, dependencies=("numpy", "torchvision")).question()
    assert {name: index.name for name, index in asked.pinned.items()} == {
        "torch": "pytorch",
        "torchvision": "pytorch",
    }
    held = plan(tmp_path, house("torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl"))
    assert held.question().pinned["torch"].name == "wheelhouse-1"
    other = plan(tmp_path, house("torch-2.13.0+cu126-cp311-cp311-linux_x86_64.whl"))
    assert other.question().pinned["torch"].name == "pytorch"
    assert "torch!=2.13.0+cu126" in other.question().constraints


def test_constraints_of_pip_but_for_a_cap_on_torch(tmp_path: Path) -> None:
    file = tmp_path / "constraints.txt"
    file.write_text("# ours\nnumpy<2  # old\ntorch<2\n\n-r more.txt\n")
    assert plan(tmp_path, constraints=(file,)).question().constraints == ("numpy<2",)
    file.write_text("no requirement!\n")
    with pytest.raises(ResolveError, match="'no requirement!' is not a requirement"):
        plan(tmp_path, constraints=(file,)).question()
