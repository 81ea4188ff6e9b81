"""This machine's g++ cut into the packages that a channel has a compiler in, and its C library into a sysroot."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from envbuilder.base.relocate import patchelf
from tests.helpers.channels import PLACEHOLDER, Cut, Link

_MACHINE: Final = "x86_64-linux-gnu"
SYSROOT: Final = "x86_64-conda-linux-gnu/sysroot"
_LIBRARY: Final = re.compile(r"lib(c|m|mvec)\.so\.\d+|ld-linux-x86-64\.so\.2")
_PROGRAMS: Final = ("cc1", "cc1plus", "collect2", "lto-wrapper")
_START: Final = ("crt1.o", "Scrt1.o", "crti.o", "crtn.o")
_STUBS: Final = ("libpthread.a", "libdl.a", "librt.a")
_C_HEADERS: Final = (
    "linux",
    "asm-generic",
    *(f"{_MACHINE}/{name}" for name in ("asm", "bits", "gnu", "sys")),
)
_WRAPPER: Final = """#!/bin/sh
P="{prefix}"
exec "$P/bin/{program}" --sysroot="$P/{sysroot}" {options}"$@"
"""
_CXX_HEADERS: Final = (
    '-nostdinc++ -isystem "$P/include/c++/{version}" -isystem "$P/include/{machine}/c++/{version}" '
)
_Files = dict[str, "bytes | Path | Link"]


def compiler_cuts(folder: Path, base: Iterable[Cut]) -> list[Cut]:
    """Cut g++ into ``gxx``, which wraps it, and what that needs beside *base*, the packages of an interpreter.

    Changed files are in *folder*, which must stay. The sysroot has links to folders, as those of channels have them,
    and another package's files go through them.
    """
    owned = {path for cut in base for path in cut.files}
    folder.mkdir(parents=True)
    gcc = Path(_said("-print-libgcc-file-name")).parent
    version, home = gcc.name, f"lib/gcc/{_MACHINE}/{gcc.name}"
    programs = {f"{home}/{name}": gcc / name for name in _PROGRAMS}
    programs |= {f"bin/gcc-{name}": _found(name) for name in ("gcc", "g++")}
    programs |= {f"{_MACHINE}/bin/{name}": _found(name) for name in ("as", "ld")}
    libraries = {f"lib/{path.name}": path for path in _needs(programs.values())}
    libraries = {path: file for path, file in libraries.items() if path not in owned}
    moved = {path: _with_prefix(source, folder / path) for path, source in {**programs, **libraries}.items()}
    parts: _Files = {path: moved[path] for path in programs}
    parts |= _tree(gcc / "include", f"{home}/include")
    parts |= {f"{home}/{path.name}": path for path in sorted(gcc.glob("crt*.o"))}
    parts |= {
        f"{home}/{name}": gcc / name
        for name in ("libgcc.a", "libgcc_eh.a", "libgomp.spec", "liblto_plugin.so")
    }
    parts |= {f"{home}/libgcc_s.so": Link("../../../libgcc_s.so.1")}
    parts |= {f"{home}/libstdc++.so": Link("../../../libstdc++.so.6")}
    gomp = (gcc / "libgomp.so").resolve()
    parts |= {f"{home}/libgomp.so": Link("../../../libgomp.so.1"), "lib/libgomp.so.1": gomp}
    for headers in (f"c++/{version}", f"{_MACHINE}/c++/{version}"):
        parts |= _tree(Path("/usr/include", headers), f"include/{headers}")
    options = _CXX_HEADERS.format(version=version, machine=_MACHINE)
    wrappers: _Files = {
        f"bin/x86_64-conda-linux-gnu-{name}": _WRAPPER.format(
            prefix=PLACEHOLDER,
            program=f"gcc-{name}",
            sysroot=SYSROOT,
            options=options if name == "g++" else "",
        ).encode()
        for name in ("gcc", "g++")
    }
    links: _Files = {f"bin/{name}": Link(f"x86_64-conda-linux-gnu-{name}") for name in ("gcc", "g++")}
    binary = {path: "binary" for path, file in moved.items() if PLACEHOLDER.encode() in file.read_bytes()}
    return [
        *sysroot_cuts(),
        Cut(
            name="gcc-libs",
            depends=["python-libs"],
            files={path: moved[path] for path in libraries},
            prefixed={path: kind for path, kind in binary.items() if path in libraries},
        ),
        Cut(
            name="gxx_impl_linux-64",
            version=f"{version}.2.0",
            depends=["sysroot_linux-64", "gcc-libs", "libstdcxx"],
            files=parts,
            prefixed={path: kind for path, kind in binary.items() if path in programs},
        ),
        Cut(
            name="gxx",
            version=f"{version}.2.0",
            depends=["gxx_impl_linux-64"],
            files={**wrappers, **links},
            prefixed=dict.fromkeys(wrappers, "text"),
        ),
    ]


def sysroot_cuts() -> list[Cut]:
    """Cut the C library's headers and what is linked with it."""
    place = Path("/usr/lib", _MACHINE)
    libraries = [file for file in sorted(Path("/lib", _MACHINE).iterdir()) if _LIBRARY.fullmatch(file.name)]
    files: _Files = {f"{SYSROOT}/usr/lib64/{file.name}": file.resolve() for file in libraries}
    for name in ("libc.so", "libm.so"):
        text = (place / name).read_text()
        text = re.sub(r"(/usr)?/lib(64|/x86_64-linux-gnu)/", "/usr/lib64/", text)
        files[f"{SYSROOT}/usr/lib64/{name}"] = text.encode()
    files |= {f"{SYSROOT}/usr/lib64/{name}": place / name for name in _STUBS}
    files |= {f"{SYSROOT}/usr/include/{file.name}": file for file in sorted(Path("/usr/include").glob("*.h"))}
    for headers in _C_HEADERS:
        target = headers.removeprefix(f"{_MACHINE}/")
        files |= _tree(Path("/usr/include", headers), f"{SYSROOT}/usr/include/{target}")
    files |= {f"{SYSROOT}/usr/lib": Link("lib64"), f"{SYSROOT}/lib64": Link("usr/lib64")}
    files[f"{SYSROOT}/lib"] = Link("lib64")
    through: _Files = {f"{SYSROOT}/usr/lib/{name}": place / name for name in _START}
    through[f"{SYSROOT}/lib/libc_nonshared.a"] = place / "libc_nonshared.a"
    return [
        # Said to be older than it may be: what it links runs on this machine only.
        Cut(name="sysroot_linux-64", version="2.34", depends=["libc-start"], files=files),
        Cut(name="libc-start", version="2.34", files=through),
    ]


def _said(option: str) -> str:
    done = subprocess.run(["g++", option], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _found(program: str) -> Path:
    path = shutil.which(program)
    assert path is not None, program
    return Path(path).resolve()


def _needs(programs: Iterable[Path]) -> Iterator[Path]:
    """Yield the libraries that *programs* load, but for those of the C library."""
    done = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=True)
    for path in sorted(set(re.findall(r"=> (/\S+)", done.stdout))):
        if not _LIBRARY.fullmatch(Path(path).name):
            yield Path(path)


def _with_prefix(source: Path, copy: Path) -> Path:
    """Return *source*, or where it loads libraries a *copy* that finds them in the prefix."""
    needs = subprocess.run([patchelf(), "--print-needed", source], capture_output=True, text=True, check=True)
    if all(_LIBRARY.fullmatch(name) for name in needs.stdout.split()):
        return source
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, copy)
    subprocess.run([patchelf(), "--set-rpath", f"{PLACEHOLDER}/lib", copy], check=True)
    return copy


def _tree(folder: Path, target: str) -> Mapping[str, bytes | Path | Link]:
    files: _Files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            files[f"{target}/{path.relative_to(folder)}"] = path.resolve()
    return files
