"""The table of all keys of a recipe, for the parser, the editors' schema, and ``init``."""

from __future__ import annotations

import functools
import json
from typing import Any, Final

from envbuilder.catalog.triton import PYTRITON
from envbuilder.util.plugins import installed
from envbuilder.util.yaml import Key, schema_of

SCHEMA_FILE = "recipe.schema.json"

CUDA_PATTERN = r"cpu|pypi|cu[0-9]{3}"
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_-]{0,199}"
"""A recipe's name is part of file names: ``pylock.<name>.toml``, which PEP 751 allows no further dot, and
``<name>-<digest>.tar.gz``, of which a file system takes 255 bytes."""
SONAME_PATTERN = r"lib[\w.+-]*\.so(\.[\w.+-]+)?"

PROVIDERS: Final = "envbuilder.providers"
"""The entry-point group of base providers, see :class:`envbuilder.base.providers.BaseProvider`."""

_COMPILE_KEYS = {
    "fullgraph": Key(kind="boolean", doc="fail if the model has graph breaks"),
    "dynamic": Key(kind="boolean", doc="use dynamic shapes from the start"),
    "backend": Key(kind="text", doc="the compiler backend", examples=("inductor",)),
    "mode": Key(kind="text", doc="a set of options by name", examples=("reduce-overhead", "max-autotune")),
    "options": Key(kind="mapping", doc="options of the backend; not together with mode"),
    "disable": Key(kind="boolean", doc="torch.compile does nothing"),
}

PACK_KEYS = {
    "bytecode": Key(kind="boolean", doc="compiled .pyc files in the archive (halves the import of torch)"),
    "level": Key(
        kind="integer", doc="zlib level for members that envbuilder compresses", minimum=0, maximum=9
    ),
    "uncompressed": Key(kind="boolean", doc="a plain tar: larger, extracted faster"),
    "exclude": Key(
        kind="list of texts",
        doc="glob patterns of paths in the environment to leave out, instead of the default rules; [] keeps all",
        examples=(["**/tests/**"],),
    ),
}

_LICENCE_KEYS = {
    "allow": Key(
        kind="list of texts", doc="SPDX identifiers; * stands for any text", examples=(["MIT", "BSD-*"],)
    ),
    "deny": Key(kind="list of texts", doc="SPDX identifiers that may not be in it", examples=(["AGPL-*"],)),
    "packages": Key(kind="mapping", doc="an SPDX expression for a package that states none, or a wrong one"),
}

_AUDIT_KEYS = {
    "advisories": Key(
        kind="text",
        doc="a folder or archive of OSV records, relative to the recipe's folder",
        required=True,
    ),
    "ignore": Key(kind="list of texts", doc="advisories to ignore", examples=(["CVE-2026-1234"],)),
}

VERIFY_KEYS = {
    "model": Key(kind="text", doc="a model directory to load, relative to the recipe's folder"),
    "compile": Key(kind="mapping", doc="options of torch.compile for that model", keys=_COMPILE_KEYS),
    "server": Key(kind="boolean", doc="also verify with a real tritonserver, if one is available"),
    "inputs": Key(
        kind="text",
        doc="requests for the model: an .npz, or perf_analyzer's JSON, relative to the recipe's folder",
    ),
    "expected": Key(kind="text", doc="the answers to expect, in the same formats"),
    "rtol": Key(kind="number", doc="the relative difference allowed between an answer and the expected one"),
    "atol": Key(kind="number", doc="the absolute difference allowed in addition"),
    "sbom": Key(
        kind="boolean",
        doc="check that a CycloneDX document of the archive can be made and follows its schema",
    ),
    "licences": Key(kind="mapping", doc="which licences may be in the archive", keys=_LICENCE_KEYS),
    "audit": Key(
        kind="mapping", doc="check that no advisory applies to the contents of the archive", keys=_AUDIT_KEYS
    ),
}

