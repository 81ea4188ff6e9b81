"""What real channels hold, cut from this machine: CPython and what it links, and wheels."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from pathlib import Path
from typing import Final

from envbuilder.archive.exclude import PackRules
from envbuilder.base.cpython import lay_out_base
from envbuilder.base.interpreter import Interpreter
from envbuilder.base.relocate import patchelf
from envbuilder.lockfile.model import CondaPackage
from envbuilder.util.files import file_sha256
from tests.helpers.channels import PLACEHOLDER, Cut, Link
from tests.helpers.environments import system_libstdcxx

LIBSTDCXX: Final = "12.2.0"
"""The GCC whose libstdc++ Debian 12 has: ``GLIBCXX_3.4.30``."""


def interpreter_cuts(interpreter: Interpreter, folder: Path, pack: PackRules | None = None) -> list[Cut]:
    """Cut *interpreter* into the packages that a channel has it in; their files are in *folder*, which must stay.

    As conda-build leaves them: RUNPATHs of modules relative, that of the program to be replaced when it is installed,
    ``_sysconfigdata`` and scripts with the prefix of the build in them.
    """
    folder.mkdir(parents=True)
    laid_out = lay_out_base(interpreter, folder, pack or PackRules())
    files: dict[str, bytes | Path | Link] = {}
    libraries: dict[str, bytes | Path | Link] = {}
    for entry in laid_out.entries:
        content = Link(entry.link) if entry.link is not None else entry.source or entry.data or b""
        library = re.fullmatch(r"lib/(?!libpython)[^/]+\.so[.\d]*", entry.path)
        (libraries if library else files)[entry.path] = content
    minor, prefixed = interpreter.minor, {}
    program = folder / f"bin/python{minor}"
    subprocess.run([patchelf(), "--set-rpath", f"{PLACEHOLDER}/lib", program], check=True)
    prefixed[f"bin/python{minor}"] = "binary"
    for path in interpreter.stdlib.glob("_sysconfigdata*.py"):
        text = path.read_text()
        for prefix in interpreter.prefixes:
            text = re.sub(re.escape(prefix) + r"(?=[/'\"\s:]|$)", PLACEHOLDER, text)
        files[f"lib/python{minor}/{path.name}"] = text.encode()
        prefixed[f"lib/python{minor}/{path.name}"] = "text"
    files["bin/where-python"] = (
        f"#!{PLACEHOLDER}/bin/python{minor} -I\nimport sys; print(sys.prefix)\n".encode()
    )
    files["etc/conda/activate.d/base.sh"] = f'export BASE_DATA="{PLACEHOLDER}/share/base"\n'.encode()
    files["share/base/where.txt"] = f"{PLACEHOLDER}/share/base\n".encode()
    prefixed |= dict.fromkeys(
        ("bin/where-python", "etc/conda/activate.d/base.sh", "share/base/where.txt"), "text"
    )
    return [
        Cut(
            name="libgcc",
            version=LIBSTDCXX,
            files={"lib/libgcc_s.so.1": Path("/lib/x86_64-linux-gnu/libgcc_s.so.1")},
        ),
        Cut(
            name="libstdcxx",
            version=LIBSTDCXX,
            depends=["libgcc"],
            files={
                "lib/libstdc++.so.6.0.30": system_libstdcxx(),
                "lib/libstdc++.so.6": Link("libstdc++.so.6.0.30"),
            },
        ),
        Cut(name="python-libs", depends=["__glibc >=2.17"], files=libraries),
        Cut(
            name="python",
            version=interpreter.version,
            build="h1_0",
            depends=["libgcc >=12", "python-libs"],
            files=files,
            prefixed=prefixed,
        ),
    ]


def greeting_cut() -> Cut:
    """A noarch Python package with an entry point."""
    info = "site-packages/greeting-1.0.dist-info"
    return Cut(
        name="greeting",
        noarch="python",
        build="py_0",
        depends=["python >=3.8"],
        files={
            "site-packages/greeting.py": b"def main():\n    print('hello')\n",
            f"{info}/METADATA": b"Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n",
        },
        entry_points=["greeting = greeting:main"],
    )


def fake_cut(name: str, version: str = "1.0", **changes: object) -> Cut:
    """A package with one small file."""
    cut = Cut(name=name, version=version, files={f"share/{name}.txt": f"{name} {version}\n".encode()})
    return dataclasses.replace(cut, **changes)  # type: ignore[arg-type]  # as a test names them


def numpy_cut(version: str = "1.26.4") -> Cut:
    """A package of NumPy whose metadata asks for what no index has."""
    info = f"lib/python3.11/site-packages/numpy-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: numpy\nVersion: {version}\nRequires-Dist: nothing-like-it\n"
    return Cut(
        name="numpy",
        version=version,
        build="py311_0",
        depends=["python 3.11.*"],
        files={
            "lib/python3.11/site-packages/numpy.py": f"VERSION = {version!r}\n".encode(),
            f"{info}/METADATA": metadata.encode(),
        },
    )


def locked(cut: Cut, path: Path) -> CondaPackage:
    """Return what a lock says of the package of *cut* at *path*, of the channel ``own``."""
    return CondaPackage(
        name=cut.name,
        version=cut.version,
        build=cut.build,
        channel="own",
        subdir=cut.subdir,
        filename=path.name,
        sha256=file_sha256(path),
        size=path.stat().st_size,
    )
