from __future__ import annotations

import itertools

import pytest
from packaging.version import Version

from envbuilder.catalog.torch import (
    Problem,
    find_build,
    find_problem,
    is_newer_than_table,
    newest_python,
    table,
    torchvision_of,
)


def test_the_table_is_whole() -> None:
    versions = [Version(build.version) for build in table()]
    assert versions == sorted(set(versions))
    assert versions[0] == Version("2.0.0")
    assert {version.minor for version in versions} == set(range(15)), "a minor version is missing"
    for build in table():
        assert build.variants == ("cpu", *build.cuda, "pypi")
        assert build.cuda == tuple(sorted(build.cuda))
        assert all(len(name) == 5 for name in build.cuda)
        minors = [int(python.split(".")[1]) for python in build.pythons]
        assert minors == list(range(minors[0], minors[-1] + 1))


@pytest.mark.parametrize(
    ("torch", "cuda", "pypi"),
    [
        ("2.0.1", ("cu117", "cu118"), "11.7"),
        ("2.4.1", ("cu118", "cu121", "cu124"), "12.1"),
        ("2.6.0", ("cu118", "cu124", "cu126"), "12.4"),
        ("2.7.1", ("cu118", "cu126", "cu128"), "12.6"),
        ("2.11.0", ("cu126", "cu128", "cu129", "cu130"), "13.0"),
        ("2.14.1", ("cu126", "cu130", "cu132"), "13.0"),
    ],
)
def test_some_builds(torch: str, cuda: tuple[str, ...], pypi: str) -> None:
    build = find_build(torch)
    assert build is not None
    assert (build.cuda, build.pypi) == (cuda, pypi)


def test_every_possible_combination_is_possible() -> None:
    for build in table():
        for cuda, python in itertools.product(build.variants, build.pythons):
            assert find_problem(build.version, cuda, python) is None


def test_a_hint_names_combinations_that_are_possible() -> None:
    variants = sorted({cuda for build in table() for cuda in build.variants})
    for build, cuda in itertools.product(table(), variants):
        problem = find_problem(build.version, cuda, build.pythons[-1])
        if problem is not None:
            assert problem.key == "cuda"
            for pair in problem.hint.removeprefix("nearest: ").split(", or "):
                _, torch, _, near = pair.split()
                known = find_build(torch)
                assert known is not None
                assert near in known.variants


@pytest.mark.parametrize(
    ("torch", "cuda", "python", "problem"),
    [
        (
            "1.13.1",
            "cpu",
            "3.10",
            Problem(
                key="torch",
                message="torch 1.13.1 is older than 2.0.0, the first with torch.compile",
                hint="nearest: 2.0.1, 2.0.0, 2.1.1",
            ),
        ),
        (
            "2.13.0",
            "cu118",
            "3.12",
            Problem(
                key="cuda",
                message="torch 2.13.0 was never built for cu118 (it was for cpu, cu126, cu130, cu132, pypi)",
                hint="nearest: torch 2.13.0 with cu126, or torch 2.7.0 with cu118",
            ),
        ),
        (
            "2.13.0",
            "cu999",
            "3.12",
            Problem(
                key="cuda",
                message="torch 2.13.0 was never built for cu999 (it was for cpu, cu126, cu130, cu132, pypi)",
                hint="nearest: torch 2.13.0 with cu132",
            ),
        ),
        (
            "2.13.0",
            "cpu",
            "3.8",
            Problem(
                key="torch",
                message="torch 2.13.0 has no wheel for Python 3.8 (it has for 3.10, 3.11, 3.12, 3.13, 3.14)",
                hint="nearest: torch 2.4.0 for Python 3.8, or torch 2.13.0 for Python 3.10",
            ),
        ),
    ],
)
def test_what_cannot_be(torch: str, cuda: str, python: str, problem: Problem) -> None:
    assert find_problem(torch, cuda, python) == problem


def test_of_what_is_newer_nothing_is_said() -> None:
    assert is_newer_than_table("99.0.0")
    assert not is_newer_than_table("2.14.1")
    assert find_problem("99.0.0", "cu999", "3.99") is None
    assert find_build("99.0.0") is None


def test_the_newest_python_that_torch_has_wheels_for() -> None:
    assert newest_python("2.1.0", ("3.8", "3.10", "3.11", "3.12")) == "3.11"
    assert newest_python("2.13.0", ("3.8", "3.10", "3.12")) == "3.12"
    assert newest_python("99.0.0", ("3.8", "3.12")) == "3.12"


@pytest.mark.parametrize(
    ("torch", "torchvision"),
    [("2.0.1", "0.15.2"), ("2.7.1+cpu", "0.22.1"), ("2.13.0", "0.28.0"), ("99.0.0", None)],
)
def test_the_torchvision_of_a_torch(torch: str, torchvision: str | None) -> None:
    assert torchvision_of(torch) == torchvision