KEYS = {
    "triton": Key(
        kind="text",
        matrix=True,
        doc=f"the Triton release that loads the environment: YY.MM, or {PYTRITON}",
        required=True,
        pattern=rf"^(\d\d\.(0[1-9]|1[0-2])|{PYTRITON.replace('.', chr(92) + '.')})$",
        examples=("25.06", PYTRITON),
    ),
    "torch": Key(
        kind="text",
        matrix=True,
        doc="the version of torch, without a local part",
        required=True,
        pattern=r"^\d+\.\d+(\.\d+)?$",
        examples=("2.11.0",),
    ),
    "cuda": Key(
        kind="text",
        matrix=True,
        doc="the build of torch: cpu, cuXYZ (both from PyTorch's index), or pypi (the package index's own)",
        required=True,
        pattern=f"^({CUDA_PATTERN})$",
        examples=("cpu", "cu126", "pypi"),
    ),
    "dependencies": Key(
        kind="list of texts",
        doc="PEP 508 requirements besides torch; -r FILE takes its lines; wheels (./x.whl), folders (x @ ../x) and git "
        "references are pinned by hash",
        examples=(["numpy", "safetensors"],),
    ),
    "constraints": Key(
        kind="list of texts",
        doc="versions for indirect dependencies: NAME==1.2, or -r FILE with such lines",
        examples=(["urllib3<2"],),
    ),
    "prereleases": Key(kind="boolean", doc="allow pre-releases of every package"),
    "build-from-source": Key(
        kind="list of texts",
        doc="projects that may be built from source, once, when the recipe is locked; for others, only wheels are used",
        examples=(["flash-attn"],),
    ),
    "exclude-dependencies": Key(
        kind="list of texts",
        doc="projects that are not installed although others require them: one of two that provide the same files",
        examples=(["opencv-python"],),
    ),
    "python": Key(
        kind="text",
        matrix=True,
        doc="minor version of Python, where the release leaves a choice",
        pattern=r"^3\.\d+$",
        examples=("3.12",),
    ),
    "provider": Key(
        kind="text",
        doc="where the base comes from: a CPython of this machine, conda channels, or a plugin",
        choices=("cpython", "conda"),
        more=functools.partial(installed, PROVIDERS),
    ),
    "channels": Key(
        kind="list of texts",
        doc="conda channels, highest priority first: a name, an address, or a folder (./channel)",
        examples=(["conda-forge"],),
    ),
    "conda": Key(
        kind="list of texts",
        doc="match specs of conda packages; Python and libstdc++ are always included; pytorch takes torch from conda",
        examples=(["pytorch", "ffmpeg >=6"],),
    ),
    "link-scripts": Key(
        kind="list of texts",
        doc="conda packages whose post-link scripts may run when the base is made; others do not run",
    ),
    "anaconda-terms": Key(
        kind="text",
        doc="Anaconda's own channels (defaults, main, …) are used under its terms of service, which bind companies",
        choices=("accepted",),
    ),
    "compiler": Key(
        kind="text",
        doc="what torch.compile may use when serving; bundled (conda): g++ and its sysroot are in the environment",
        choices=("none", "system", "bundled"),
        examples=("none",),
    ),
    "system-libraries": Key(
        kind="list of texts",
        doc="sonames that your own image has in addition to the release's: verify treats them as present",
        examples=(["libGL.so.1"],),
    ),
    "exclude-newer": Key(
        kind="date",
        doc="resolve as of that day: later uploads are ignored",
        pattern=r"^\d{4}-\d\d-\d\d$",
        examples=("2026-10-01",),
    ),
    "pack": Key(kind="mapping", doc="how the archive is written", keys=PACK_KEYS),
    "verify": Key(kind="mapping", doc="what `envbuilder verify` loads", keys=VERIFY_KEYS),
}


def schema() -> dict[str, Any]:
    """Return the JSON schema of a recipe, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:envbuilder:schema:recipe:1",
        "title": "envbuilder recipe",
        "description": "One recipe: a Triton release, a torch version, a CUDA variant, dependencies",
    } | schema_of(KEYS)


def schema_text() -> str:
    """Return the text of the file :data:`SCHEMA_FILE`."""
    return json.dumps(schema(), indent=2) + "\n"
