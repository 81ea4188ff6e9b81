"""Libraries by their names."""

from __future__ import annotations

import pytest

from envbuilder.inventory.libraries import find_libraries
from tests.helpers.inventories import SITE


@pytest.mark.parametrize(
    ("path", "name", "version", "licence", "owner"),
    [
        (
            f"{SITE}/numpy.libs/libgfortran-040039e1.so.5.0.0",
            "libgfortran",
            "",
            "GPL-3.0-or-later WITH GCC-exception-3.1",
            "numpy",
        ),
        (
            f"{SITE}/numpy.libs/libopenblas64_p-r0-0cf96a72.3.23.dev.so",
            "openblas",
            "0.3.23.dev",
            "BSD-3-Clause",
            "numpy",
        ),
        (f"{SITE}/Pillow.libs/libz-0123abcd.so.1.3.1", "zlib", "1.3.1", "Zlib", "pillow"),
        (f"{SITE}/x.libs/libcrypto-0123abcd.so.1.1", "openssl", "1.1", "OpenSSL", "x"),
        (f"{SITE}/x.libs/libcrypto-0123abcd.so.3", "openssl", "", "Apache-2.0", "x"),
        (f"{SITE}/x.libs/libown-0123abcd.so.2.4.6", "own", "2.4.6", None, "x"),
        (f"{SITE}/x.libs/libplain.so.2.4.6", "plain", "2.4.6", None, "x"),
        (
            f"{SITE}/torch/lib/libgomp-24e2ab19.so.1",
            "libgomp",
            "",
            "GPL-3.0-or-later WITH GCC-exception-3.1",
            "torch",
        ),
        ("lib/libncursesw.so.6", "ncurses", "", "X11-distribute-modifications-variant", "cpython"),
        ("lib/liblzma.so.5.4.1", "xz", "5.4.1", "0BSD", "cpython"),
    ],
)
def test_what_a_name_tells(path: str, name: str, version: str, licence: str | None, owner: str) -> None:
    (found,) = find_libraries([path], base=True)
    assert (found.name, found.version, found.licence.expression, found.inside) == (
        name,
        version,
        licence,
        owner,
    )


def test_what_is_no_library_from_elsewhere() -> None:
    own = [
        f"{SITE}/torch/lib/libtorch.so",
        f"{SITE}/alpha/core.cpython-311-x86_64-linux-gnu.so",
        "lib/libpython3.so",
    ]
    assert list(find_libraries(own, base=True)) == []
    assert list(find_libraries(["lib/libssl.so.3"], base=False)) == []
