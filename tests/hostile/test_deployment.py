"""What ``deploy`` and ``compile`` are given by others: configurations, model directories, records, names, archives."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from envbuilder.deployment.layout import deploy
from envbuilder.deployment.options import DeployOptions
from envbuilder.deployment.record import record_beside
from tests.deployment.conftest import CONFIG, MODEL, write_archive
from tests.helpers.hostile import Room, accepted, harmless, refused

TENSORS = "\n".join(CONFIG.splitlines()[3:])
"""What a configuration needs beside what is hostile in it."""


class Site(NamedTuple):
    """A model directory and an archive in a room."""

    room: Room
    model: Path
    archive: Path

    @property
    def config(self) -> Path:
        """The model's configuration."""
        return self.model / "config.pbtxt"

    def prepare(self) -> None:
        """Deploy it with the layout ``shared``."""
        deploy(self.archive, self.model, self.room.work / "repository", DeployOptions(layout="shared"))

    def deploy(self, *more: str, archive: str | None = None, **options: Any) -> Any:
        """Run the verb."""
        repository = options.pop("repository", "repository")
        arguments = [archive or self.archive, self.model, "--repository", repository, *more]
        return self.room.run("deploy", *arguments, **options)


@pytest.fixture
def site(room: Room) -> Site:
    model = room.work / "models" / "net"
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(CONFIG)
    (model / "1" / "model.py").write_text(MODEL)
    return Site(room, model, write_archive(room.work / "built"))


def _replace(make: Callable[[Path], object]) -> Callable[[Path], object]:
    def act(path: Path) -> None:
        path.unlink()
        make(path)

    return act


