from __future__ import annotations

import pytest

from envbuilder.catalog.system import image_has, is_base_library, manylinux_libraries, remedy
from envbuilder.catalog.triton import find_release


def test_the_policy_of_manylinux_is_the_published_one() -> None:
    assert manylinux_libraries("2.4") == frozenset()
    assert "libexpat.so.1" not in manylinux_libraries("2.11")
    assert {"libz.so.1", "libexpat.so.1", "libGL.so.1"} <= manylinux_libraries("2.17")
    assert "libmvec.so.1" not in manylinux_libraries("2.17")
    assert "libmvec.so.1" in manylinux_libraries("2.35")
    assert manylinux_libraries("99.0") == manylinux_libraries("2.41")


@pytest.mark.parametrize("soname", ["libz.so.1", "libstdc++.so.6", "libnss_dns.so.2", "ld-linux-x86-64.so.2"])
def test_what_every_system_has(soname: str) -> None:
    assert is_base_library(soname, "2.34")


@pytest.mark.parametrize(
    "soname", ["libGL.so.1", "libglib-2.0.so.0", "libX11.so.6", "libgomp.so.1", "libz.so"]
)
def test_what_not_every_system_has(soname: str) -> None:
    assert not is_base_library(soname, "2.39")


@pytest.mark.parametrize(
    ("release", "soname", "has"),
    [
        ("23.08", "libz.so.1", True),
        ("24.10", "libcurl.so.4", True),
        ("24.10", "libGL.so.1", False),
        ("25.08", "libglib-2.0.so.0", True),
        ("25.09", "libglib-2.0.so.0", False),
        ("24.10", "libnowhere.so.1", False),
        ("24.10", "libcudart.so.12", None),
        ("24.10", "libnvrtc-builtins.so.12.6", None),
        ("24.10", "libmpi.so.40", None),
        ("24.10", "libcuda.so.1", None),
        ("pytriton-0.7.0", "libz.so.1", True),
        ("pytriton-0.7.0", "libGL.so.1", None),
    ],
)
def test_what_the_image_of_a_release_has(release: str, soname: str, has: bool | None) -> None:
    assert image_has(soname, find_release(release)) is has


def test_who_has_a_library() -> None:
    assert remedy("libGL.so.1").debian == "libgl1"
    assert remedy("libGL.so.1", "opencv-python").wheel == "opencv-python-headless"
    assert remedy("libGL.so.1", "open3d").wheel is None
    assert remedy("libnowhere.so.1").debian is None
