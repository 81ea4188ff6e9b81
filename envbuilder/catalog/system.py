"""Shared libraries of the systems that servers run on: what an image contains, and how to get what it lacks.

Sources: manylinux's policy as auditwheel publishes it; the packages that ``build.py`` of the server's release branches
installs into its images (``dockerfile_prepare_container_linux``), with what those depend on; Debian's own lists of the
files of its packages.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from importlib import resources
from typing import Final

from envbuilder.catalog.triton import Release

LOADER: Final = re.compile(r"(ld-linux[-\w]*|linux-vdso)\.so(\.\d+)*")
DRIVER: Final = re.compile(r"lib(cuda|nvidia-[-\w]+|nvcuvid|nvoptix|cudadebugger)\.so(\.\d+)*")
"""NVIDIA's driver: part of the machine, and only if it has a GPU."""
CUDA: Final = re.compile(
    r"lib(cu(blas|dart|dnn|fft|file|pti|rand|solver|sparse|tensor)\w*|nv(rtc|JitLink|jpeg|ToolsExt|infer|shmem)[\w-]*|nccl"
    r"|ibverbs|rdmacm|mlx5|efa|fabric|pmix|mpi|oshmem|uc[cmpst]|hcoll|nl-3|nl-route-3)\.so(\.\d+)*"
)
"""CUDA, TensorRT and HPC-X: parts of images that ``build.py`` does not list."""
_GLIBC: Final = re.compile(r"lib(c|m|pthread|dl|rt|util|resolv|anl|mvec|nsl|thread_db|nss_\w+)\.so\.\d+")
_COMPILER: Final = ("libgcc_s.so.1", "libstdc++.so.6")

_NOT_IN_IMAGES: Final = frozenset(
    ("libGL.so.1", "libICE.so.6", "libSM.so.6", "libX11.so.6", "libXext.so.6", "libXrender.so.1")
)
"""What manylinux assumes on desktops, and no image of Triton contains (server issues 3244 and 6340)."""
_GLIB: Final = frozenset(f"lib{name}-2.0.so.0" for name in ("glib", "gio", "gmodule", "gobject", "gthread"))
"""A dependency of ``software-properties-common``, which images have up to 25.08."""
_INSTALLED: Final = frozenset(
    f"lib{name}"
    for name in (
        *(
            "acl.so.1",
            "apt-pkg.so.6.0",
            "archive.so.13",
            "asan.so.8",
            "assuan.so.0",
            "atomic.so.1",
            "attr.so.1",
        ),
        *("audit.so.1", "b64.so.0d", "blkid.so.1", "brotlicommon.so.1", "brotlidec.so.1", "brotlienc.so.1"),
        *("bsd.so.0", "bz2.so.1.0", "cap.so.2", "cap-ng.so.0", "com_err.so.2", "crypt.so.1", "crypto.so.3"),
        *(
            "curl.so.4",
            "curl-gnutls.so.4",
            "db-5.3.so",
            "edit.so.2",
            "expat.so.1",
            "ffi.so.8",
            "gcrypt.so.20",
        ),
        *("gdbm.so.6", "gmp.so.10", "gnutls.so.30", "gomp.so.1", "gpg-error.so.0", "gssapi_krb5.so.2"),
        *("hogweed.so.6", "idn2.so.0", "itm.so.1", "jemalloc.so.2", "k5crypto.so.3", "keyutils.so.1"),
        *("krb5.so.3", "krb5support.so.0", "ksba.so.8", "lsan.so.0", "lz4.so.1", "lzma.so.5", "md.so.0"),
        *("mount.so.1", "ncurses.so.6", "ncursesw.so.6", "nettle.so.8", "nghttp2.so.14", "npth.so.0"),
        *("nsl.so.2", "numa.so.1", "p11-kit.so.0", "pam.so.0", "pcre2-8.so.0", "profiler.so.0", "psl.so.5"),
        *("quadmath.so.0", "readline.so.8", "rtmp.so.1", "sasl2.so.2", "seccomp.so.2", "selinux.so.1"),
        *("sqlite3.so.0", "ssh.so.4", "ssl.so.3", "systemd.so.0", "tasn1.so.6", "tcmalloc.so.4"),
        *("tcmalloc_minimal.so.4", "tinfo.so.6", "tirpc.so.3", "tsan.so.2", "ubsan.so.1", "udev.so.1"),
        *("unwind.so.8", "uuid.so.1", "xml2.so.2", "xxhash.so.0", "yaml-0.so.2", "zstd.so.1"),
    )
)
"""Libraries of what ``build.py`` installs into images of Ubuntu 22.04 and 24.04, dependencies included."""


