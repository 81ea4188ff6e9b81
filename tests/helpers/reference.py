"""Pages of the reference that are made from the code. `python -m tests.helpers.reference` writes them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import envbuilder
from envbuilder import errors
from envbuilder.catalog.python_backend import ADDITIONS
from envbuilder.catalog.triton import PYTRITON, find_release
from envbuilder.recipe.schema import KEYS
from envbuilder.util.yaml import Key

RANGES = {
    "23.08": "23.08 to 24.10",
    "24.11": "24.11 to 25.07",
    "25.08": "25.08 to 26.05",
    "26.06": "26.06 and later",
    PYTRITON: f"{PYTRITON} (24.10, in a wheel)",
}
"""The first release of each range of equal ones."""


def recipe_page() -> Iterator[str]:
    """Every key of a recipe."""
    yield "# Recipe\n"
    yield (
        "A recipe is a YAML file; the file's name is the recipe's. `envbuilder init NAME` writes one with comments. "
        "Editors complete and check it by [recipe.schema.json](../schemas/recipe.schema.json). An unknown key is an "
        "error, with the nearest known one.\n"
    )
    yield from _keys(KEYS, ())


def _keys(keys: Mapping[str, Key], above: tuple[str, ...]) -> Iterator[str]:
    yield f"\n## {'.'.join(above)}\n" if above else "\n## Top level\n"
    yield "| key | kind | meaning | example |\n|---|---|---|---|"
    for name, key in keys.items():
        example = f"`{json.dumps(key.examples[0])}`" if key.examples else ""
        kind = f"{key.kind}, required" if key.required else key.kind
        if key.matrix:
            kind += "; a list with `--matrix`"
        choices = f" ({', '.join(f'`{choice}`' for choice in key.choices)})" if key.choices else ""
        yield f"| `{name}` | {kind} | {_cell(key.doc)}{choices} | {_cell(example)} |"
    for name, key in keys.items():
        if key.keys:
            yield from _keys(key.keys, (*above, name))


def exit_codes_page() -> Iterator[str]:
    """Every exit code."""
    yield "# Exit codes\n"
    yield "| code | meaning | in Python |\n|---|---|---|"
    yield "| 0 | done | |"
    found = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    kinds = [kind for kind in found if issubclass(kind, errors.EnvbuilderError)]
    for kind in sorted(kinds, key=lambda kind: (kind.exit_code, kind.__name__)):
        yield f"| {kind.exit_code} | {_cell((inspect.getdoc(kind) or '').partition(chr(10))[0])} | `{kind.__name__}` |"
    yield "| 9 | With `--plan`, `apply` and `patch` found something to do. | |"
    yield "| 129, 130, 143 | ended by SIGHUP, SIGINT, SIGTERM | `KeyboardInterrupt` |"


def releases_page() -> Iterator[str]:
    """What each Triton release requires."""
    yield "# Triton releases\n"
    yield (
        "What a release requires of an environment, read in the Python backend's and the core's source on each release "
        "branch, and measured on real servers. `verify` replays it.\n"
    )
    yield "| release | Python | glibc | libstdc++: image, stub | launch | extraction | goes into every environment |"
    yield "|---|---|---|---|---|---|---|"
    for first, title in RANGES.items():
        release = find_release(first)
        demands = ", ".join(f"`{demand}`" for demand in release.demands)
        yield (
            f"| {title} | {', '.join(release.pythons)} | {release.glibc or 'of the host'} | "
            f"GLIBCXX_{release.glibcxx}, {release.stub_glibcxx} | {release.launch} | {release.extraction} | {demands} |"
        )
    yield "\n## What a model may use of `triton_python_backend_utils`\n"
    yield (
        "What came after 23.08, with the pull request of `triton-inference-server/python_backend` that brought it; "
        "`pytriton-0.7.0` is 24.10. In the probe a model finds what its release has.\n"
    )
    yield "| since | what | pull request |"
    yield "|---|---|---|"
    for since, request in dict.fromkeys((one.release, one.request) for one in ADDITIONS):
        names = [one.name for one in ADDITIONS if (one.release, one.request) == (since, request)]
        yield f"| {since} | {', '.join(name if ' ' in name else f'`{name}`' for name in names)} | {request} |"


def python_page() -> Iterator[str]:
    """Every public name."""
    yield "# Python API, every name\n"
    yield "What is not here may change in any release. [Python API](../python-api.md) shows how to use it.\n"
    for name in envbuilder.__all__:
        kind = getattr(envbuilder, name)
        if inspect.isclass(kind) or inspect.isfunction(kind):
            yield f"::: {kind.__module__}.{kind.__qualname__}\n    options:\n      heading: {name}\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


FOLDER = Path(__file__).resolve().parents[2] / "docs" / "reference"
PAGES: dict[str, Callable[[], Iterator[str]]] = {
    "recipe.md": recipe_page,
    "exit-codes.md": exit_codes_page,
    "releases.md": releases_page,
    "python.md": python_page,
}


def text_of(name: str) -> str:
    """Return the text of a page."""
    return "\n".join(PAGES[name]()) + "\n"


if __name__ == "__main__":
    for name in PAGES:
        (FOLDER / name).write_text(text_of(name))
