"""From an advisory to locks, archives, aliases and deployed models, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from envbuilder import api
from envbuilder.cli import cli
from envbuilder.deployment.config import read_config
from envbuilder.fleet.patching import relock
from envbuilder.fleet.patching.patch import PatchOptions
from envbuilder.fleet.repository.apply import ApplyOptions
from envbuilder.resolve.lock import lock_recipe
from envbuilder.store.local import CACHE_VARIABLE
from tests.fleet.patching.conftest import advisory, call, rows, versions
from tests.helpers.repositories import make_repository
from tests.helpers.wheels import wheel_members, write_artifact, zip_bytes
from tests.helpers.workspace import Workspace


def test_who_holds_it_changes_nothing(workspace: Workspace) -> None:
    before = {path: path.read_bytes() for path in workspace.folder.rglob("*") if path.is_file()}
    done = call("patch", "osv.json", "--plan", "--json")
    assert done.exit_code == 9
    assert {name: (row["state"], row["found"]) for name, row in rows(done).items()} == {
        name: ("affected", ["beta 1.0"]) for name in ("held", "other", "pinned", "small")
    }
    assert {path: path.read_bytes() for path in workspace.folder.rglob("*") if path.is_file()} == before


def test_that_package_alone_moves_and_whose_pin_forbids_it_is_said(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    solved: list[str] = []

    def counted(recipe: Any, *args: Any, **named: Any) -> Any:
        solved.append(recipe.name)
        return lock_recipe(recipe, *args, **named)

    monkeypatch.setattr(relock, "lock_recipe", counted)
    repository = workspace.folder / "repository"
    make_repository(repository, (2, 0, 1, 0, 0, 1))
    settings = workspace.folder / "envbuilder.toml"
    settings.write_text(settings.read_text() + '[models]\n"own1" = "other"\n"*" = "small"\n')
    api.apply(repository, ApplyOptions(verify=False))
    pushed = api.push(api.load_recipe(workspace.recipe))
    api.alias("small:stable", pushed.archive.name)
    locks = {path.name: path.read_text() for path in workspace.recipe.parent.glob("pylock.*")}
    configs = {path: path.read_text() for path in repository.glob("*/config.pbtxt")}

    arguments = ("osv.json", "--repository", repository, "--no-verify", "--markdown", "pr.md", "--json")
    done = call("patch", *arguments)
    found = rows(done)
    assert done.exit_code == 4  # what a pin forbids
    assert sorted(solved) == ["held", "other", "pinned"]  # small asks what other asks
    for name in ("other", "small"):  # and the solver would say the same of it
        api.lock(api.load_recipe(workspace.recipe.with_name(f"{name}.yaml")), check=True, resolve=True)
    assert {name: row["state"] for name, row in found.items()} == {
        "held": "refused",
        "other": "patched",
        "pinned": "refused",
        "small": "patched",
        "repository/broken0": "not searched",  # it does not say which environment it has
    }
    assert found["pinned"]["error"] == "beta stays at 1.0: pinned.yaml asks beta==1.0"
    assert found["held"]["error"] == "beta stays at 1.0: gamma 1.0 needs beta<1.1"
    assert found["small"]["changes"] == ["beta 1.0 -> 1.1"]
    assert (found["small"]["models"], found["other"]["models"]) == (["bls0", "own0"], ["own1"])
    assert versions(workspace, "small") == {
        "alpha": "1.0",
        "beta": "1.1",
        "numpy": "1.26.4",
        "torch": "2.13.0+cpu",
    }
    for name in ("held", "pinned"):
        assert (workspace.lock.with_name(f"pylock.{name}.toml")).read_text() == locks[f"pylock.{name}.toml"]
    new = Path(found["small"]["archive"])
    assert new.is_file()
    assert Path(found["small"]["before"]).is_file()  # the one before is kept
    for model in ("own0", "bls0"):
        assert read_config(repository / model).environment == f"$$TRITON_MODEL_DIRECTORY/{new.name}"
    assert found["small"]["aliases"] == ["small:stable"]
    sha256 = api.alias("small:stable").sha256
    assert sha256 is not None
    assert new.name == f"small-{sha256[:12]}.tar.gz"
    page = Path("pr.md").read_text()
    assert "## other\n" in page
    assert "| 1.0 | 1.1 |" in page

    back = call("patch", "--rollback", "--json")
    assert back.exit_code == 0
    assert {name: row["state"] for name, row in rows(back).items()} == {
        "other": "rolled back",
        "small": "rolled back",
    }
    assert {path.name: path.read_text() for path in workspace.recipe.parent.glob("pylock.*")} == locks
    assert {path: path.read_text() for path in repository.glob("*/config.pbtxt")} == configs
    assert api.alias("small:stable").sha256 == pushed.sha256
    assert call("patch", "--rollback").exit_code == 2  # nothing more to take back


def test_inside_another_package(workspace: Workspace) -> None:
    database = workspace.folder / "db"
    database.mkdir()
    record = advisory("zlib", ecosystem="OSS-Fuzz")
    record["affected"][0] |= {"ranges": [], "versions": ["v1.2.11"]}
    (database / "x.json").write_text(json.dumps(record))
    done = call("patch", "CVE-9", "--advisories", database, "--no-verify", "--json")
    (row,) = rows(done).values()
    assert (row["recipe"], row["state"], row["found"]) == ("small", "patched", ["zlib 1.2.11 in alpha"])
    assert row["changes"] == ["alpha 1.0 -> 1.1"]
    assert call("patch", "CVE-9", "--advisories", database, "--no-verify").stdout == "nothing is affected\n"


def test_a_version_of_a_package(workspace: Workspace) -> None:
    assert rows(call("patch", "Beta==1.0", "--plan", "--json")).keys() == {"held", "other", "pinned", "small"}
    assert call("patch", "beta==0.9", "--plan").exit_code == 0
    assert call("patch", "beta==0.9").exit_code == 0
    assert call("patch", "--rollback").exit_code == 2  # nothing was patched


def test_interrupted_anywhere_it_goes_on(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = workspace.folder / "repository"
    make_repository(repository, (1, 0, 0, 0, 0, 0))
    settings = workspace.folder / "envbuilder.toml"
    settings.write_text(settings.read_text() + '[models]\n"*" = "small"\n')
    for name in ("held", "pinned"):
        workspace.recipe.with_name(f"{name}.yaml").unlink()
    api.apply(repository, ApplyOptions(verify=False))
    pushed = api.push(api.load_recipe(workspace.recipe))
    api.alias("small:stable", pushed.archive.name)
    before = {path: path.read_bytes() for path in workspace.recipe.parent.glob("pylock.*")}
    before |= {path: path.read_bytes() for path in repository.glob("*/config.pbtxt")}
    options = PatchOptions(repositories=(repository,), verify=False)

    def interrupted(*_: object, **__: object) -> Any:
        raise KeyboardInterrupt

    # Before the locks, after some, before the builds, the deployments, the aliases, and before the patch is finished.
    for place in (
        "patch.relock",
        "relock.lock_with",
        "build.build_many",
        "patch.apply",
        "finish.push_archive",
        "journal.Journal.finish",
    ):
        with monkeypatch.context() as patching:
            patching.setattr(f"envbuilder.fleet.patching.{place}", interrupted)
            with pytest.raises(KeyboardInterrupt):
                api.patch("osv.json", options)
    found = {row.recipe: row for row in api.patch("osv.json", options)}
    assert {name: row.state for name, row in found.items()} == {"other": "patched", "small": "patched"}
    small = found["small"]
    assert (small.found, small.changes, small.models) == (("beta 1.0",), ("beta 1.0 -> 1.1",), ("own0",))
    assert small.archive is not None
    assert read_config(repository / "own0").environment == f"$$TRITON_MODEL_DIRECTORY/{small.archive.name}"
    sha256 = api.alias("small:stable").sha256
    assert sha256 is not None
    assert small.archive.name == f"small-{sha256[:12]}.tar.gz"

    for place in ("rollback.move_alias", "rollback.deploy_again", "rollback.write_journal"):
        with monkeypatch.context() as patching:
            patching.setattr(f"envbuilder.fleet.patching.{place}", interrupted)
            with pytest.raises(KeyboardInterrupt):
                api.patch(None, PatchOptions())
    assert {row.state for row in api.patch(None, PatchOptions())} == {"rolled back"}
    assert {path: path.read_bytes() for path in before} == before
    assert api.alias("small:stable").sha256 == pushed.sha256


def test_a_lock_written_after_an_interruption_is_the_one_to_go_back_to(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patching:
        patching.setattr("envbuilder.fleet.patching.patch.relock", interrupted)
        with pytest.raises(KeyboardInterrupt):
            api.patch("osv.json", PatchOptions(verify=False))
    workspace.lock.write_text(workspace.lock.read_text() + "# by hand\n")
    refused_for_a_broken_wheel(workspace)


def test_what_cannot_be_built_leaves_the_lock(workspace: Workspace) -> None:
    refused_for_a_broken_wheel(workspace)


def refused_for_a_broken_wheel(workspace: Workspace) -> None:
    before = workspace.lock.read_text()
    broken = workspace.folder / "wheels" / "beta-1.1-py3-none-any.whl"
    members = wheel_members("beta", "1.1", {"beta.py": b"x"})
    write_artifact(
        broken.parent, "beta", "1.1", zip_bytes([one for one in members if "RECORD" not in str(one.name)])
    )
    found = rows(call("patch", "osv.json", "--no-verify", "--json"))
    assert found["small"]["state"] == "refused"
    assert workspace.lock.read_text() == before


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["CVE-1"], 2, "there is no database of advisories to look it up in"),
        (["gone.json"], 2, "no such database"),
        (["--rollback"], 2, "no patch is recorded in"),
        ([], 2, "expected either an advisory or --rollback"),
        (["x==1", "--rollback"], 2, "expected either an advisory or --rollback"),
    ],
)
def test_what_cannot_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    done = CliRunner().invoke(cli, ["patch", *arguments, "-q"])
    assert done.exit_code == code
    assert said in done.stderr.replace("\n", " ")
