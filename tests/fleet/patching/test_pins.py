from __future__ import annotations

import json
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


@pytest.mark.parametrize(
    ("spec", "limits"),
    [
        ("zlib", False),
        ("zlib *", False),
        ("zlib >=1.2.11", False),
        ("zlib >= 1.2.11", False),
        ("conda-forge::zlib >=1.2,!=1.2.12", False),
        ("zlib >=2|<1", False),
        ("zlib[version='>=1.2']", False),
        ("zlib >=1.2.11,<1.3.0a0", True),
        ("zlib=1.2", True),
        ("zlib==1.2.11", True),
        ("zlib 1.2.*", True),
        ("zlib 1.2.11 h5eee18b_0", True),
        ("zlib * h5eee18b_0", True),
        ("conda-forge::zlib[version='>=1.2,<2']", True),
        ("zlib[build=h5eee18b_0]", True),
        ("zlib-ng <2", False),
    ],
)
def test_who_holds_a_conda_package_back(spec: str, limits: bool, tmp_path: Path) -> None:
    recipe = replace(small_recipe(tmp_path), conda=(spec,))
    assert find_pins("zlib", "1.2.11", recipe, None) == (
        [f"conda of small.yaml asks {spec}"] if limits else []
    )
    needing = Package(name="png", filename="png-1.0-0.conda")
    record = {"name": "png", "depends": [spec]}
    found = inventory(needing, more={"conda-meta/png-1.0-0.json": json.dumps(record).encode()})
    assert find_pins("zlib", "1.2.11", small_recipe(tmp_path), found) == (
        [f"png 1.0 needs {spec}"] if limits else []
    )


def test_python_is_what_the_recipe_says(tmp_path: Path) -> None:
    assert find_pins("python", "3.11.7", small_recipe(tmp_path), None) == ["small.yaml says python 3.11"]
