"""Copyright files of Debian packages, and the component that a library of one becomes."""

from __future__ import annotations

import json

import pytest

from envbuilder.inventory.debian_copyright import expression_of, licence_in
from envbuilder.inventory.ecosystems import Key, keys_of
from envbuilder.inventory.license import Licence
from envbuilder.store.local import Store
from tests.helpers.inventories import MIT, files_at, inventory

HEAD = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n"
TWO = f"{HEAD}Files: *\nCopyright: X\nLicense: GPL-2+\n words\n\nFiles: lib/*\nLicense: BSD-3-clause\n"
NOTHING = Licence(expression=None, declared="", source="nothing")


def known(expression: str) -> Licence:
    return Licence(expression=expression, declared=expression, source="library's name")


@pytest.mark.parametrize(
    ("text", "before", "expression", "said", "source"),
    [
        (TWO, NOTHING, "GPL-2.0-or-later", "GPL-2+ (x1)", "distribution's copyright file"),
        # Of several parts the one that is meant.
        (TWO, known("BSD-3-Clause"), "BSD-3-Clause", "BSD-3-clause (x1)", "distribution's copyright file"),
        (TWO, known("MIT"), "GPL-2.0-or-later", "GPL-2+ (x1)", "distribution's copyright file"),
        (f"{HEAD}Files: *\nLicense: PD\n", known("0BSD"), "0BSD", "PD (x1)", "library's name"),
        (f"{HEAD}Files: *\nLicense: PD\n", NOTHING, None, "PD (x1)", "distribution's copyright file"),
        (f"{HEAD}Files: debian/*\nLicense: GPL-2\n", NOTHING, None, "", "nothing"),
        (MIT, NOTHING, "MIT", "MIT (x1)", "distribution's copyright file"),
        (MIT, known("TCL"), "TCL", "TCL", "library's name"),
        ("", known("Zlib"), "Zlib", "Zlib", "library's name"),
    ],
)
def test_what_a_file_states(
    text: str, before: Licence, expression: str | None, said: str, source: str
) -> None:
    found = licence_in(text, "x1", before)
    assert (found.expression, found.declared, found.source) == (expression, said, source)


@pytest.mark.parametrize(
    ("name", "expression"),
    [
        ("Expat", "MIT"),
        ("LGPL-2.1+", "LGPL-2.1-or-later"),
        ("GPL-3", "GPL-3.0-only"),
        ("GPL-2+ or Expat", "GPL-2.0-or-later OR MIT"),
        ("Apache-2.0, and Zlib", "Apache-2.0 AND Zlib"),
        ("GPL-2+ or BSD-variant", None),
        ("or", None),
    ],
)
def test_short_names(name: str, expression: str | None) -> None:
    assert expression_of(name) == expression


def test_a_library_is_the_package_that_it_came_from() -> None:
    origin = {
        "package": "libssl3",
        "version": "3.0.19-1~deb12u2",
        "architecture": "amd64",
        "source": "openssl",
        "distribution": "debian",
        "release": "12",
        "copyright": f"{HEAD}Files: *\nLicense: Apache-2.0\n",
    }
    files = files_at("lib/libssl.so.3", "lib/libnobody.so.1", "lib/libz.so.1")
    store = Store.open()
    store.write_entry("interpreters", "3" * 64, json.dumps({"origins": {"libssl.so.3": origin}}).encode())
    try:
        _, nobody, ssl, zlib = inventory(files=files).components
    finally:
        store.remove("interpreters", "3" * 64)
    assert (ssl.name, ssl.version) == ("openssl", "3.0.19-1~deb12u2")
    assert ssl.purl == (
        "pkg:deb/debian/libssl3@3.0.19-1~deb12u2?arch=amd64&distro=debian-12&upstream=openssl"
    )
    assert (ssl.licence.expression, ssl.licence.source) == ("Apache-2.0", "distribution's copyright file")
    keys, release = keys_of(ssl.purl)
    assert (Key("Debian", "openssl") in keys, release) == (True, "12")
    assert (zlib.purl, zlib.licence.source) == ("pkg:generic/zlib", "library's name")
    assert (nobody.licence.expression, nobody.licence.declared) == (
        None,
        "unknown, from the interpreter (host)",
    )