@functools.cache
def manylinux_libraries(glibc: str) -> frozenset[str]:
    """Return the sonames that wheels for ``manylinux_X_Y`` may assume; X.Y is *glibc*, or the next below."""
    text = (resources.files("auditwheel") / "policy" / "manylinux-policy.json").read_text("utf-8")
    wanted = _numbers(glibc)
    best: tuple[tuple[int, ...], frozenset[str]] = ((0,), frozenset())
    for policy in json.loads(text):
        match = re.fullmatch(r"manylinux_(\d+)_(\d+)", policy["name"])
        version = _numbers(".".join(match.groups())) if match else (0,)
        if best[0] < version <= wanted:
            best = (version, frozenset(policy["lib_whitelist"]))
    return best[1]


def is_base_library(soname: str, glibc: str) -> bool:
    """Return whether every server system has *soname*: what manylinux assumes, except desktop libraries."""
    if LOADER.fullmatch(soname) or _GLIBC.fullmatch(soname) or soname in _COMPILER:
        return True
    return soname in manylinux_libraries(glibc) - _NOT_IN_IMAGES - _GLIB


def image_has(soname: str, release: Release) -> bool | None:
    """Return whether the image of *release* has *soname*; None if unknown, or if the server runs on a host."""
    if is_base_library(soname, release.wheel_glibc):
        return True
    if release.glibc is None or CUDA.fullmatch(soname) or DRIVER.fullmatch(soname):
        return None
    return soname in _INSTALLED or (soname in _GLIB and release.name <= "25.08")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


# -- who has it ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Remedy:
    """Ways to get a library into an environment or an image."""

    debian: str | None
    """The package of Debian 12 and Ubuntu 22.04 that has it (Ubuntu 24.04 may add ``t64`` to its name)."""
    wheel: str | None = None
    """A project that does not need it, a replacement for *instead_of*."""
    instead_of: str | None = None


