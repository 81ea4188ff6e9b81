"""A small archive whose every file has an origin, and what can be done to it: repacked with a manifest that agrees."""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from envbuilder.archive.manifest import MANIFEST_PATH, ManifestFile, manifest_beside, parse_manifest
from envbuilder.base.interpreter import Interpreter, describe
from envbuilder.config.settings import Settings
from envbuilder.lockfile.model import Artifact
from envbuilder.lockfile.pylock import write_lock
from envbuilder.recipe.model import PackOptions
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.verification.server.servers import ServerChoice
from envbuilder.verification.verify import VerifyRequest, verify
from tests.helpers.small import Small
from tests.helpers.wheels import (
    Zipped,
    record_hash,
    small_lock,
    small_recipe,
    wheel_members,
    write_artifact,
    write_wheel,
    zip_bytes,
)

SITE = "lib/python3.11/site-packages"
_USED = """
import importlib.util, marshal, os, struct, sys
print(*(module.__file__ for module in sys.modules.values() if getattr(module, "__file__", None)), sep="\\n")
"""
"""Asks a Python which of its files it starts with, and compiles with."""


def runnable(interpreter: Interpreter) -> PackOptions:
    """Leave out of a base all that its Python can do without when it compiles."""
    done = subprocess.run(
        [interpreter.executable, "-I", "-S", "-c", _USED], capture_output=True, text=True, check=True
    )
    used = {Path(line).resolve() for line in done.stdout.split()}
    used |= {path for path in (interpreter.stdlib / "encodings").glob("*.py") if path.name in _CODECS}
    patterns = (f"lib/python3.*/{pattern}" for pattern in _unused(interpreter.stdlib, "", used))
    return PackOptions(exclude=("include/**", *patterns))


def _unused(folder: Path, prefix: str, used: set[Path]) -> Iterator[str]:
    """Yield patterns of what in *folder* is not *used*; whole folders, where nothing in them is."""
    for path in sorted(folder.iterdir()):
        inside = path.resolve()
        if path.name in ("__pycache__", "site-packages") or inside in used:
            continue
        if not path.is_dir():
            yield f"{prefix}{path.name}"
        elif any(one.is_relative_to(inside) for one in used):
            yield from _unused(path, f"{prefix}{path.name}/", used)
        else:
            yield f"{prefix}{path.name}/**"


_CODECS = ("__init__.py", "aliases.py", "ascii.py", "latin_1.py", "utf_8.py")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """An archive, its lock, and the wheelhouse beside that."""

    folder: Path

    @property
    def archive(self) -> Path:
        """The archive as it was built."""
        (archive,) = (self.folder / "envs").glob("*.tar.gz")
        return archive

    @property
    def lock(self) -> Path:
        """Its lock."""
        return self.folder / "pylock.small.toml"

    @property
    def wheelhouse(self) -> Path:
        """The folder of its wheels."""
        return self.folder / "wheelhouse"

    @property
    def store(self) -> Path:
        """A store without artifacts that has verified it: it knows the interpreters, and what sources give."""
        return self.folder / "memory"

    def remember(self, store: Path) -> None:
        """Copy that into *store*, so that nothing of it is found out again."""
        for kind in ("interpreters", "origins"):
            shutil.copytree(self.store / kind, store / kind)


def make_origin(folder: Path, interpreter: Interpreter) -> None:
    """Build the archive in *folder*: of wheels with all that wheels have, and as much of an interpreter as compiles."""
    wheels = _write_wheels(folder / "wheels")
    recipe = small_recipe(folder, pack=runnable(interpreter))
    lock = small_lock(recipe, wheels, describe(interpreter))
    Small(folder=folder, recipe=recipe, lock=lock).build()
    write_lock(lock, folder / "pylock.small.toml")
    (folder / "wheels").rename(folder / "wheelhouse")
    origin = Origin(folder=folder)
    session = Session(settings=Settings(find_links=(str(origin.wheelhouse),)), store=Store.open(origin.store))
    report = verify(origin.archive, session, VerifyRequest(server=ServerChoice(ask=False), lock=lock))
    assert [check.status for check in report.checks if check.id == "manifest.origin"] == ["passed"]


