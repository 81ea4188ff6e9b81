from __future__ import annotations

from pathlib import Path

from packaging.requirements import Requirement

from envbuilder.recipe.importing.locked import Locked, LockedPackage
from envbuilder.recipe.importing.remark import SourceLine

HERE = SourceLine(text="x", place="lock:1")


def locked(*packages: LockedPackage, roots: tuple[str, ...] | None = None) -> Locked:
    asked = None if roots is None else [(HERE, Requirement(text)) for text in roots]
    return Locked(path=Path("lock"), kind="a lock", name="x", packages=packages, roots=asked)


def package(name: str, **values: object) -> LockedPackage:
    return LockedPackage(name=name, version="1.0", line=HERE, **values)  # type: ignore[arg-type]  # a test's own values


def test_what_the_project_asks_for_is_required_and_the_rest_is_held() -> None:
    found = locked(
        package("alpha"),
        package("beta", marker="sys_platform == 'linux'"),
        package("own", itself=True),
        package("git", reference="git+https://example.com/git@abc"),
        roots=("alpha[fast]", "gone>1"),
    ).imported()
    alpha, git, gone = (one for _, one in found.wanted.requirements)
    assert (str(alpha), str(gone)) == ("alpha[fast]==1.0", "gone>1")
    assert (git.name, git.url) == ("git", "git+https://example.com/git@abc")
    assert [str(one) for _, one in found.wanted.constraints] == ['beta==1.0; sys_platform == "linux"']
    assert [one.fate for one in found.wanted.remarks] == ["left out"]


def test_without_a_project_every_package_is_asked_for() -> None:
    found = locked(package("alpha"), package("beta")).imported()
    assert found.wanted.names() == {"alpha", "beta"}


def test_pytorchs_index_says_the_variant() -> None:
    found = locked(package("torch", index="https://download.pytorch.org/whl/cu126")).imported()
    assert found.wanted.own_variant("torch") == "cu126"