def _text(text: str | bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(text.encode() if isinstance(text, str) else text)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        here = os.getcwd()
        os.chdir(path.parent)  # its path may be longer than a socket's may be
        bound.bind(path.name)
        os.chdir(here)


def _name(name: str) -> Callable[[Path], object]:
    return _text(f'name: "{name}"\n{CONFIG}')


def _parameters(count: int, key: str = "EXECUTION_ENV_PATH") -> str:
    return CONFIG + f'parameters{{key:"{key}"}}\n' * count


NO_NAME = r"'.*' is not a valid model name: "
# Configurations: what is done to config.pbtxt, and what is said after its path.
CONFIGS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a FIFO": (_replace(os.mkfifo), " cannot be read: is a FIFO, not a file"),
    "a socket": (_replace(_socket), " cannot be read: is a socket, not a file"),
    "a folder": (_replace(os.mkdir), " cannot be read: is a folder, not a file"),
    "a device without an end": (
        _replace(lambda path: path.symlink_to("/dev/zero")),
        " cannot be read: is a character device, not a file",
    ),
    "a link to nothing": (
        _replace(lambda path: path.symlink_to("gone")),
        " cannot be read: No such file or directory",
    ),
    "a link to itself": (
        _replace(lambda path: path.symlink_to(path.name)),
        " cannot be read: Too many levels of symbolic links",
    ),
    "gone": (lambda path: path.unlink(), None),  # type: ignore[dict-item]  # said without its path
    "16 TB": (
        lambda path: os.truncate(path, 2**44 - 2**20),
        " is larger than 1 MiB, the limit for configurations",
    ),
    "not UTF-8": (_text(b'name: "\xff"'), " is not UTF-8: byte 7"),
    "UTF-16": (_text(CONFIG.encode("utf-16")), " is not UTF-8: byte 0"),
    "binary": (_text(bytes(range(256))), " is not UTF-8: byte 128"),
    "a mark": (_text("\ufeff" + CONFIG), r", line 1: .*Expected identifier or number, got .*"),
    "a NUL": (_text(f"\0{CONFIG}"), r", line 1: .*Expected identifier or number, got .*"),
    "escape codes": (_text("\x1b[2J\x1b]0;owned\x07{"), r", line 1: .*"),
    "escape codes in a field's name": (_text('"\x1b[31m": 1'), r", line 1: .*"),
    "a field without an end": (_text("a" * 2**20), r", line 1: Message type .* has no field named \"a+…"),
    "a string without an end": (_text('name: "' + "a" * 10**6), r", line 1: .*…"),
    "brackets": (_text("parameters " + "[" * 10**6), r", line 1: .*"),
    "braces": (_text("instance_group " + "{ count: 1 " * 50_000), r", line 1: .*…"),
    "an unknown field": (_text('hostile: "x"'), r', line 1: .* has no field named "hostile"\.'),
    "a field twice": (
        _text('name: "a"\nname: "b"'),
        r', line 2: .* should not have multiple "name" fields\.',
    ),
    "a type URL": (_text("[type.googleapis.com/x] { }"), r", line 1: .*"),
    "too large a number": (_text("max_batch_size: 99999999999999"), r", line 1: .*Value out of range.*"),
    "a number of a million digits": (_text("max_batch_size: " + "9" * 10**6), r", line 1: .*…"),
    "a lone surrogate": (_text(r'name: "\ud800"'), r", line 1: .*surrogates.*"),
    "bytes that are no text": (_text(r'name: "\377"'), r", line 1: .*"),
    "the environment four thousand times": (
        _text(_parameters(4_000)),
        " cannot be edited safely",
    ),
    "a name that leads up": (
        _name("../../x"),
        f": {NO_NAME}Triton rejects names that point to another folder",
    ),
    "a name that is a path": (
        _name("/tmp/x"),
        f": {NO_NAME}Triton rejects names that point to another folder",
    ),
    "a name of dots": (_name(".."), f": {NO_NAME}Triton rejects names that point to another folder"),
    "a hidden name": (_name(".x"), f": {NO_NAME}a folder of this name would be hidden"),
    "a name with escape codes": (_name(r"x\033[2J"), f": {NO_NAME}it is not usable in a URL .*"),
    "a name of two lines": (_name(r"x\nerror: y"), f": {NO_NAME}it is not usable in a URL .*"),
    "a name with a NUL": (_name(r"x\000y"), f": {NO_NAME}it is not usable in a URL .*"),
    "a name that turns around": (_name("x\u202ey"), f": {NO_NAME}it is not usable in a URL .*"),
    "a name of a query": (_name("x?y#z"), f": {NO_NAME}it is not usable in a URL .*"),
    "a name of spaces": (_name("  "), f": {NO_NAME}it is empty"),
    "too long a name": (_name("x" * 201), f": {NO_NAME}it is longer than 200 bytes"),
    "an ensemble": (
        _text('platform: "ensemble" ensemble_scheduling { }'),
        " is an ensemble, which runs no Python code",
    ),
    "another backend": (_text('backend: "../../python"'), ' says backend: "../../python"'),
    "an environment of somebody else's": (
        _text(CONFIG + 'parameters { key: "EXECUTION_ENV_PATH" value { string_value: "/opt/\\033[2Jx" } }'),
        " has an EXECUTION_ENV_PATH that was not written by a deployment: '/opt/.*x'",
    ),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_configuration_is_refused(site: Site, kind: str) -> None:
    """In the model directory, by each layout in turn; nothing is written."""
    spoil, said = CONFIGS[kind]
    spoil(site.config)
    layout = ("model", "shared", "backend")[list(CONFIGS).index(kind) % 3]
    where = f"{re.escape(str(site.config))}{said}" if said else f"{site.model} has no config.pbtxt"
    refused(site.deploy("--layout", layout), 8, re.compile(f"error: {where}"))


@pytest.mark.parametrize(
    "kind", [kind for kind in CONFIGS if " name" not in f" {kind}" and "environment" not in kind]
)
def test_a_configuration_of_another_model_stops_a_prune(site: Site, kind: str) -> None:
    """In the repository, where it stands beside what is deployed: only what can be read names nothing."""
    if kind in ("gone", "an ensemble", "another backend"):
        return
    site.prepare()
    theirs = site.room.work / "repository" / "theirs"
    theirs.mkdir()
    shutil.copy(site.config, theirs)
    spoil, said = CONFIGS[kind]
    spoil(theirs / "config.pbtxt")
    newer = write_archive(site.room.work / "built", torch="2.8.0")
    outcome = site.deploy("--layout", "shared", "--prune", archive=str(newer))
    refused(outcome, 8, re.compile(f"error: .*/repository/theirs/config\\.pbtxt{said}"))


# Configurations that are odd, and do no harm.
ODD = {
    "comments": "#" * 900_000 + "\n" + CONFIG,
    "spaces": CONFIG + " " * 300_000,
    "a hundred thousand strings in a row": CONFIG + "name: " + '"n" ' * 50 + "\n",
    "carriage returns": CONFIG.replace("\n", "\r\n"),
    "two thousand parameters": _parameters(1)
    + "".join(f'parameters{{key:"k{number}" value{{string_value:"v"}}}}\n' for number in range(2_000)),
    "the environment fifty times": _parameters(50),
    "a parameter with escape codes": CONFIG
    + 'parameters { key: "\\033[2J" value { string_value: "\\007" } }',
    "one line": CONFIG.replace("# Ours: do not touch.", "").replace("# the backend", "").replace("\n", " "),
}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_configuration_is_deployed(site: Site, kind: str) -> None:
    site.config.write_bytes(ODD[kind].encode())
    accepted(site.deploy(), may_write=["work/repository"])
    assert not deploy(site.archive, site.model, site.room.work / "repository").changed


def _file_for_a_version(model: Path) -> None:
    (model / "1").rename(model / "x")
    (model / "1").touch()


# Model directories: what is done to one, and what is said.
DIRECTORIES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a FIFO as the model": (
        lambda model: _replace(os.mkfifo)(model / "1" / "model.py"),
        "version 1 contains no model.py, model.pt, model.safetensors or model.pt2",
    ),
    "a FIFO beside the model": (
        lambda model: os.mkfifo(model / "1" / "x"),
        ".*/1/x is neither a file nor a folder",
    ),
    "a socket": (lambda model: _socket(model / "1" / "x"), ".*/1/x is neither a file nor a folder"),
    "a device": (lambda model: (model / "x").symlink_to("/dev/zero"), ".*/x is a dangling symlink"),
    "a link to itself": (lambda model: (model / "x").symlink_to("x"), ".*/x is a dangling symlink"),
    "a link to the model": (
        lambda model: (model / "1" / "x").symlink_to(model),
        ".*/x is a symlink to a folder that contains it",
    ),
    "no version": (lambda model: (model / "1").rename(model / "one"), ".* has no version folder"),
    "a version that is a file": (
        _file_for_a_version,
        ".* has no version folder",
    ),
    "a file of ours that is not ours": (
        lambda model: (model / "1" / "torch_runtime.py").symlink_to("/dev/zero"),
        "version 1 holds torch_runtime.py, the name under which the runtime is deployed",
    ),
    "a model file that leads out": (
        lambda model: (model / "config.pbtxt").write_text(
            CONFIG + 'default_model_filename: "../../../../etc/passwd.py"'
        ),
        "config.pbtxt: default_model_filename is '../../../../etc/passwd.py', not a file in the version folder",
    ),
    "a model file with a NUL": (
        lambda model: (model / "config.pbtxt").write_text(CONFIG + 'default_model_filename: "a\\000.py"'),
        r"config.pbtxt: default_model_filename is 'a\\u0000.py', not a file in the version folder",
    ),
}


