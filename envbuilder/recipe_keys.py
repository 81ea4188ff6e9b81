"""Every key of a recipe, in one table: what the parser checks, what editors know, what ``init`` writes."""

from __future__ import annotations

from typing import Any

from envbuilder.triton import PYTRITON, find_release
from envbuilder.yaml_values import Key, schema_of

SCHEMA_FILE = "recipe.schema.json"

CUDA_PATTERN = r"cpu|pypi|cu[0-9]{3}"
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_-]*"
"""A recipe's name is part of file names (``pylock.<name>.toml``, which PEP 751 allows no further dot)."""

_COMPILE_KEYS = {
    "fullgraph": Key(kind="boolean", doc="the whole model is one graph, or an error"),
    "dynamic": Key(kind="boolean", doc="sizes of tensors are symbols from the start"),
    "backend": Key(kind="text", doc="who compiles", examples=("inductor",)),
    "mode": Key(kind="text", doc="a set of options by name", examples=("reduce-overhead", "max-autotune")),
    "options": Key(kind="mapping", doc="options of the backend; not together with mode"),
    "disable": Key(kind="boolean", doc="torch.compile does nothing"),
}

_PACK_KEYS = {
    "bytecode": Key(kind="boolean", doc="compiled .pyc files in the archive (halves the import of torch)"),
    "level": Key(kind="integer", doc="zlib level of what is compressed by us", minimum=0, maximum=9),
    "uncompressed": Key(kind="boolean", doc="a plain tar: larger, extracted faster"),
    "exclude": Key(
        kind="list of texts",
        doc="glob patterns of paths in the environment to leave out, instead of the default rules; [] keeps all",
        examples=(["**/tests/**"],),
    ),
}

_VERIFY_KEYS = {
    "model": Key(kind="text", doc="a model directory to load, relative to the recipe's folder"),
    "compile": Key(kind="mapping", doc="options of torch.compile for that model", keys=_COMPILE_KEYS),
    "server": Key(kind="boolean", doc="ask a real tritonserver, where one is at hand"),
}

KEYS = {
    "triton": Key(
        kind="text",
        doc=f"the Triton release that loads the environment: YY.MM, or {PYTRITON}",
        required=True,
        pattern=rf"^(\d\d\.(0[1-9]|1[0-2])|{PYTRITON.replace('.', chr(92) + '.')})$",
        examples=("25.06", PYTRITON),
    ),
    "torch": Key(
        kind="text",
        doc="the version of torch, without a local part",
        required=True,
        pattern=r"^\d+\.\d+(\.\d+)?$",
        examples=("2.11.0",),
    ),
    "cuda": Key(
        kind="text",
        doc="the build of torch: cpu, cuXYZ (both from PyTorch's index), or pypi (the package index's own)",
        required=True,
        pattern=f"^({CUDA_PATTERN})$",
        examples=("cpu", "cu126", "pypi"),
    ),
    "dependencies": Key(
        kind="list of texts",
        doc="PEP 508 requirements besides torch; local wheels (./x.whl) and git references are pinned by hash",
        examples=(["numpy", "safetensors"],),
    ),
    "python": Key(
        kind="text",
        doc="minor version of Python, where the release leaves a choice",
        pattern=r"^3\.\d+$",
        examples=("3.12",),
    ),
    "provider": Key(kind="text", doc="where the base comes from", choices=("cpython",)),
    "compiler": Key(
        kind="text",
        doc="what torch.compile may use when serving",
        choices=("none", "system"),
        examples=("none",),
    ),
    "exclude-newer": Key(
        kind="date",
        doc="resolve as of that day: what was uploaded later does not exist",
        pattern=r"^\d{4}-\d\d-\d\d$",
        examples=("2026-10-01",),
    ),
    "pack": Key(kind="mapping", doc="how the archive is written", keys=_PACK_KEYS),
    "verify": Key(kind="mapping", doc="what `envbuilder verify` loads", keys=_VERIFY_KEYS),
}


def schema() -> dict[str, Any]:
    """Return the JSON schema of a recipe, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "envbuilder recipe",
        "description": "One recipe: a Triton release, a torch version, a CUDA variant, dependencies",
    } | schema_of(KEYS)


def template(name: str, triton: str = PYTRITON, torch: str = "2.13.0", cuda: str = "cpu") -> str:
    """Return a commented recipe called *name* to start from.

    Raises:
        RecipeError: no such release.
    """
    release = find_release(triton)
    if len(release.pythons) > 1:
        python = f'python: "{release.pythons[-2]}"             # this release has a stub for {_words(release.pythons)}'
    else:
        python = f'# python: "{release.pythons[0]}"           # decided by the release'
    demands = ", ".join(release.demands)
    return f"""\
# yaml-language-server: $schema={SCHEMA_FILE}
# {name}: `envbuilder lock {name}`, then `envbuilder build {name}`.

triton: "{triton}"         # {KEYS["triton"].doc}
torch: "{torch}"           # {KEYS["torch"].doc}
cuda: {cuda}                 # {KEYS["cuda"].doc}
{python}

# {KEYS["dependencies"].doc}
# The release itself adds: {demands}
dependencies:
  - numpy
  - safetensors

# compiler: none             # {KEYS["compiler"].doc}: none or system
# exclude-newer: 2026-10-01  # {KEYS["exclude-newer"].doc}
# pack:
#   bytecode: true           # {_PACK_KEYS["bytecode"].doc}
#   level: 4                 # {_PACK_KEYS["level"].doc}
#   exclude: []              # {_PACK_KEYS["exclude"].doc}
# verify:
#   model: ../models/{name}  # {_VERIFY_KEYS["model"].doc}
#   compile: {{dynamic: true}}
"""


def _words(items: tuple[str, ...]) -> str:
    return f"{', '.join(items[:-1])} and {items[-1]}"
