"""Environments that other tools made: conda prefixes, conda-pack's archives of them, and venvs."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import conda_pack
import rattler
from uv import find_uv_bin

from envbuilder.store.local import Store
from tests.helpers.environments import Tree, add


def make_prefix(channel: Path, prefix: Path, specs: Sequence[str]) -> Path:
    """Install the packages *specs* of *channel* into *prefix*, as conda and mamba do."""

    async def install() -> None:
        records = await rattler.solve(
            sources=[str(channel)],
            specs=list(specs),
            platforms=["linux-64", "noarch"],
            virtual_packages=rattler.VirtualPackage.detect(rattler.VirtualPackageOverrides.from_env()),
        )
        await rattler.install(
            records, target_prefix=str(prefix), cache_dir=prefix.with_name(f"{prefix.name}-cache")
        )

    asyncio.run(install())
    return prefix


def pip_install(python: Path, wheels: Sequence[Path], cache: Path) -> None:
    """Install *wheels* into the environment of *python*, and nothing else."""
    environment = {"PATH": os.defpath, "UV_CACHE_DIR": str(cache), "HOME": str(cache)}
    command = [find_uv_bin(), "pip", "install", "--no-config", "--no-index", "--no-deps", "--quiet"]
    subprocess.run(
        [*command, "--link-mode", "hardlink", "--python", str(python), *map(str, wheels)],
        check=True,
        env=environment,
    )


def named_wheels(artifacts: Sequence[object], store: Store, folder: Path) -> list[Path]:
    """Return the wheels of a lock that *store* has, under their names in *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for one in artifacts:
        path = store.find_artifact(one.sha256, one.size)  # type: ignore[attr-defined]
        assert path is not None, one
        wheel = folder / one.filename  # type: ignore[attr-defined]
        if not wheel.exists():
            wheel.symlink_to(path)
        found.append(wheel)
    return found


def conda_packed(prefix: Path, output: Path, **options: object) -> Path:
    """Pack *prefix* with conda-pack."""
    conda_pack.pack(prefix=str(prefix), output=str(output), verbose=False, compress_level=1, **options)
    return output


def repacked(
    archive: Path,
    output: Path,
    *,
    gone: Sequence[str] = (),
    more: Tree | None = None,
    rename: Callable[[str], str] = str,
) -> Path:
    """Write *archive* again as a plain tar: without what matches a pattern of *gone*, renamed, and with *more*."""
    with tarfile.open(archive) as old, tarfile.open(output, "w") as new:
        for member in old:
            if not any(re.fullmatch(pattern, member.name) for pattern in gone):
                data = old.extractfile(member) if member.isreg() else None
                member.name = rename(member.name)
                new.addfile(member, data)
        for path, content in (more or {}).items():
            add(new, path, content)
    return output
