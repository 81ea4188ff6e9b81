from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from envbuilder import api
from envbuilder.recipe.importing.convert import Choices
from envbuilder.recipe.importing.environment_yml import Environment
from envbuilder.recipe.importing.match_spec import Spec, read_spec
from envbuilder.recipe.importing.remark import SourceLine
from envbuilder.recipe.importing.requirements import read_pip_lines
from envbuilder.recipe.importing.wanted import Imported
from envbuilder.recipe.load import load_recipe
from tests.helpers.imports import FILES

READERS: Final = {
    "detect": ("conda", "requirements", "the same package twice"),
    "bentofile": ("bentoml", "options of a bentofile"),
    "models": ("mlflow", "cog", "truss"),
    "pipfile": ("pipfile", "sections of a Pipfile", "pipfile-lock"),
    "poetry": ("poetry",),
    "poetry_lock": ("poetry-lock",),
    "pylock": ("pylock", "groups of a lock"),
    "pyproject": ("pyproject",),
    "uv_table": ("sources by platform",),
    "uv_lock": ("uv-lock", "a folder of a repository"),
}
"""The names of the examples that a module reads; its tests import them."""


def made(
    path: Path, folder: Path, groups: Sequence[str] = (), **choices: Any
) -> tuple[dict[str, Any], list[str]]:
    """Import *path*; return the recipe, and the fate of each line, without its folder."""
    done = api.import_recipe(
        path, "mine", root=folder, choices=Choices(triton="pytriton-0.7.0", **choices), groups=groups
    )
    load_recipe(done.recipe)
    values: dict[str, Any] = YAML(typ="safe").load(done.recipe.read_text())
    fates = []
    for one in done.remarks:
        place = one.place.rpartition(":")[2]
        line = f"{place}: " if place.isdecimal() else ""
        said = ": ".join(part for part in (one.text, one.why) if part)
        fates.append(f"{one.fate}: {line}{said}")
    return values, fates


def becomes(
    scratch: Path, files: Mapping[str, str], groups: Sequence[str] = (), **choices: Any
) -> tuple[dict[str, Any], list[str]]:
    """Write *files* and import the first of them; return the recipe without its release, and the fate of each line."""
    folder = scratch / "project"
    for file, text in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
    values, fates = made(folder / next(iter(files)), scratch, groups, **choices)
    (scratch / "recipes" / "mine.yaml").unlink()
    del values["triton"]
    return values, fates


def check_example(name: str, scratch: Path) -> None:
    """Import the example *name*; its content tells which tool wrote it, whatever it is called."""
    example = next(one for one in FILES if one.name == name)
    folder = scratch / "project"
    folder.mkdir()
    for file, text in example.files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
    values, fates = made(folder / example.path, scratch)
    assert values == {"triton": "pytriton-0.7.0", **example.recipe}
    assert fates == [line.replace("{folder}", str(folder)) for line in example.fates]


def imported(folder: Path, text: str, **options: Any) -> tuple[dict[str, Any], list[str]]:
    """Import an environment file with *text*; return the recipe, and what was said."""
    path = folder / "environment.yml"
    path.write_text(text)
    made = api.import_recipe(path, "mine", root=folder, choices=Choices(**options))
    values: dict[str, Any] = YAML(typ="safe").load(made.recipe.read_text())
    made.recipe.unlink()
    told = [one for one in made.remarks if one.fate != "carried over"]
    return values, [str(one).replace(f"{path}:", "") for one in told]


def spec(text: str) -> Spec:
    found = read_spec(SourceLine(text=text, place="e.yml:1"))
    assert isinstance(found, Spec)
    return found


def lines_and_specs(*lines: str, conda: bool, cuda: str | None = None, python: str | None = None) -> Imported:
    said = [SourceLine(text=line, place=f"e.yml:{number}") for number, line in enumerate(lines, start=9)]
    parts: Any = dict.fromkeys(("channels", "specs", "pip", "remarks"), ())
    return Imported(
        path=Path("e.yml"),
        kind="a file",
        name="e",
        wanted=read_pip_lines(said, Path()),
        python=None if python is None else SourceLine(text=python, place="e.yml:3"),
        cuda=None if cuda is None else SourceLine(text=cuda, place="e.yml:2"),
        conda=Environment(path=Path("e.yml"), name="e", **parts) if conda else None,
    )


def dependencies(*lines: str, channels: tuple[str, ...] = ("conda-forge",)) -> str:
    listed = [*(f"  - {one}\n" for one in channels)]
    return "".join(["channels:\n", *listed, "dependencies:\n", *(f"  - {line}\n" for line in lines)])
