"""Small archives that say what a test wants of their packages."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envbuilder.archive.manifest import (
    MANIFEST_PATH,
    Manifest,
    ManifestFile,
    ManifestInterpreter,
    ManifestPackage,
)
from envbuilder.inventory.components import Component, Inventory, inventory_of
from envbuilder.inventory.read import Texts

SITE = "lib/python3.11/site-packages"
MIT = (
    "Copyright (c) 2026 Nobody\n\nPermission is hereby granted, free of charge, to any person obtaining a copy\n"
    "of this software, subject to the following conditions:\n\nThe above copyright notice and this permission notice\n"
    "shall be included in all copies.\n"
)
BSD = (
    "Redistribution and use in source and binary forms are permitted provided that\n"
    "* Redistributions of source code must retain the above copyright notice.\n"
    "* Neither the name of the copyright holder nor the names of its contributors may be used.\n"
)
CUDA_EULA = (
    "End User License Agreement\n--------------------------\n\nPreface\n-------\n\nThe Software License Agreement in\n"
    "Chapter 1 and the Supplement in Chapter 2 contain license terms.\n\nNVIDIA CUDA Toolkit\n"
)


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package of an archive."""

    name: str
    version: str = "1.0"
    headers: Sequence[str] = ()
    """Lines of its METADATA, besides name and version."""
    licences: Mapping[str, str] = field(default_factory=dict)
    """Files of its ``.dist-info``."""
    place: str = SITE
    filename: str | None = None

    @property
    def texts(self) -> dict[str, bytes]:
        """What it writes into an archive, as far as it describes it."""
        folder = f"{self.place}/{self.name.replace('-', '_')}-{self.version}.dist-info"
        lines = ["Metadata-Version: 2.4", f"Name: {self.name}", f"Version: {self.version}", *self.headers]
        files = {f"{folder}/METADATA": ("\n".join(lines) + "\n\nWords.\n").encode()}
        return files | {f"{folder}/{path}": text.encode() for path, text in self.licences.items()}


def manifest_of(*packages: Package, python: str = "3.11.7", **values: Any) -> Manifest:
    """The manifest of an archive with *packages*."""
    known: dict[str, Any] = {
        "recipe": "small",
        "recipe_digest": "1" * 64,
        "lock_digest": "2" * 64,
        "release": "pytriton-0.7.0",
        "python": python,
        "torch": "2.13.0+cpu",
        "cuda": "cpu",
        "interpreter": ManifestInterpreter(
            version=python, origin="host", digest="3" * 64, locked_digest="3" * 64
        ),
        "demands": ("numpy<2",),
        "packages": tuple(
            ManifestPackage(
                name=one.name,
                version=one.version,
                filename=one.filename or f"{one.name.replace('-', '_')}-{one.version}-py3-none-any.whl",
                sha256=hashlib.sha256(one.name.encode()).hexdigest(),
                size=1000,
            )
            for one in packages
            if one.place == SITE
        ),
        "glibc": "2.28",
        "glibcxx": "3.4.22",
        "pack": {"level": 4},
        "tools": {"envbuilder": "0.1.0"},
        "unpacked_size": 10,
        "files": (),
    }
    return Manifest(**{**known, **values})


def files_at(*paths: str) -> tuple[ManifestFile, ...]:
    """Return what a manifest says of files at *paths*."""
    return tuple(ManifestFile(path=path, mode=0o755, size=10, sha256="4" * 64) for path in paths)


def texts_of(*packages: Package, more: Mapping[str, bytes] | None = None, **values: Any) -> Texts:
    """What describes an archive with *packages*."""
    files = {MANIFEST_PATH: manifest_of(*packages, **values).text().encode()}
    for one in packages:
        files |= one.texts
    return Texts(sha256="a" * 64, size=1234, files=files | dict(more or {}))


def inventory(*packages: Package, more: Mapping[str, bytes] | None = None, **values: Any) -> Inventory:
    """The inventory of an archive with *packages*."""
    return inventory_of(texts_of(*packages, more=more, **values), Path("small-aaaaaaaaaaaa.tar.gz"))


def component(package: Package, **values: Any) -> Component:
    """The only package of an archive."""
    (found,) = (one for one in inventory(package, **values).components if one.kind in ("conda", "wheel"))
    return found


def write_archive(path: Path, *packages: Package, more: Mapping[str, bytes] | None = None) -> Path:
    """Write an archive that describes *packages*, and nothing else."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in texts_of(*packages, more=more).files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path
