"""Everything that holds it is found, and what of it a patch cannot mend is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from envbuilder import api
from envbuilder.deployment.config import read_config
from envbuilder.fleet.patching.patch import PatchOptions
from envbuilder.fleet.repository.apply import ApplyOptions
from envbuilder.images.write import write_image
from envbuilder.lockfile.check import check_lock
from envbuilder.store.local import CACHE_VARIABLE
from envbuilder.store.session import Session
from envbuilder.store.trust import KEY_VARIABLE
from tests.fleet.patching.conftest import SBOM, advisory, call, rows, versions, write_wheel
from tests.helpers.registries import docker_registry
from tests.helpers.repositories import make_repository
from tests.helpers.workspace import Workspace

QUICK = PatchOptions(verify=False)


def write_zlib(folder: Path, *more: dict[str, Any]) -> None:
    record = advisory("zlib", ecosystem="OSS-Fuzz")
    record["affected"][0] |= {"ranges": [], "versions": ["v1.2.11"]}
    record["affected"] += more
    (folder / "zlib.json").write_text(json.dumps(record))


def with_models(workspace: Workspace, count: int = 1, rules: str = '"*" = "small"') -> Path:
    repository = workspace.folder / "repository"
    make_repository(repository, (count, 0, 0, 0, 0, 0))
    settings = workspace.folder / "envbuilder.toml"
    settings.write_text(settings.read_text() + f"[models]\n{rules}\n")
    return repository


def test_two_models_with_recipes_of_their_own_are_two(one: Workspace) -> None:
    repository = with_models(one, 2, "")
    session = Session.open(find_links=[str(one.folder / "wheels")])
    wheels = one.folder / "wheels"
    newer = [wheels / f"{name}-1.1-py3-none-any.whl" for name in ("alpha", "beta")]
    kept = {path: path.read_bytes() for path in newer}
    for path in newer:
        path.unlink()
    for name in ("own0", "own1"):
        shutil.copy(one.recipe, repository / name / "recipe.yaml")
        api.lock(api.load_recipe(repository / name / "recipe.yaml"), session=session)
    api.apply(repository, ApplyOptions(verify=False), session=session)
    before = {name: read_config(repository / name).environment for name in ("own0", "own1")}
    for path, data in kept.items():
        path.write_bytes(data)

    options = PatchOptions(repositories=(repository,), verify=False)
    found = {row.recipe: row for row in api.patch("osv.json", options, session=session)}
    own = {name: f"repository/{name}/recipe.yaml" for name in before}
    assert {name: row.state for name, row in found.items()} == dict.fromkeys(
        [*own.values(), "small"], "patched"
    )
    for name, recipe in own.items():
        archive = found[recipe].archive
        assert archive is not None
        assert found[recipe].models == (name,)
        assert read_config(repository / name).environment == f"$$TRITON_MODEL_DIRECTORY/{archive.name}"
    assert api.patch("osv.json", options, session=session) == []
    back = api.patch(None, QUICK, session=session)
    assert {row.recipe: row.state for row in back} == dict.fromkeys([*own.values(), "small"], "rolled back")
    assert {name: read_config(repository / name).environment for name in before} == before


def test_a_newer_version_that_holds_it_too_is_no_patch(one: Workspace) -> None:
    write_wheel(one.folder / "wheels", "alpha", "1.1", sbom=SBOM)
    write_zlib(one.folder)
    before = one.lock.read_text()
    done = call("patch", "zlib.json", "--no-verify", "--json")
    (row,) = rows(done).values()
    assert (row["state"], done.exit_code) == ("refused", 4)
    assert row["error"] == "the newest versions hold it, too: zlib 1.2.11 in alpha"
    assert one.lock.read_text() == before
    assert rows(call("patch", "zlib.json", "--plan", "--json"))["small"]["state"] == "affected"


def test_what_is_of_the_interpreter_is_named_though_a_package_was_patched(one: Workspace) -> None:
    python = {"ranges": [{"type": "GIT", "repo": "https://github.com/python/cpython", "events": []}]}
    version = check_lock(api.load_recipe(one.recipe)).interpreter.version
    write_zlib(one.folder, python | {"versions": [f"v{version}"]})
    done = call("patch", "zlib.json", "--no-verify", "--json")
    (row,) = rows(done).values()
    assert (row["state"], row["changes"], done.exit_code) == ("still affected", ["alpha 1.0 -> 1.1"], 4)
    assert row["error"] == f"cpython {version}: no package of the lock brings it"
    assert rows(call("patch", "zlib.json", "--plan", "--json"))["small"]["found"] == [f"cpython {version}"]


def test_archives_that_were_brought_are_looked_into_and_where_there_is_none_it_is_said(
    one: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_zlib(one.folder)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "another machine"))
    found = rows(call("patch", "zlib.json", "--plan", "--json"))
    assert found["small"]["found"] == ["zlib 1.2.11 in alpha"]
    assert found["small"]["notes"] == []
    shutil.rmtree("envs")
    done = call("patch", "zlib.json", "--plan", "--json")
    assert done.exit_code == 0
    row = rows(done)["small"]
    assert row["state"] == "not searched"
    assert row["notes"] == ["not looked inside: envs has no archive of its lock (`envbuilder build small`)"]
    assert call("patch", "zlib.json").stdout.splitlines()[-1] == "1 recipe: 1 not searched"


def test_what_is_deployed_counts_whatever_its_recipe_says_now(one: Workspace) -> None:
    repository = with_models(one, 2)
    api.apply(repository, ApplyOptions(verify=False))
    settings = one.folder / "envbuilder.toml"
    settings.write_text(settings.read_text().replace('"*"', '"own0"'))
    api.lock(api.load_recipe(one.recipe), upgrade_packages=["beta"])
    api.build_many(api.load_recipes())
    assert rows(call("patch", "osv.json", "--plan", "--json")) == {}

    arguments = ("patch", "osv.json", "--repository", repository, "--no-verify", "--json")
    planned = call(*arguments, "--plan")
    assert planned.exit_code == 9
    found = rows(planned)
    assert {name: (row["state"], row["found"]) for name, row in found.items()} == {
        "small": ("affected", ["beta 1.0"]),
        "repository/own1": ("affected", ["beta 1.0"]),
    }
    assert found["small"]["models"] == ["own0"]
    done = call(*arguments)
    found = rows(done)
    assert (found["small"]["state"], found["small"]["changes"]) == ("patched", [])
    assert (found["repository/own1"]["state"], done.exit_code) == ("refused", 8)
    assert "own1 is deployed with small-" in found["repository/own1"]["error"]
    # As the hint says: its recipe is named.
    settings.write_text(settings.read_text().replace('"own0"', '"*"'))
    assert {name: row["state"] for name, row in rows(call(*arguments)).items()} == {"small": "patched"}
    assert rows(call(*arguments)) == {}


def test_a_model_whose_environment_is_not_here_is_said(one: Workspace) -> None:
    repository = with_models(one)
    api.apply(repository, ApplyOptions(verify=False))
    for path in (repository / "own0").glob("*.tar.gz"):
        path.unlink()
    found = rows(call("patch", "beta==0.9", "--repository", repository, "--plan", "--json"))
    assert found["repository/own0"]["state"] == "not searched"
    assert "its environment was not searched: " in found["repository/own0"]["notes"][0]


def test_aliases_without_a_key_on_another_machine_and_of_an_older_lock(
    one: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed = api.push(api.load_recipe(one.recipe))
    for name in ("small:stable", "small:old"):
        api.alias(name, pushed.archive.name)
    shutil.rmtree("envs")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "another machine"))
    planned = rows(call("patch", "osv.json", "--plan", "--json"))
    assert planned["small"]["aliases"] == ["small:old", "small:stable"]
    text = one.lock.read_bytes()

    with monkeypatch.context() as nobody:
        nobody.delenv(KEY_VARIABLE)
        done = call("patch", "osv.json", "--no-verify", "--json")
    row = rows(done)["small"]
    assert (row["state"], row["changes"], row["aliases"]) == ("still affected", ["beta 1.0 -> 1.1"], [])
    assert f"small:old still points to {pushed.sha256[:12]}, which holds beta 1.0" in row["error"]
    assert done.exit_code != 0

    # With a key, the archive before need not be here: the alias says which lock it is of.
    one.lock.write_bytes(text)
    found = {row.recipe: row for row in api.patch("osv.json", QUICK)}
    assert (found["small"].state, found["small"].aliases) == ("patched", ("small:old", "small:stable"))
    new = api.alias("small:stable").sha256

    # One of an older lock is not moved: what else came since, somebody decides.
    api.alias("small:old", pushed.sha256)
    (row,) = api.patch("osv.json", QUICK)
    assert (row.state, row.aliases) == ("still affected", ())
    assert row.error is not None
    assert row.error.hint is not None
    for part in row.error.hint.split("`"):
        if part.startswith("envbuilder "):
            assert call(*part.split()[1:]).exit_code == 0, part
    assert api.alias("small:old").sha256 == new
    assert api.patch("osv.json", QUICK) == []


def test_images_in_layouts_and_in_a_registry(one: Workspace, tmp_path: Path) -> None:
    archive = one.archive()
    session = Session.open(one.folder)
    write_image([archive], Path("envs/small.oci"), session)
    write_image([archive], Path("envs/small.oci.tar"), session)
    with docker_registry(tmp_path / "registry") as host:
        place = f"oci://{host}/envs/small"
        api.push(archive, to=f"{place}:stable")
        arguments = ("osv.json", "--image", place, "--json")
        row = rows(call("patch", *arguments, "--plan"))["small"]
        assert row["images"] == [f"{place}:stable", "envs/small.oci:small", "envs/small.oci.tar:small"]
        done = call("patch", *arguments, "--no-verify")
        row = rows(done)["small"]
        assert (row["state"], done.exit_code != 0) == ("still affected", True)
        assert f"{place}:stable is an image of {archive.name[6:18]}, which holds beta 1.0" in row["error"]
        # The archive before is kept, and its layouts with it; a tag is what is served.
        (row,) = rows(call("patch", *arguments, "--plan")).values()
        assert row["images"][0] == f"{place}:stable"
        api.push(Path(rows(done)["small"]["archive"]), to=f"{place}:stable")
        assert rows(call("patch", *arguments, "--plan")) == {}
        # Of a recipe that is not here; then of a registry that does not answer.
        one.recipe.rename(one.recipe.with_name("other.yaml"))
        api.lock(api.load_recipe(one.recipe.with_name("other.yaml")))
        found = rows(call("patch", "alpha==1.0", "--image", place, "--json", "--no-verify"))[
            f"{place}:stable"
        ]
    unanswered = rows(call("patch", "beta==0.9", *arguments[1:], "--plan"))[place]
    assert (found["state"], found["error"]) == (
        "refused",
        f"{place}:stable holds alpha 1.0, and its recipe is not here",
    )
    assert unanswered["state"] == "not searched"


def test_whoever_has_no_models_is_verified_alone(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = with_models(workspace)
    asked: dict[str, bool] = {}

    def refuse(jobs: Any, *, options: Any, **_: Any) -> Any:
        asked.update({job.recipe.name: options.verify for job in jobs})
        raise KeyboardInterrupt

    monkeypatch.setattr("envbuilder.fleet.patching.build.build_many", refuse)
    for name in ("held", "pinned"):
        workspace.recipe.with_name(f"{name}.yaml").unlink()
    with pytest.raises(KeyboardInterrupt):
        api.patch("osv.json", PatchOptions(repositories=(repository,)))
    assert asked == {"other": True}  # nothing is deployed before it; small is verified with its model
    assert versions(workspace, "small")["beta"] == "1.1"
