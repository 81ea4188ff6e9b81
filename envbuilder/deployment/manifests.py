"""Manifests that their owner may edit: the first line of each names its model and the digest of the text as written.

``# envbuilder: model "net", sha256 <of the lines below, as they were written>``. So a deployment without changes
leaves an edited file alone, and one with changes does not overwrite the edits.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envbuilder.errors import DeployError
from envbuilder.util.files import read_regular

_FIRST: Final = re.compile(rb'# envbuilder: model ("(?:[^"\\\n]|\\.)*"), sha256 ([0-9a-f]{64})\n')
_MOST: Final = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifests:
    """The manifests to write, by path."""

    files: Mapping[Path, bytes]
    overwritten: tuple[str, ...]
    """The files among them that deployments did not write, or that were edited."""


def plan_manifests(texts: Mapping[Path, str], model: str, *, replace: bool) -> Manifests:
    """Decide which of *texts*, the manifests of *model* by path, to write.

    Raises:
        DeployError: one was not written by a deployment, is another model's, or was edited, and *replace* is false.
    """
    files: dict[Path, bytes] = {}
    overwritten = []
    for path, text in texts.items():
        body = text.encode()
        digest = hashlib.sha256(body).hexdigest()
        found = _read(path)
        first = _FIRST.match(found or b"")
        if found is not None and first is not None:
            _check_model(path, first[1], model)
        said = first[2].decode() if first is not None else None
        if said == digest:
            continue  # as it was written, or with its owner's edits
        ours = found in (None, body) or (
            first is not None and hashlib.sha256((found or b"")[first.end() :]).hexdigest() == said
        )
        if not ours:
            if not replace:
                what = (
                    "was edited since it was written"
                    if first is not None
                    else "was not written by a deployment"
                )
                raise DeployError(
                    f"{path} {what}, and would be overwritten",
                    hint="move it away and make your edits again in the new one, or use --replace, which discards them",
                )
            overwritten.append(str(path))
        files[path] = f"# envbuilder: model {json.dumps(model)}, sha256 {digest}\n".encode() + body
    return Manifests(files=files, overwritten=tuple(overwritten))


def _read(path: Path) -> bytes | None:
    try:
        return read_regular(path, most=_MOST)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DeployError(f"{path} cannot be read: {error.strerror}", hint="move it away") from error


def _check_model(path: Path, quoted: bytes, model: str) -> None:
    try:
        other = json.loads(quoted)
    except ValueError:
        other = None
    if other != model:
        raise DeployError(
            f"{path} is the manifest of model {quoted.decode(errors='replace')}, whose name in Kubernetes is the same",
            hint="deploy one of them under another --name, or with another folder as --manifests",
        )