@pytest.mark.parametrize("kind", DIRECTORIES)
def test_a_model_directory_is_refused(site: Site, kind: str) -> None:
    spoil, said = DIRECTORIES[kind]
    spoil(site.model)
    layout = ("model", "shared", "backend")[list(DIRECTORIES).index(kind) % 3]
    refused(site.deploy("--layout", layout), 8, re.compile(f"error: {said}"))


# Names in a model directory that are odd, and go along.
@pytest.mark.parametrize(
    "name", [b"a\nb", b"a\x1b[31m", b"\xff\xfe", b"-rf", b" ", b"a" * 255, "\u202e".encode()]
)
def test_odd_file_names_go_along(site: Site, name: bytes) -> None:
    path = os.path.join(os.fsencode(site.model / "1"), name)
    with open(path, "w") as file:
        file.write("x")
    accepted(site.deploy(), may_write=["work/repository"])
    copy = os.path.join(os.fsencode(site.room.work / "repository" / "net" / "1"), name)
    with open(copy) as file:
        assert file.read() == "x"
    os.unlink(path)
    done = deploy(site.archive, site.model, site.room.work / "repository")
    assert [os.fsencode(path) for path in done.removed] == [b"1/" + name]


# Records beside an environment: nothing but a sound one lets it be deleted.
def _record(**changes: Any) -> Callable[[Path], object]:
    def act(path: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return act


def _link_to_it(path: Path) -> None:
    path.rename(path.with_name("x"))
    path.symlink_to("x")


def _empty_repository(path: Path) -> None:
    empty = path.parent.parent / "empty"
    empty.mkdir()
    _record(repositories=[str(empty)])(path)


RECORDS: dict[str, Callable[[Path], object]] = {
    "empty": _text(""),
    "a list": _text("[]"),
    "null": _text("null"),
    "cut off": lambda path: os.truncate(path, 50),
    "nested": _text('{"repositories": ' + "[" * 10**5),
    "large": lambda path: path.write_bytes(path.read_bytes() + b" " * 2**20),
    "16 TB": lambda path: os.truncate(path, 2**44 - 2**20),
    "not UTF-8": _text(b"\xff"),
    "a FIFO": _replace(os.mkfifo),
    "a folder": _replace(os.mkdir),
    "a link": _link_to_it,
    "of another environment": _record(environment="tiny-0123456789ab.tar.gz"),
    "of another archive": _record(sha256="0" * 64),
    "of a later format": _record(format=2),
    "with something more": _record(more=1),
    "without repositories": _record(repositories=None),
    "with a repository that is no path": _record(repositories=["../repository"]),
    "with a repository that is a number": _record(repositories=[5]),
    "with a repository of two lines": _record(repositories=["/a\n/b"]),
    "with a digest that is none": _record(sha256="../../x"),
    "with a repository that is not there": _record(repositories=["/nowhere/at/all"]),
    "with a repository that is a device": _record(repositories=["/dev/zero"]),
    "with a repository that is empty": _empty_repository,
}


@pytest.mark.parametrize("kind", RECORDS)
def test_only_a_sound_record_lets_an_environment_be_deleted(site: Site, kind: str) -> None:
    site.prepare()
    old = site.room.work / "environments" / site.archive.name
    RECORDS[kind](record_beside(old))
    newer = write_archive(site.room.work / "built", torch="2.8.0")
    # Nobody can tell whose the old one is, so that it takes --replace to name another.
    outcome = site.deploy("--layout", "shared", "--prune", "--replace", archive=str(newer))
    accepted(outcome, may_write=["work/repository", "work/environments"])
    assert old.read_bytes() == site.archive.read_bytes()
    assert "deleted" not in outcome.stdout


# What the command line is given.
NAMES = ("../x", "/tmp/x", "..", "", ".x", "a/b", "a\\b", "a\nb", "a\x1b[2J", "a\udcffb", "x" * 300, "a?b")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("option", ["--name", "--backend"])
def test_a_name_is_refused(site: Site, option: str, name: str) -> None:
    more = ["--layout", "backend"] if option == "--backend" else []
    if option == "--backend" and not name:
        return  # none is given: it has its usual one
    said = re.compile(rf"error: {option.strip('-')}: '.*'…? is not a valid model name: .*")
    refused(site.deploy(option, name, *more), 8, said)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("envs", "'envs/tiny-.*' is not a path where a server finds an environment"),
        ("$$TRITON_MODEL_DIRECTORY/..", ".* is not a path where a server finds an environment"),
        ("/envs/../x", ".* is not a path where a server finds an environment"),
        ("/en\x1b[2Jvs", ".* cannot be written into config.pbtxt: .*"),
        ("/en\nvs", ".* cannot be written into config.pbtxt: .*"),
        ("/en\udcffvs", ".* cannot be written into config.pbtxt: .*"),
    ],
)
def test_a_path_of_a_container_is_refused(site: Site, path: str, said: str) -> None:
    refused(site.deploy("--layout", "shared", "--shared-as", path), 8, re.compile(f"error: {said}"))


FOLDERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a file": ("File exists", lambda path: path.touch()),
    "a FIFO": ("File exists", os.mkfifo),
    "a link to nothing": ("File exists", lambda path: path.symlink_to("gone")),
    "a link to itself": (
        "File exists|Too many levels of symbolic links",
        lambda path: path.symlink_to(path.name),
    ),
    "a device": ("File exists", lambda path: path.symlink_to("/dev/null")),
}


@pytest.mark.parametrize("kind", FOLDERS)
@pytest.mark.parametrize("option", ["--repository", "--shared", "--backends", "--store"])
def test_a_folder_that_is_none(site: Site, option: str, kind: str) -> None:
    said, make = FOLDERS[kind]
    place = site.room.work / "place"
    make(place)
    more = {
        "--repository": [],
        "--shared": ["--layout", "shared", "--shared", str(place)],
        "--backends": ["--layout", "backend", "--backends", str(place)],
        "--store": ["--unpacked", "--store", str(place)],
    }[option]
    where = str(place) if option == "--repository" else "repository"
    outcome = site.deploy(*more, repository=where)
    refused(outcome, 8, re.compile(f"error: {re.escape(str(place))} cannot be used as a folder: ({said})"))


@pytest.mark.parametrize("name", ["\udcff\udcfe", "a\nb", "\x1b[31m", "x" * 250])
@pytest.mark.parametrize("layout", ["model", "shared", "backend"])
def test_a_repository_with_an_odd_name(site: Site, name: str, layout: str) -> None:
    repository = site.room.work / "place" / name / "repository"
    outcome = site.deploy("--layout", layout, repository=str(repository))
    if layout == "shared" and not name.isprintable():
        # The path of the environment is one that config.pbtxt cannot hold.
        refused(outcome, 8, re.compile("error: .* cannot be written into config.pbtxt: .*"))
    else:
        accepted(outcome, may_write=["work/place"])


