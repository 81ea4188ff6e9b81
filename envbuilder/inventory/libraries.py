"""Recognize shared libraries of other projects in a wheel or an interpreter, by their names.

auditwheel puts grafted libraries into ``NAME.libs/`` and adds eight digits of their hash to the name:
``libgfortran-040039e1.so.5.0.0``. An interpreter's are those of the machine that it was built on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from packaging.utils import canonicalize_name

from envbuilder.inventory.license import Licence, Source

_BASE: Final = re.compile(r"lib/lib(?!python)(?P<name>[^/]+?)\.so(?:\.(?P<version>[0-9.]+))?")
_GRAFTED: Final = re.compile(
    r"lib/python3\.\d+/site-packages/(?P<owner>[^/]+?)(?:\.libs)?/(?:.*/)?"
    r"lib(?P<name>[^/]+?)-(?P<hash>[0-9a-f]{8})(?P<inner>\.[0-9][0-9a-z.]*?)?\.so(?:\.(?P<version>[0-9.]+))?"
)
_IN_LIBS: Final = re.compile(
    r"lib/python3\.\d+/site-packages/(?P<owner>[^/]+)\.libs/(?:.*/)?"
    r"(?:lib)?(?P<name>[^/]+?)(?P<inner>)\.so(?:\.(?P<version>[0-9.]+))?"
)

_KNOWN: Final = {
    "avif": ("libavif", "BSD-2-Clause"),
    "brotlicommon": ("brotli", "MIT"),
    "brotlidec": ("brotli", "MIT"),
    "bz2": ("bzip2", "bzip2-1.0.6"),
    "com_err": ("e2fsprogs", "MIT"),
    "crypt": ("libxcrypt", "LGPL-2.1-or-later"),
    "crypto": ("openssl", "Apache-2.0"),
    "curl": ("curl", "curl"),
    "db-5.3": ("db", "Sleepycat"),
    "expat": ("expat", "MIT"),
    "ffi": ("libffi", "MIT"),
    "freetype": ("freetype", "FTL OR GPL-2.0-or-later"),
    "gdbm": ("gdbm", "GPL-3.0-or-later"),
    "gdbm_compat": ("gdbm", "GPL-3.0-or-later"),
    "gfortran": ("libgfortran", "GPL-3.0-or-later WITH GCC-exception-3.1"),
    "gomp": ("libgomp", "GPL-3.0-or-later WITH GCC-exception-3.1"),
    "gssapi_krb5": ("krb5", "MIT"),
    "harfbuzz": ("harfbuzz", "MIT-Modern-Variant"),
    "hdf5": ("hdf5", "BSD-3-Clause"),
    "jpeg": ("libjpeg-turbo", "IJG AND BSD-3-Clause"),
    "k5crypto": ("krb5", "MIT"),
    "keyutils": ("keyutils", "LGPL-2.1-or-later"),
    "krb5": ("krb5", "MIT"),
    "krb5support": ("krb5", "MIT"),
    "lcms2": ("lcms2", "MIT"),
    "lz4": ("lz4", "BSD-2-Clause"),
    "lzma": ("xz", "0BSD"),
    "mpdec": ("mpdecimal", "BSD-2-Clause"),
    "ncurses": ("ncurses", "X11-distribute-modifications-variant"),
    "ncursesw": ("ncurses", "X11-distribute-modifications-variant"),
    "nsl": ("libnsl", "LGPL-2.1-only"),
    "openblas": ("openblas", "BSD-3-Clause"),
    "openblas64_p-r0": ("openblas", "BSD-3-Clause"),
    "openblasp-r0": ("openblas", "BSD-3-Clause"),
    "openjp2": ("openjpeg", "BSD-2-Clause"),
    "panel": ("ncurses", "X11-distribute-modifications-variant"),
    "panelw": ("ncurses", "X11-distribute-modifications-variant"),
    "png16": ("libpng", "libpng-2.0"),
    "quadmath": ("libquadmath", "LGPL-2.1-or-later"),
    "readline": ("readline", "GPL-3.0-or-later"),
    "scipy_openblas": ("openblas", "BSD-3-Clause"),
    "scipy_openblas64_": ("openblas", "BSD-3-Clause"),
    "sharpyuv": ("libwebp", "BSD-3-Clause"),
    "sqlite3": ("sqlite", "blessing"),
    "ssl": ("openssl", "Apache-2.0"),
    "tcl8.6": ("tcl", "TCL"),
    "tiff": ("libtiff", "libtiff"),
    "tinfo": ("ncurses", "X11-distribute-modifications-variant"),
    "tinfow": ("ncurses", "X11-distribute-modifications-variant"),
    "tirpc": ("libtirpc", "BSD-3-Clause"),
    "tk8.6": ("tk", "TCL"),
    "uuid": ("util-linux", "BSD-3-Clause"),
    "webp": ("libwebp", "BSD-3-Clause"),
    "webpdemux": ("libwebp", "BSD-3-Clause"),
    "webpmux": ("libwebp", "BSD-3-Clause"),
    "z": ("zlib", "Zlib"),
    "zstd": ("zstd", "BSD-3-Clause OR GPL-2.0-only"),
}
"""The project of a library, and its licence there, from the project's LICENSE or COPYING. OpenSSL: since 3.0.
SQLite: its blessing. com_err and uuid: the licences of these parts, not of the release that contains them."""
_OLD_OPENSSL: Final = ("1.0", "1.1")


@dataclass(frozen=True, kw_only=True, slots=True)
class Library:
    """A shared library of another project."""

    path: str
    name: str
    """The project's name, if it is known by the file's name; otherwise the library's."""
    version: str
    """From the file's name; empty if that is an interface version instead of a release."""
    licence: Licence
    inside: str
    """The Python project that contains it, or ``cpython``."""


_RELEASES: Final = frozenset(
    {"brotlicommon", "brotlidec", "bz2", "crypto", "lz4", "lzma", "mpdec", "openjp2", "ssl", "z", "zstd"}
)
"""Known libraries whose file names contain the release; others contain an interface version."""


def find_libraries(paths: Iterable[str], *, base: bool) -> Iterator[Library]:
    """Yield the libraries among *paths*; with *base* also those in ``lib/``."""
    for path in sorted(paths):
        grafted = _GRAFTED.fullmatch(path) or _IN_LIBS.fullmatch(path)
        found = grafted or (_BASE.fullmatch(path) if base else None)
        if found is None:
            continue
        name = found["name"]
        inner = (grafted["inner"] or "").removeprefix(".") if grafted is not None else ""
        # libopenblasp-r0.3.23.so: the hash is in the middle of its version
        split = inner and name.endswith("-r0")
        version = f"0.{inner}" if split else _release(name, inner or (found["version"] or ""))
        owner = canonicalize_name(grafted["owner"]) if grafted is not None else "cpython"
        yield _library(path, name, version, owner)


def _release(name: str, version: str) -> str:
    """Return *version* if it is that of a release, which never has only one number (``libssl.so.3``)."""
    if name in _KNOWN and name not in _RELEASES:
        return ""
    return version if version.count(".") >= 2 or version in _OLD_OPENSSL else ""


def _library(path: str, name: str, version: str, owner: str) -> Library:
    project, expression = _KNOWN.get(name, (name, None))
    if project == "openssl" and version.startswith(_OLD_OPENSSL):
        expression = "OpenSSL"
    source: Source = "library's name" if expression else "nothing"
    licence = Licence(expression=expression, declared=expression or "", source=source)
    return Library(path=path, name=project, version=version, licence=licence, inside=owner)
