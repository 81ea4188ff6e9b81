"""A layout from another distribution."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.deployment.layout import deploy
from envbuilder.deployment.layouts import LAYOUTS
from envbuilder.deployment.object_store import check_options
from envbuilder.deployment.options import DeployOptions
from envbuilder.errors import DeployError, RecipeError
from tests.helpers.plugins import install

SOURCE = '''
from envbuilder.deployment.transaction import begin, finish, put_environment
from envbuilder.errors import DeployError


class Team:
    """Every environment in one folder of the team's, called by its recipe alone."""

    holds = "the team's folder"

    def folder(self, repository, options, manifest):
        if options.unpacked:
            raise DeployError("a team shares archives, not folders")
        return repository.parent / "team"

    def deploy(self, job, folder, reporter):
        place_of_it = folder / job.environment_name
        work = begin(job, job.python_serving(str(place_of_it)), {}, folders=[folder], reporter=reporter)
        return finish(
            work,
            environment=place_of_it,
            path=str(place_of_it),
            place=lambda: put_environment(job, place_of_it, reporter),
            reporter=reporter,
        )
'''


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution with the layout ``team``."""
    places = {"envbuilder.layouts/team": "Team"}
    install(tmp_path / "site", monkeypatch, name="acme-layout", source=SOURCE, entry_points=places)


def test_those_that_are_built_in_have_the_same_form() -> None:
    assert LAYOUTS.names() == ("backend", "image", "model", "shared")
    for name in LAYOUTS.names():
        assert LAYOUTS.get(name).holds


@pytest.mark.usefixtures("team")
def test_a_deployment_as_another_distribution_lays_it_out(
    archive: Path, model: Path, repository: Path
) -> None:
    options = DeployOptions(layout="team")
    dry = deploy(archive, model, repository, DeployOptions(layout="team", dry_run=True))
    assert (dry.changed, dry.folder.exists(), (repository.parent / "team").exists()) == (True, False, False)
    done = deploy(archive, model, repository, options)
    assert (done.layout, done.environment) == ("team", repository.parent / "team" / archive.name)
    assert done.environment.read_bytes() == archive.read_bytes()
    assert f'string_value: "{done.environment}"' in (done.folder / "config.pbtxt").read_text()
    assert not deploy(archive, model, repository, options).changed


@pytest.mark.usefixtures("team")
def test_what_it_refuses_leaves_nothing_behind(archive: Path, model: Path, repository: Path) -> None:
    with pytest.raises(DeployError, match="a team shares archives, not folders"):
        deploy(archive, model, repository, DeployOptions(layout="team", unpacked=True))
    assert not repository.exists() or not any(repository.iterdir())


@pytest.mark.usefixtures("team")
def test_an_unknown_layout_is_told_what_there_is(archive: Path, model: Path, repository: Path) -> None:
    said = (
        "unknown layout 'teem'; expected backend, image, model, shared or team\n  hint: did you mean 'team'?"
    )
    with pytest.raises(RecipeError) as raised:
        deploy(archive, model, repository, DeployOptions(layout="teem"))
    assert str(raised.value) == said
    with pytest.raises(RecipeError) as raised:
        check_options("s3://bucket/repository", DeployOptions(layout="teem"))
    assert str(raised.value) == said