def _write_wheels(folder: Path) -> list[Artifact]:
    data = "alpha-1.0.data"
    alpha: dict[str, bytes | Zipped] = {
        "alpha/__init__.py": b"VALUE = 1\n",
        "alpha/big.bin": random.Random(7).randbytes(100_000),
        "alpha/m1.py": b"def f(x=1):\n    return x\n",
        "alpha/m2.py": b"def f(x=2):\n    return x\n",
        "alpha/no_python.py": b"def f(:\n",
        f"{data}/scripts/tool": Zipped(
            name=f"{data}/scripts/tool", data=b"#!python\nprint(1)\n", mode=0o100755
        ),
        f"{data}/data/share/alpha.txt": b"alpha\n",
        f"{data}/headers/alpha.h": b"int alpha;\n",
    }
    lying = {
        "beta.py": Zipped(name="beta.py", data=b"import alpha\n"),
        "gamma.py": Zipped(name="gamma.py", data=b"import beta\n"),
    }
    members = wheel_members("beta", "1.0", lying)
    record = members[-1].data.replace(record_hash(b"import alpha\n").encode(), record_hash(b"other").encode())
    record = record.replace(record_hash(b"import beta\n").encode(), b"")
    members[-1] = replace(members[-1], data=record)
    version = b"__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\n"
    return [
        write_wheel(folder, "alpha", files=alpha, entry_points="[console_scripts]\nalpha = alpha:main\n"),
        write_artifact(folder, "beta", "1.0", zip_bytes(members)),
        write_wheel(folder, "numpy", "1.26.4"),
        write_wheel(folder, "torch", "2.13.0+cpu", files={"torch/version.py": version}),
    ]


Members = dict[str, tuple[tarfile.TarInfo, bytes]]
"""What an archive holds, in its order."""


def read_members(archive: Path) -> Members:
    """Read every member of *archive*."""
    members: Members = {}
    with tarfile.open(archive) as tar:
        for info in tar:
            file = tar.extractfile(info) if info.isreg() else None
            members[info.name] = (info, file.read() if file is not None else b"")
    return members


def add_file(members: Members, path: str, data: bytes, mode: int = 0o644) -> None:
    """Put a file there, or another one in its place."""
    info = tarfile.TarInfo(path)
    info.size, info.mode, info.mtime = len(data), mode, 315532800
    members[path] = (info, data)


def add_link(members: Members, path: str, target: str) -> None:
    """Put a link there."""
    info = tarfile.TarInfo(path)
    info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
    members[path] = (info, b"")


def repack(
    members: Members,
    folder: Path,
    *,
    name: str = "small",
    manifest: Callable[[dict[str, Any]], None] = lambda _: None,
) -> Path:
    """Write *members* as an archive of true name, with a manifest of them that *manifest* may change in the end."""
    text = members[MANIFEST_PATH][1]
    said = parse_manifest(text, where="test")
    listed = [one for path, one in members.items() if path != MANIFEST_PATH and not one[0].isdir()]
    files = [_listed(info, data) for info, data in listed]
    files.sort(key=lambda file: file.path.encode("utf-8", "surrogateescape"))
    agreed = replace(said, files=tuple(files), unpacked_size=sum(file.size for file in files)).text()
    data = json.loads(agreed)
    before = json.dumps(data)
    manifest(data)
    if json.dumps(data) != before:
        agreed = _as_written(data)
    add_file(members, MANIFEST_PATH, agreed.encode("utf-8", "surrogateescape"))
    return pack(members, folder, name=name)


def pack(members: Members, folder: Path, *, name: str = "small") -> Path:
    """Write *members* as they are, as an archive of true name, and the manifest among them beside it."""
    draft = folder / "draft"
    with tarfile.open(draft, "w:gz", compresslevel=1, format=tarfile.PAX_FORMAT) as tar:
        for info, content in members.values():
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
    digest = hashlib.sha256(draft.read_bytes()).hexdigest()
    archive = draft.rename(folder / f"{name}-{digest[:12]}.tar.gz")
    manifest_beside(archive).write_bytes(members[MANIFEST_PATH][1])
    return archive


def _as_written(data: dict[str, Any]) -> str:
    """Return a manifest as a build writes it, where it can be read as one."""
    text = json.dumps(data)
    try:
        return parse_manifest(text, where="test").text()
    except Exception:  # what cannot be read stays as it is
        return text


def _listed(info: tarfile.TarInfo, data: bytes) -> ManifestFile:
    content = info.linkname.encode("utf-8", "surrogateescape") if info.issym() else data
    return ManifestFile(
        path=info.name,
        mode=0o777 if info.issym() else info.mode,
        size=len(data),
        sha256=hashlib.sha256(content).hexdigest(),
        link=info.linkname if info.issym() else None,
    )