# Archives.
ARCHIVES: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "empty": (
        lambda path: os.truncate(path, 0),
        8,
        " is neither a tar archive nor one compressed by gzip: .*",
    ),
    "zeros": (
        lambda path: path.write_bytes(bytes(10_000)),
        8,
        " is neither a tar archive nor one compressed by gzip: .*",
    ),
    "zip": (
        lambda path: path.write_bytes(b"PK\x03\x04" + bytes(600)),
        8,
        " is neither a tar archive nor one compressed by gzip: .*",
    ),
    "cut off": (lambda path: os.truncate(path, 100), 5, ": its name says .*, but its sha256 begins with .*"),
    "changed": (
        lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\xff"),
        5,
        ": its name says .*, but its sha256 begins with .*",
    ),
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_is_refused(site: Site, kind: str) -> None:
    spoil, code, said = ARCHIVES[kind]
    spoil(site.archive)
    refused(site.deploy(), code, re.compile(f"error: {re.escape(str(site.archive))}{said}"))


@pytest.mark.parametrize("home", [None, "/nonexistent", "", "relative"])
@pytest.mark.parametrize("more", [[], ["--unpacked", "--layout", "shared"]], ids=str)
def test_without_a_home(site: Site, home: str | None, more: list[str]) -> None:
    outcome = site.deploy(*more, env={"HOME": home, "ENVBUILDER_CACHE": None})
    harmless(outcome, may_write=["work/repository", "work/environments", "work/relative"])
    assert outcome.code == 0, str(outcome)


# What `compile` runs is what config.pbtxt names: nothing that no server would run.
NAMED = {
    "$$TRITON_MODEL_DIRECTORY/../../../etc": (
        "'$$TRITON_MODEL_DIRECTORY/../../../etc' is not a path where a server finds"
    ),
    "$$TRITON_MODEL_DIRECTORY/a/../../x": "'$$TRITON_MODEL_DIRECTORY/a/../../x' is not a path where a server finds",
    "/opt/a\\000b": "'/opt/a\\u0000b' is not a path where a server finds",
    "/nowhere": "its environment is not at /nowhere",
    "x" * 5000: "its environment is not at xxxx",
}


@pytest.mark.parametrize("named", NAMED)
def test_an_environment_that_compile_does_not_run(site: Site, named: str) -> None:
    parameter = f'parameters {{ key: "EXECUTION_ENV_PATH" value {{ string_value: "{named}" }} }}'
    site.config.write_text(CONFIG + parameter)
    said = re.escape(f"error: {site.config}: {NAMED[named]}") + ".*"
    refused(site.room.run("compile", site.model), 8, re.compile(said))


@pytest.mark.parametrize("backend", ["../../x", "/x", "..", "", "a\\000b", "a\\033[2J"])
def test_a_backend_that_compile_does_not_follow(site: Site, backend: str) -> None:
    site.config.write_text(f'backend: "{backend}" runtime: "model.py"\n{TENSORS}')
    outcome = site.room.run("compile", site.model)
    refused(outcome, 8, re.compile(f"error: {re.escape(str(site.config))}.*"))


@pytest.mark.parametrize(
    ("field", "value"), [("recipe", "../x"), ("release", "99.13"), ("files", {}), ("format", "1")]
)
def test_an_unpacked_environment_with_a_hostile_manifest(site: Site, field: str, value: object) -> None:
    """What is inside the repository is somebody else's again, once it is deployed."""
    done = deploy(site.archive, site.model, site.room.work / "repository", DeployOptions(unpacked=True))
    manifest = done.environment / "share" / "envbuilder" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), field: value}))
    where = re.escape(f"error: {manifest}: {field}: ")
    refused(site.room.run("compile", done.folder), 5, re.compile(f"{where}.*"))
    # And where a record is missing, it is not taken for what its name says.
    record_beside(done.environment).unlink()
    said = re.compile(f"error: {re.escape(str(done.environment))} already exists with different content, .*")
    refused(site.deploy("--unpacked"), 8, said)
