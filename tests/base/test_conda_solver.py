"""What is asked of py-rattler, what is made of its answers, and of channels that have none."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
from pathlib import Path

import pytest

from envbuilder.base.conda_solver import Virtual, conda_interpreter, conda_question, cuda_version, solve_conda
from envbuilder.config.channels import channels_of
from envbuilder.config.condarc import Condarc
from envbuilder.errors import RecipeError, ResolveError
from envbuilder.lockfile.model import CondaPackage
from envbuilder.store.session import Session
from tests.helpers.channels import Cut, index, write_package
from tests.helpers.conda_parts import fake_cut
from tests.helpers.conda_project import Project
from tests.helpers.indexes import Server


@pytest.fixture
def project(conda_project: Project) -> Project:
    return conda_project


def locked(project: Project, **keys: object) -> dict[str, CondaPackage]:
    """Return the conda packages of the lock of the recipe with *keys*."""
    lock = project.lock(project.recipe(**keys)).lock
    assert lock.conda is not None
    return {package.name: package for package in lock.conda.packages}


# -- the question ----------------------------------------------------------------------------------


def test_the_question_is_of_the_release_and_not_of_this_machine(project: Project) -> None:
    recipe = project.recipe(conda=["ffmpeg >=6"], compiler="bundled", exclude_newer=datetime.date(2026, 1, 2))
    question = conda_question(recipe)
    assert question.specs == ("python 3.11.*", "libstdcxx >=12.1", "gxx", "ffmpeg >=6")
    assert question.virtual == (
        Virtual(name="__unix", version="0"),
        Virtual(name="__linux", version="4.18"),
        Virtual(name="__glibc", version="2.34"),
        Virtual(name="__archspec", version="1", build="x86_64"),
    )
    assert "pytorch ==2.7.1 *cpu*" in question.constraints
    assert "sysroot_linux-64 <=2.34" in question.constraints
    assert question.exclude_newer == datetime.date(2026, 1, 2)


@pytest.mark.parametrize(
    ("cuda", "version", "torch"),
    [
        ("cpu", None, "pytorch ==2.7.1 *cpu*"),
        ("cu126", "12.6", "pytorch ==2.7.1 *cuda126*"),
        ("pypi", "12.6", "pytorch ==2.7.1"),
    ],
)
def test_cuda_is_what_the_recipe_says(project: Project, cuda: str, version: str | None, torch: str) -> None:
    recipe = project.recipe(cuda=cuda)
    assert cuda_version(recipe) == version
    question = conda_question(recipe)
    assert torch in question.constraints
    assert [one.version for one in question.virtual if one.name == "__cuda"] == ([version] if version else [])


def test_a_recipe_of_another_provider_has_no_channels(project: Project) -> None:
    recipe = dataclasses.replace(project.recipe(), provider="cpython")
    assert channels_of(recipe) == ()


def test_a_lock_without_python_has_no_interpreter() -> None:
    with pytest.raises(ResolveError) as caught:
        conda_interpreter(())
    assert caught.value.message == "the conda packages do not include python"


# -- the answer ------------------------------------------------------------------------------------


def test_torch_of_the_channel(project: Project) -> None:
    site = "lib/python3.11/site-packages"
    cuts = [
        Cut(
            name="pytorch",
            version=version,
            build=build,
            depends=["python 3.11.*"],
            files={
                f"{site}/torch-{version}.dist-info/METADATA": f"Name: torch\nVersion: {version}\n".encode()
            },
        )
        for version, build in (
            ("2.7.1", "cpu_generic_py311_0"),
            ("2.7.1", "cuda126_py311_0"),
            ("2.8.0", "cpu_generic_py311_0"),
        )
    ]
    project.publish(*cuts)
    lock = project.lock(project.recipe(conda=["pytorch"])).lock
    assert lock.conda is not None
    (torch,) = (package for package in lock.conda.packages if package.name == "pytorch")
    assert (torch.version, torch.build, lock.torch) == ("2.7.1", "cpu_generic_py311_0", "2.7.1")
    assert [artifact.name for artifact in lock.artifacts] == ["numpy"]
    assert locked(project, conda=["pytorch"], cuda="cu126")["pytorch"].build == "cuda126_py311_0"


@pytest.mark.parametrize("spec", ["tool=1.0=h1_0", "own::tool", "own::tool=1", "own::tool 1.0 h1_0"])
def test_specs_as_conda_exports_them_and_of_one_channel(project: Project, spec: str, tmp_path: Path) -> None:
    project.publish(fake_cut("tool", build="h1_0"), fake_cut("tool", build="h2_1"), fake_cut("tool", "2.0"))
    other = tmp_path / "other"
    write_package(other, fake_cut("tool", "3.0"))
    index(other)
    channels = [str(other), str(project.folder / "own"), str(project.channel)]
    if "::" not in spec:
        channels.pop(0)
    found = locked(project, channels=channels, conda=[spec])["tool"]
    assert found.channel == "own"
    assert found.version == ("2.0" if spec == "own::tool" else "1.0")
    assert found.build.startswith("h1" if "h1" in spec else ("0" if spec == "own::tool" else "h2"))


def test_what_is_locked_stays_until_it_is_upgraded_or_gone(project: Project) -> None:
    project.publish(fake_cut("tool"))
    recipe = project.recipe(conda=["tool"])
    assert locked(project, conda=["tool"])["tool"].version == "1.0"
    project.publish(fake_cut("tool", "1.1"))
    again = project.lock(recipe).lock
    assert again.conda is not None
    assert [one.version for one in again.conda.packages if one.name == "tool"] == ["1.0"]
    upgraded = project.lock(recipe, upgrade=True).lock
    assert upgraded.conda is not None
    assert [one.version for one in upgraded.conda.packages if one.name == "tool"] == ["1.1"]
    (project.folder / "own/linux-64/tool-1.1-0.conda").unlink()
    index(project.folder / "own")
    assert locked(project, conda=["tool"])["tool"].version == "1.0"


def test_as_of_a_day(project: Project) -> None:
    project.publish(fake_cut("tool"), fake_cut("tool", "1.1"))
    day = datetime.datetime.now(datetime.timezone.utc).date() + datetime.timedelta(days=10)
    noon = datetime.datetime(day.year, day.month, day.day, 12, tzinfo=datetime.timezone.utc)
    repodata = project.folder / "own/linux-64/repodata.json"
    known = json.loads(repodata.read_text())
    known["packages.conda"]["tool-1.1-0.conda"]["indexed_timestamp"] = int(noon.timestamp() * 1000)
    repodata.write_text(json.dumps(known))
    found = {}
    for last in (day - datetime.timedelta(days=1), day):
        recipe = project.recipe(conda=["tool"], exclude_newer=last)
        solved = solve_conda(recipe, Session(settings=project.settings, store=project.store))
        found[last] = [package.version for package in solved.packages if package.name == "tool"]
    assert [*found.values()] == [["1.0"], ["1.1"]]


def test_a_channel_behind_a_password_of_the_conda_configuration(project: Project) -> None:
    project.publish(fake_cut("tool"))
    with Server(project.folder, credentials="me:secret") as server:
        address = server.base.replace("http://", "http://me:secret@")
        home = project.folder / "home"
        home.mkdir()
        (home / ".condarc").write_text(f"custom_channels: {{own: '{address}'}}\n")
        lock = project.lock(project.recipe(channels=["own", str(project.channel)], conda=["tool"]))
        assert lock.lock.conda is not None
        assert {one.channel for one in lock.lock.conda.packages} == {"own", "channel"}
        project.build(project.recipe(channels=["own", str(project.channel)], conda=["tool"]))
    text = lock.path.read_text()
    assert "secret" not in text
    assert "127.0.0.1" not in text
    assert not [line for line in project.notes.notes + project.notes.steps if "secret" in line]


def test_a_mirror_stands_in_for_a_channel_that_does_not_answer(project: Project, tmp_path: Path) -> None:
    project.publish(fake_cut("tool"))
    broken = tmp_path / "broken"
    write_nonsense(broken, b"<html>Sign in</html>")
    home = project.folder / "home"
    home.mkdir()
    places = [broken.as_uri(), (tmp_path / "nowhere").as_uri(), (project.folder / "own").as_uri()]
    (home / ".condarc").write_text(f"mirrored_channels: {{team: {json.dumps(places)}}}\n")
    found = locked(project, channels=["team", str(project.channel)], conda=["tool"])
    assert found["tool"].channel == "team"
    passed = [line for line in project.notes.notes if "skipped" in line]
    assert passed == [
        f"{places[0]} skipped: failed to parse repodata.json",
        f"{places[1]} skipped: could not find subdir 'noarch' in channel '{places[1]}/'",
    ]


# -- no answer -------------------------------------------------------------------------------------

UNSATISFIABLE: dict[str, tuple[list[str], str, str | None]] = {
    "no package of that name": (
        ["nosuch"],
        "Cannot solve the request because of: No candidates were found for nosuch *.",
        None,
    ),
    "no such version": (
        ["greeting >=7"],
        "Cannot solve the request because of: No candidates were found for greeting >=7.",
        None,
    ),
    "a dependency that the channel does not have": (
        ["dangling"],
        "Cannot solve the request because of: dangling * cannot be installed because there are no viable options:\n"
        "  └─ dangling 1.0 would require\n"
        "     └─ nowhere *, for which no candidates were found.",
        None,
    ),
    "a newer glibc than the release has": (
        ["new-glibc"],
        "Cannot solve the request because of: new-glibc * cannot be installed because there are no viable options:\n"
        "  └─ new-glibc 1.0 would require\n"
        "     └─ __glibc >=2.99, for which no candidates were found.",
        "__glibc is assumed to be 2.34 for Triton pytriton-0.7.0",
    ),
    "CUDA, where the recipe has none": (
        ["new-cuda"],
        "Cannot solve the request because of: new-cuda * cannot be installed because there are no viable options:\n"
        "  └─ new-cuda 1.0 would require\n"
        "     └─ __cuda >=12, for which no candidates were found.",
        "__cuda is absent with `cuda: cpu`",
    ),
    "another Python than the release's": (
        ["old-python"],
        "Cannot solve the request because of: old-python * cannot be installed because there are no viable options:\n"
        "  └─ old-python 1.0 would require\n"
        "     └─ python 3.8.*, for which no candidates were found.",
        "python 3.11.* is required by Triton pytriton-0.7.0",
    ),
    "an older libstdc++ than the release's": (
        ["libstdcxx <12"],
        "Cannot solve the request because of: No candidates were found for libstdcxx <12.",
        "libstdcxx >=12.1 is required by Triton pytriton-0.7.0",
    ),
    "torch, which the channel does not have": (
        ["pytorch"],
        "Cannot solve the request because of: No candidates were found for pytorch *.",
        "pytorch must be 2.7.1 for cpu, as set by `torch` and `cuda`",
    ),
}


@pytest.mark.parametrize("case", UNSATISFIABLE)
def test_the_solvers_reason_in_words(project: Project, case: str) -> None:
    specs, reason, hint = UNSATISFIABLE[case]
    project.publish(
        fake_cut("dangling", depends=["nowhere"]),
        fake_cut("new-glibc", depends=["__glibc >=2.99"]),
        fake_cut("new-cuda", depends=["__cuda >=12"]),
        fake_cut("old-python", depends=["python 3.8.*"]),
    )
    with pytest.raises(ResolveError) as caught:
        project.lock(project.recipe(conda=specs))
    assert (
        caught.value.message == f"recipe mine: no set of packages from own, channel satisfies it:\n  {reason}"
    )
    assert (caught.value.hint, caught.value.exit_code) == (hint, 4)


def test_two_specs_that_cannot_be_together(project: Project) -> None:
    project.publish(
        fake_cut("one", depends=["shared >=2"]),
        fake_cut("two", depends=["shared <2"]),
        fake_cut("shared", "1.0"),
        fake_cut("shared", "2.0"),
    )
    with pytest.raises(ResolveError) as caught:
        project.lock(project.recipe(conda=["one", "two"]))
    message = caught.value.message
    assert "The following packages are incompatible" in message
    for line in (
        "one 1.0 would require",
        "two 1.0 would require",
        "which conflicts with the versions reported",
    ):
        assert line in message
    assert re.search(r"^     +[├└]─", message, re.MULTILINE)  # the reasons are still a tree


def test_the_compiler_that_no_channel_has(project: Project) -> None:
    with pytest.raises(ResolveError) as caught:
        project.lock(project.recipe(compiler="bundled"))
    assert caught.value.hint == "gxx is required by `compiler: bundled`"


def test_a_spec_that_py_rattler_cannot_read(project: Project) -> None:
    with pytest.raises(RecipeError) as caught:
        project.lock(project.recipe(conda=["greeting >=1", "tool >>=7"]))
    assert caught.value.message == (
        f"{project.folder / 'mine.yaml'}:8: invalid match spec 'tool >>=7': unable to parse version spec: >>=7"
    )
    assert caught.value.exit_code == 2


def write_nonsense(channel: Path, data: bytes) -> None:
    for subdir in ("linux-64", "noarch"):
        (channel / subdir).mkdir(parents=True)
        (channel / subdir / "repodata.json").write_bytes(data)


NONSENSE: dict[str, tuple[bytes, str]] = {
    "a page for people": (b"<html><body>Sign in</body></html>", "expected value at line 1 column 1"),
    "nothing": (b"", "EOF while parsing a value at line 1 column 0"),
    "half an index": (
        b'{"info": {"subdir": "noarch"}, "packa',
        "EOF while parsing a string at line 1 column 37",
    ),
    "another JSON": (b'{"packages": 7}', "invalid type: integer `7`, expected a map at line 1 column 14"),
}


@pytest.mark.parametrize("case", NONSENSE)
@pytest.mark.parametrize("served", [False, True])
def test_a_channel_that_answers_nonsense(project: Project, tmp_path: Path, case: str, served: bool) -> None:
    data, said = NONSENSE[case]
    write_nonsense(tmp_path / "served" / "team", data)
    with Server(tmp_path / "served") as server:
        channel = f"{server.base}/team" if served else (tmp_path / "served" / "team").as_uri()
        with pytest.raises(ResolveError) as caught:
            project.lock(project.recipe(channels=[str(project.channel), channel]))
    assert caught.value.message == (
        f"recipe mine: the channel team ({channel}) does not respond, or returns invalid data:\n"
        f"  failed to parse repodata.json\n  {said}"
    )
    assert caught.value.hint == "addresses, mirrors and credentials come from the conda configuration"
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("made", [False, True])
def test_a_folder_that_is_no_channel(project: Project, tmp_path: Path, made: bool) -> None:
    folder = tmp_path / "team"
    if made:
        folder.mkdir()
    with pytest.raises(ResolveError) as caught:
        project.lock(project.recipe(channels=[str(folder), str(project.channel)]))
    assert caught.value.message.startswith(
        f"recipe mine: the channel team ({folder.as_uri()}) does not respond, or returns invalid data:\n"
        f"  could not find subdir 'noarch' in channel '{folder.as_uri()}/'\n"
    )


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (404, "404 Not Found"),
        (403, "403 Forbidden"),
        (500, "500 Internal Server Error"),
        (401, "401 Unauthorized"),
    ],
)
def test_a_server_that_does_not_want_to(project: Project, status: int, said: str) -> None:
    home = project.folder / "home"
    home.mkdir()
    with Server(
        project.folder,
        status=None if status == 401 else status,
        credentials="you:other" if status == 401 else None,
    ) as server:
        address = server.base.replace("http://", "http://me:secret@")
        (home / ".condarc").write_text(f"custom_channels: {{own: '{address}'}}\n")
        with pytest.raises(ResolveError) as caught:
            project.lock(project.recipe(channels=["own", str(project.channel)]))
    assert caught.value.message.startswith(
        f"recipe mine: the channel own ({server.base}/own) does not respond, or returns invalid data:\n"
    )
    assert said in caught.value.message
    assert caught.value.hint == (
        f"addresses, mirrors and credentials come from the conda configuration ({home}/.condarc)"
    )
    assert "secret" not in str(caught.value)


def test_nobody_at_the_address(project: Project) -> None:
    with Server(project.folder) as server:
        pass
    with pytest.raises(ResolveError) as caught:
        project.lock(project.recipe(channels=[f"{server.base}/own", str(project.channel)]))
    assert f"the channel own ({server.base}/own) does not respond" in caught.value.message
    assert "Connection refused" in caught.value.message


@pytest.mark.parametrize("field", ["sha256", "size"])
def test_a_channel_that_does_not_say_what_a_lock_needs(project: Project, field: str) -> None:
    project.publish(fake_cut("tool"))
    repodata = project.folder / "own/linux-64/repodata.json"
    known = json.loads(repodata.read_text())
    del known["packages.conda"]["tool-1.0-0.conda"][field]
    repodata.write_text(json.dumps(known))
    with pytest.raises(ResolveError) as caught:
        project.lock(project.recipe(conda=["tool"]))
    assert caught.value.message == f"tool-1.0-0.conda: the channel own has no {field} for it"
    assert caught.value.hint == "locks need both: re-index the channel"


def test_defaults_by_the_configuration_are_refused_too(project: Project) -> None:
    condarc = Condarc(custom_channels={"team": "https://repo.anaconda.com/pkgs"})
    recipe = project.recipe(channels=["team"])
    with pytest.raises(RecipeError, match="whose terms of service bind companies"):
        channels_of(recipe, condarc)


def test_the_old_kind_of_package(project: Project) -> None:
    write_package(project.folder / "own", fake_cut("tool"), ".tar.bz2")
    index(project.folder / "own")
    assert locked(project, conda=["tool"])["tool"].filename == "tool-1.0-0.tar.bz2"
