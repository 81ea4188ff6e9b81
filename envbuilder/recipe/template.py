"""The commented starter recipe."""

from __future__ import annotations

from envbuilder.catalog.torch import table
from envbuilder.catalog.triton import PYTRITON, Release, find_release
from envbuilder.recipe.schema import KEYS, PACK_KEYS, SCHEMA_FILE, VERIFY_KEYS

_DEFAULT_PYTHON = "3.11"
"""The newest Python for which every torch since 2.0 has wheels."""


DEFAULT_TORCH = "2.13.0"


def template(name: str, triton: str | None = None, torch: str | None = None, cuda: str | None = None) -> str:
    """Return a commented starter recipe called *name*; values for None are chosen to fit the rest.

    Raises:
        RecipeError: the release is unknown.
    """
    triton, cuda = triton or PYTRITON, cuda or "cpu"
    torch = torch or _torch_for(cuda)
    release = find_release(triton)
    free = len(release.pythons) > 1
    python = _DEFAULT_PYTHON if _DEFAULT_PYTHON in release.pythons else release.pythons[-1]
    head = [
        (f'triton: "{triton}"', KEYS["triton"].doc),
        (f'torch: "{torch}"', KEYS["torch"].doc),
        (f"cuda: {cuda}", KEYS["cuda"].doc),
        (f'python: "{python}"' if free else f'# python: "{python}"', _choice(release)),
    ]
    more = [
        ("# provider: cpython", f"{KEYS['provider'].doc} (channels:, conda:)"),
        ("# compiler: none", KEYS["compiler"].doc),
        ("# system-libraries: [libGL.so.1]", KEYS["system-libraries"].doc),
        ("# exclude-newer: 2026-10-01", KEYS["exclude-newer"].doc),
        ("# pack:", KEYS["pack"].doc),
        *((f"#   {key}: {_SAMPLES[key]}", PACK_KEYS[key].doc) for key in PACK_KEYS),
        ("# verify:", KEYS["verify"].doc),
        *((f"#   {key}: {_SAMPLES[key]}", VERIFY_KEYS[key].doc) for key in VERIFY_KEYS),
    ]
    return "\n".join(
        [
            f"# yaml-language-server: $schema={SCHEMA_FILE}",
            f"# {name}: `envbuilder lock {name}`, then `envbuilder build {name}`.",
            "",
            *_in_columns(head),
            "",
            f"# {KEYS['dependencies'].doc}",
            f"# The release itself adds: {', '.join(release.demands)}",
            "dependencies:",
            "  - numpy",
            "  - safetensors",
            "",
            *_in_columns(more),
            "",
        ]
    )


_SAMPLES = {
    "bytecode": "true",
    "level": "4",
    "uncompressed": "false",
    "exclude": "[]",
    "model": "../models/mine",
    "compile": "{dynamic: true}",
    "server": "true",
    "inputs": "../models/mine.npz",
    "expected": "../models/expected.npz",
    "rtol": "1e-4",
    "atol": "1e-5",
    "sbom": "true",
    "licences": '{deny: ["AGPL-*"]}',
    "audit": "{advisories: ../advisories}",
}


def _torch_for(cuda: str) -> str:
    """Return the version of torch to propose for *cuda*: the default, or the newest that was built for it."""
    known = [build.version for build in table() if cuda in build.variants]
    return DEFAULT_TORCH if DEFAULT_TORCH in known or not known else known[-1]


def _choice(release: Release) -> str:
    *others, last = release.pythons
    if others:
        return f"the release has a stub for {', '.join(others)} and {last}"
    return "decided by the release"


def _in_columns(lines: list[tuple[str, str]]) -> list[str]:
    width = max(len(text) for text, _ in lines)
    return [f"{text:{width}}  # {comment}" for text, comment in lines]
