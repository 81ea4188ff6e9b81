"""Environments whose packages can be imported: a tree of tests.helpers.environments, run by the tests' own Python."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from envbuilder.archive.manifest import MANIFEST_PATH
from envbuilder.progress import SILENT
from envbuilder.verification.live.launch import Sandbox
from envbuilder.verification.static.extracted import Archive, open_archive
from tests.helpers.environments import SITE, Tree, environment, manifest, pack


def distribution(
    name: str,
    files: Mapping[str, bytes | str],
    *,
    version: str = "1.0",
    requires: tuple[str, ...] = (),
    left_out: tuple[str, ...] = (),
) -> Tree:
    """An installed package of *files*, by their path in site-packages; those *left_out* are in its RECORD only."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {one}" for one in requires)]
    rows = [*files, f"{info}/METADATA", f"{info}/RECORD"]
    tree: Tree = {
        f"{SITE}/{info}/METADATA": ("Metadata-Version: 2.1\n" + "\n".join(lines) + "\n").encode(),
        f"{SITE}/{info}/RECORD": "".join(f"{row},,\n" for row in rows).encode(),
    }
    for path, content in files.items():
        if path not in left_out:
            tree[f"{SITE}/{path}"] = content.encode() if isinstance(content, str) else content
    return tree


def opened(
    tree: Tree,
    folder: Path,
    *,
    exclude: tuple[str, ...] = (),
    system_libraries: tuple[str, ...] = (),
) -> tuple[Archive, Sandbox]:
    """The archive of *tree* and a little more, extracted in a place where its packages can be imported."""
    python = Path(sys.executable).resolve()
    # The library that stands for libpython there would be loaded.
    whole: Tree = {
        path: data for path, data in environment().items() if "/torch" not in path and "libpython" not in path
    }
    whole |= tree
    whole |= {"bin/python3": os.fspath(python), "pyvenv.cfg": f"home = {python.parent}\n".encode()}
    listed = dataclasses.replace(
        manifest(whole), pack={"exclude": list(exclude)}, system_libraries=system_libraries
    )
    whole[MANIFEST_PATH] = listed.text().encode()
    sandbox = Sandbox.make(folder / "root", isolate=False)
    return open_archive(pack(whole, folder), sandbox.environment, lambda _: [], SILENT), sandbox
