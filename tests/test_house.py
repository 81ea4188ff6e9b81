"""What the house promises of itself, beside what ruff, mypy and lint-imports hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 400
"""Lines of a module: what is longer does more than one thing."""
LOOSE = {"__init__", "__main__", "bootstrap", "errors", "progress"}
"""The modules at the top of the package: all else has a package."""

SHARED = {
    "deployment/code_reads.py": "code_reads.py",
    "deployment/weight_files.py": "weight_files.py",
    "guest/equality.py": "equality.py",
}
"""Links to modules of the runtime, which imports nothing of the package."""
NO_LOGIC = {
    *("archive/entry", "archive/limits", "archive/member", "catalog/cuda", "deployment/options"),
    "fleet/options",
    *("images/annotations", "lockfile/model", "recipe/model", "store/damage", "util/version"),
}
"""Modules of fields and constants: there is nothing to show of them alone."""
TOGETHER = {
    "aot/test_caches": ("aot/precompile", "aot/model_sandbox"),
    "aot/test_fallback": ("aot/deploy",),
    "aot/test_server": ("aot/complete_config",),
    "api/test_archives": ("api/images", "building/record"),
    "assemble/test_assembler": ("assemble/pipeline",),
    "base/test_conda": ("base/built_in_providers", "base/conda_archive", "base/conda_projects"),
    "base/test_conda_process": ("base/conda_child",),
    "building/test_build": ("building/manifest",),
    "compare/test_diff": ("cli/diff",),
    "deployment/test_layout": ("deployment/built_in_layouts", "deployment/placement"),
    "diagnosis/test_diagnose": ("diagnosis/requirements",),
    "fetch/test_download": ("fetch/artifacts",),
    "fetch/test_http": ("fetch/stream",),
    "fetch/test_sources": ("fetch/beside",),
    "fleet/patching/test_patch": (
        *("fleet/patching/relock", "fleet/patching/shared_relock"),
        *("fleet/patching/rollback", "fleet/patching/subject"),
    ),
    "fleet/patching/test_search": (
        *("fleet/patching/finish", "fleet/patching/images", "fleet/patching/pointing", "fleet/patching/rows"),
    ),
    "fleet/repository/test_apply": (
        *("fleet/repository/plan", "fleet/repository/releases", "fleet/repository/survey"),
        "fleet/repository/verified",
    ),
    "fleet/test_build_many": ("fleet/local", "fleet/plan", "fleet/tasks"),
    "fleet/test_dask": ("fleet/sharing",),
    "foreign/test_survey": ("foreign/packages",),
    "images/test_write": ("images/layout", "images/restore", "images/split"),
    "inventory/test_audit": ("cli/inventory", "inventory/ecosystems"),
}
"""Modules that one test file shows together: alone they would be shown by stand-ins for what they are about."""


def modules() -> list[Path]:
    return sorted([*(ROOT / "envbuilder").rglob("*.py"), *(ROOT / "runtime").rglob("*.py")])


def test_no_module_is_too_long() -> None:
    lengths = {path: path.read_bytes().count(b"\n") for path in modules()}
    assert len(lengths) > 200
    assert {str(path): length for path, length in lengths.items() if length > LONGEST} == {}


def test_nothing_lies_loose() -> None:
    assert {path.stem for path in (ROOT / "envbuilder").glob("*.py")} == LOOSE


@pytest.mark.parametrize(
    "package",
    sorted(path.parent for path in (ROOT / "envbuilder").glob("*/__init__.py")),
    ids=lambda path: path.name,
)
def test_a_package_says_what_it_is_for(package: Path) -> None:
    text = (package / "__init__.py").read_text()
    assert text.startswith('"""')
    said = text[3 : text.index('"""', 3)]
    assert said.splitlines()[0].endswith("."), "one sentence, then what goes in and out"
    assert "In: " in said
    assert "Out: " in said


def own_modules() -> Iterator[str]:
    """Yield each module as its tests are called; private ones of a package are shown by the package's tests."""
    for path in modules():
        if (
            path.stem not in ("__init__", "__main__")
            and not path.stem.startswith("_")
            and not path.is_symlink()
        ):
            name = path.relative_to(ROOT).with_suffix("").as_posix()
            yield name.removeprefix("envbuilder/").replace("/_torch_runtime/", "/")


def test_tests_mirror_the_modules() -> None:
    """``tests/archive/test_tar.py`` shows ``envbuilder/archive/tar.py``: a stranger finds it."""
    together = [name for names in TOGETHER.values() for name in names]
    known = {*NO_LOGIC, *together}
    files = {path.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    without = {
        name for name in own_modules() if str(Path(name).with_name(f"test_{Path(name).name}.py")) not in files
    }
    assert without - known == set(), "give it a test file of its name"
    assert known - without == set(), "it has a test file of its name, or is gone"
    assert len(together) == len(set(together))
    assert {f"{name}.py" for name in TOGETHER} - files == set()


def test_no_module_imports_what_is_private_to_another() -> None:
    """Ruff looks at attributes, and not at imports."""
    imported = re.compile(r"^from envbuilder\.\S+ import (\([^)]*\)|.*)$", re.MULTILINE)
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in (*modules(), *(ROOT / "tests").rglob("*.py"))
        for names in imported.findall(path.read_text())
        for name in re.findall(r"(?<![\w.])_[a-zA-Z]\w*", names.partition("#")[0])
    ]
    assert found == []


@pytest.mark.parametrize(("name", "rule"), SHARED.items())
def test_a_rule_that_two_sides_need_stands_once(name: str, rule: str) -> None:
    path = ROOT / "envbuilder" / name
    assert path.is_symlink(), "a copy would go its own way"
    assert path.resolve() == ROOT / "runtime" / "_torch_runtime" / rule
