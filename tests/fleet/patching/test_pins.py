from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from envbuilder.fleet.patching.pins import find_pins
from tests.helpers.inventories import Package, inventory
from tests.helpers.wheels import small_recipe


@pytest.mark.parametrize(
    ("dependency", "limits"),
    [
        ("beta<2", True),
        ("beta==1.0", True),
        ("beta~=1.0", True),
        ("beta @ https://example.com/beta.whl", True),
        ("beta>=1", False),
        ("beta", False),
        ("gamma<2", False),
    ],
)
def test_who_holds_a_version_back(dependency: str, limits: bool, tmp_path: Path) -> None:
    recipe = replace(small_recipe(tmp_path), dependencies=(dependency,))
    expected = [f"small.yaml asks {dependency}"] if limits else []
    assert find_pins("beta", "1.0", recipe, None) == expected


def test_packages_the_release_and_torch_itself(tmp_path: Path) -> None:
    recipe = replace(small_recipe(tmp_path), constraints=("beta<3",))
    found = inventory(Package(name="alpha", headers=("Requires-Dist: beta (<2)",)))
    assert find_pins("beta", "1.0", recipe, found) == [
        "constraints of small.yaml say beta<3",
        "alpha 1.0 needs beta (<2)",
    ]
    assert find_pins("torch", "2.13.0", recipe, None)[0] == "small.yaml says torch 2.13.0"
    assert find_pins("numpy", "1.26.0", recipe, None) == ["Triton pytriton-0.7.0 demands numpy<2"]
