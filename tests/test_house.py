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
    "deployment/unread_weights.py": "unread_weights.py",
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
    "guest/test_main": (
        *("guest/cases", "guest/compare_package", "guest/job"),
        *("guest/probe", "guest/serving"),
    ),
    "deployment/test_from_library": (
        *("deployment/architectures", "deployment/library_folders", "deployment/library_model"),
    ),
    "hostile/test_origin": (
        *("verification/origin/bytecode", "verification/origin/check", "verification/origin/claims"),
        *("verification/origin/compare", "verification/origin/expected", "verification/origin/locked"),
        "verification/origin/own",
    ),
    "provenance/test_attest": ("provenance/statement", "verification/static/provenance"),
    "registry/test_filesystem": ("registry/documents", "store/objects"),
    "resolve/test_solver": ("resolve/closed_index",),
    "runtime/test_loading": ("runtime/half", "runtime/start"),
    "runtime/test_model": ("runtime/log", "runtime/sealed"),
    "runtime/test_pretrained_server": ("runtime/pretrained",),
    "signing/test_timestamps": ("provenance/timestamp",),
    "transfer/test_images": (
        "registry/referrers",
        "registry/repository",
        *("registry/transport", "registry/upload"),
        "transfer/image_checks",
    ),
    "transfer/test_push_pull": ("store/segments", "transfer/archives", "transfer/records"),
    "verification/live/test_evaluate": ("verification/live/evaluate_model", "verification/live/deployed"),
    "verification/live/test_evaluate_packages": ("verification/live/probe_packages",),
    "verification/live/test_run_probe": ("verification/live/answer", "verification/live/stage"),
    "verification/server/test_tritonserver": ("verification/server/cleanup", "verification/server/stage"),
    "verification/static/test_archive": (
        *("verification/static/extracted", "verification/static/release", "verification/static/stage"),
    ),
    "verification/static/test_foreign": ("verification/static/foreign_release",),
    "verification/test_proven": ("verification/run",),
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
    files = {path.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    without = {
        name for name in own_modules() if str(Path(name).with_name(f"test_{Path(name).name}.py")) not in files
    }
    assert without - NO_LOGIC == set(), "give it a test file of its name"
    assert NO_LOGIC - without == set(), "it has a test file of its name, or is gone"


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


@pytest.mark.xdist_group("house")
def test_a_group_of_tests_has_one_worker(request: pytest.FixtureRequest) -> None:
    """Without that, each worker starts the servers that a group shares, and nothing says so."""
    if request.config.getoption("loadgroup", default=False):
        assert request.node.nodeid.endswith("@house")
    else:
        assert not request.node.nodeid.endswith("@house")
