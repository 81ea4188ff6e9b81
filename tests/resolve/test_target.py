from __future__ import annotations

import pytest
from packaging.tags import parse_tag

from envbuilder.resolve.target import Target

TARGET = Target(python="3.11.7", glibc="2.34")


@pytest.mark.parametrize(
    ("filename", "fits"),
    [
        ("x-1-py3-none-any.whl", True),
        ("x-1-py2.py3-none-any.whl", True),
        ("x-1-cp311-cp311-manylinux_2_34_x86_64.whl", True),
        ("x-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", True),
        ("x-1-cp311-cp311-manylinux2010_x86_64.whl", True),
        ("x-1-cp311-cp311-manylinux1_x86_64.whl", True),
        ("x-1-cp311-cp311-linux_x86_64.whl", True),
        ("x-1-cp38-abi3-manylinux_2_28_x86_64.whl", True),
        ("x-1-py3-none-manylinux_2_28_x86_64.whl", True),
        ("x-1-cp311-cp311-manylinux_2_35_x86_64.whl", False),
        ("x-1-cp310-cp310-manylinux_2_17_x86_64.whl", False),
        ("x-1-cp312-abi3-manylinux_2_17_x86_64.whl", False),
        ("x-1-cp311-cp311-musllinux_1_2_x86_64.whl", False),
        ("x-1-cp311-cp311-manylinux_2_17_aarch64.whl", False),
        ("x-1-cp311-cp311-win_amd64.whl", False),
        ("x-1.tar.gz", False),
    ],
)
def test_which_wheels_fit(filename: str, fits: bool) -> None:
    assert TARGET.fits(filename) is fits


def test_the_better_a_wheel_fits_the_earlier_its_tag_stands() -> None:
    order = TARGET.tags()
    names = [
        "cp311-cp311-manylinux_2_34_x86_64",
        "cp311-cp311-manylinux_2_17_x86_64",
        "cp311-cp311-manylinux2014_x86_64",
        "cp311-abi3-manylinux_2_28_x86_64",
        "cp38-abi3-manylinux_2_28_x86_64",
        "py3-none-any",
    ]
    places = [order.index(next(iter(parse_tag(name)))) for name in names]
    assert places == sorted(places)


def test_the_environment_is_the_releases_not_this_machines() -> None:
    markers = Target(python="3.8.18", glibc="2.35").markers()
    assert (markers["python_version"], markers["python_full_version"]) == ("3.8", "3.8.18")
    assert (markers["sys_platform"], markers["platform_machine"]) == ("linux", "x86_64")
    assert TARGET.uv_platform == "x86_64-manylinux_2_34"