_DEBIAN: Final = {
    "libEGL.so.1": "libegl1", "libGL.so.1": "libgl1", "libGLESv2.so.2": "libgles2",
    "libGLU.so.1": "libglu1-mesa", "libGLX.so.0": "libglx0",
    "libICE.so.6": "libice6", "libOpenCL.so.1": "ocl-icd-libopencl1", "libOpenGL.so.0": "libopengl0",
    "libSDL2-2.0.so.0": "libsdl2-2.0-0", "libSM.so.6": "libsm6", "libX11-xcb.so.1": "libx11-xcb1",
    "libX11.so.6": "libx11-6", "libXcomposite.so.1": "libxcomposite1", "libXcursor.so.1": "libxcursor1",
    "libXdamage.so.1": "libxdamage1", "libXext.so.6": "libxext6", "libXfixes.so.3": "libxfixes3",
    "libXft.so.2": "libxft2", "libXi.so.6": "libxi6", "libXinerama.so.1": "libxinerama1",
    "libXrandr.so.2": "libxrandr2", "libXrender.so.1": "libxrender1", "libXt.so.6": "libxt6",
    "libXtst.so.6": "libxtst6", "libXxf86vm.so.1": "libxxf86vm1", "libaio.so.1": "libaio1",
    "libarchive.so.13": "libarchive13", "libasound.so.2": "libasound2", "libatk-1.0.so.0": "libatk1.0-0",
    "libatomic.so.1": "libatomic1", "libblas.so.3": "libblas3", "libbz2.so.1.0": "libbz2-1.0",
    "libcairo.so.2": "libcairo2", "libcap.so.2": "libcap2", "libcrypt.so.1": "libcrypt1", "libcrypto.so.3": "libssl3",
    "libcurl.so.4": "libcurl4", "libdbus-1.so.3": "libdbus-1-3", "libdrm.so.2": "libdrm2",
    "libexpat.so.1": "libexpat1", "libffi.so.8": "libffi8", "libfontconfig.so.1": "libfontconfig1",
    "libfreetype.so.6": "libfreetype6", "libfribidi.so.0": "libfribidi0",
    "libgbm.so.1": "libgbm1", "libgdk_pixbuf-2.0.so.0": "libgdk-pixbuf-2.0-0",
    "libgeos_c.so.1": "libgeos-c1v5", "libgfortran.so.5": "libgfortran5", "libgio-2.0.so.0": "libglib2.0-0",
    "libglib-2.0.so.0": "libglib2.0-0", "libgmp.so.10": "libgmp10", "libgobject-2.0.so.0": "libglib2.0-0",
    "libgomp.so.1": "libgomp1", "libgssapi_krb5.so.2": "libgssapi-krb5-2", "libgthread-2.0.so.0": "libglib2.0-0",
    "libgtk-3.so.0": "libgtk-3-0", "libibverbs.so.1": "libibverbs1", "libkrb5.so.3": "libkrb5-3",
    "liblapack.so.3": "liblapack3", "liblz4.so.1": "liblz4-1", "liblzma.so.5": "liblzma5", "libmagic.so.1": "libmagic1",
    "libmariadb.so.3": "libmariadb3", "libmpi.so.40": "libopenmpi3", "libncursesw.so.6": "libncursesw6",
    "libnspr4.so": "libnspr4", "libnss3.so": "libnss3", "libnuma.so.1": "libnuma1", "libodbc.so.2": "libodbc2",
    "libopenblas.so.0": "libopenblas0", "libpango-1.0.so.0": "libpango-1.0-0",
    "libpangocairo-1.0.so.0": "libpangocairo-1.0-0", "libpangoft2-1.0.so.0": "libpangoft2-1.0-0",
    "libpng16.so.16": "libpng16-16",
    "libportaudio.so.2": "libportaudio2", "libpq.so.5": "libpq5", "libpulse.so.0": "libpulse0",
    "libquadmath.so.0": "libquadmath0", "librdmacm.so.1": "librdmacm1", "libreadline.so.8": "libreadline8",
    "libsndfile.so.1": "libsndfile1", "libsodium.so.23": "libsodium23", "libsqlite3.so.0": "libsqlite3-0",
    "libssl.so.3": "libssl3", "libtbb.so.12": "libtbb12", "libtcl8.6.so": "libtcl8.6",
    "libtesseract.so.5": "libtesseract5",
    "libtiff.so.6": "libtiff6", "libtinfo.so.6": "libtinfo6", "libtk8.6.so": "libtk8.6", "libudev.so.1": "libudev1",
    "libunwind.so.8": "libunwind8", "libusb-1.0.so.0": "libusb-1.0-0", "libuuid.so.1": "libuuid1",
    "libvips.so.42": "libvips42", "libvulkan.so.1": "libvulkan1", "libwebp.so.7": "libwebp7", "libxcb.so.1": "libxcb1",
    "libxkbcommon.so.0": "libxkbcommon0", "libxml2.so.2": "libxml2", "libxslt.so.1": "libxslt1.1",
    "libz.so.1": "zlib1g", "libzbar.so.0": "libzbar0", "libzmq.so.5": "libzmq5", "libzstd.so.1": "libzstd1",
}  # fmt: skip
_HEADLESS: Final = {
    "opencv-python": "opencv-python-headless",
    "opencv-contrib-python": "opencv-contrib-python-headless",
    "psycopg2": "psycopg2-binary",
}
"""Project → a replacement with the same modules that needs no system library."""


def remedy(soname: str, project: str | None = None) -> Remedy:
    """Return the ways to get *soname*, which *project* needs."""
    headless = _HEADLESS.get(project or "")
    if headless is not None:
        return Remedy(debian=_DEBIAN.get(soname), wheel=headless, instead_of=project)
    return Remedy(debian=_DEBIAN.get(soname))
