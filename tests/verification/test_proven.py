"""What was proven before counts for the same bytes, asked the same, on the same machine, and for nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

import envbuilder.verification.proven
from envbuilder.assemble.origin_proof import find_origin, record_origin
from envbuilder.deployment.pbtxt import set_parameter
from envbuilder.recipe.model import AuditOptions, VerifyOptions
from envbuilder.store.local import CACHE_VARIABLE, Store
from envbuilder.store.proofs import Proofs
from envbuilder.store.session import Session
from envbuilder.util.resources import sample_model, sample_models
from envbuilder.verification.live.model_deployment import ModelChoice
from envbuilder.verification.proven import Asked, Recalled
from envbuilder.verification.report import Check, check, failed, omitted, passed
from envbuilder.verification.request import VerifyRequest
from envbuilder.verification.server.servers import ServerChoice
from envbuilder.verification.server.stage import ServerStage
from envbuilder.verification.server.tritonserver import TritonServer

SHA256 = "5" * 64
ABOUT = {"size": 3, "unpacked_size": 5, "recipe": "r", "releases": ["25.06"], "python": "3.11"}
RAN: dict[str, Any] = {"isolated": True, "server": None, "environment": {}}
FILES = [passed("archive.readable", "x"), check("archive.name", "warning", "no digest")]
LIVE = [passed("probe.model", "y")]


@pytest.fixture
def proofs(tmp_path: Path) -> Proofs:
    return Proofs(store=Store(root=tmp_path / "store"))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "r-x.tar.gz"
    path.write_bytes(b"abc")
    (tmp_path / "r-x.json").write_bytes(b"{}")
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return shutil.copytree(sample_model(), tmp_path / "mlp")


def asked(proofs: Proofs, archive: Path, request: VerifyRequest, *, isolated: bool = True) -> Asked:
    found = Asked.of(proofs, archive, request, isolated=isolated)
    assert found is not None
    return found


def key(proofs: Proofs, archive: Path, request: VerifyRequest) -> str:
    return asked(proofs, archive, request).key


# -- the key ---------------------------------------------------------------------------------------

OTHER: dict[str, Any] = {
    "compile": {"mode": "max-autotune"},
    "releases": ("25.06",),
    "options": VerifyOptions(sbom=True),
    "isolate": False,
    "readonly": True,
}
"""Another value of what is asked, by its name; models have tests of their own."""
SAME: dict[str, Any] = {
    "cache": False,
    "server": ServerChoice(ask=True, ready_timeout=1.0),
    "lock": None,
    "recipe": None,
    "trusted": None,
}
"""What has a part of its own, or decides no check that is recorded."""


@pytest.mark.parametrize("name", [field.name for field in fields(VerifyRequest)])
def test_whatever_is_asked_is_in_the_key(
    proofs: Proofs, archive: Path, model: Path, tmp_path: Path, name: str
) -> None:
    usual = key(proofs, archive, VerifyRequest())
    if name in SAME:
        assert key(proofs, archive, replace(VerifyRequest(), **{name: SAME[name]})) == usual
    elif name in OTHER:
        assert key(proofs, archive, replace(VerifyRequest(), **{name: OTHER[name]})) != usual
    else:
        known = ("model", "choice")  # see below
        assert name in known, f"{name} is new: say above whether it is part of the key, and test it"


CHANGES: dict[str, Callable[[Path], object]] = {
    "a file": lambda model: (model / "1" / "model.py").write_text("x = 1"),
    "its configuration": lambda model: (model / "config.pbtxt").write_text("max_batch_size: 3"),
    "one more": lambda model: (model / "1" / "more.py").write_text(""),
    "one less": lambda model: (model / "1" / "model.py").unlink(),
    "a name": lambda model: (model / "1").rename(model / "2"),
    "a mode": lambda model: (model / "1" / "model.py").chmod(0o600),
    "a folder": lambda model: (model / "3").mkdir(),
    "a link": lambda model: (model / "link").symlink_to("1"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_model(proofs: Proofs, archive: Path, model: Path, change: str) -> None:
    before = key(proofs, archive, VerifyRequest(model=model))
    assert key(proofs, archive, VerifyRequest(model=model)) == before
    CHANGES[change](model)
    assert key(proofs, archive, VerifyRequest(model=model)) != before


def test_what_links_lead_to_is_part_of_a_model(
    proofs: Proofs, archive: Path, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "a.pt").write_bytes(b"1")
    (model / "1" / "weights").symlink_to(tmp_path / "weights")
    before = key(proofs, archive, VerifyRequest(model=model))
    (tmp_path / "weights" / "a.pt").write_bytes(b"2")
    assert key(proofs, archive, VerifyRequest(model=model)) != before


def test_the_model_of_the_same_files_elsewhere_is_the_same(
    proofs: Proofs, archive: Path, model: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(model, tmp_path / "b" / "mlp")
    assert key(proofs, archive, VerifyRequest(model=model)) == key(proofs, archive, VerifyRequest(model=copy))


def test_another_machine_and_another_sandbox(
    proofs: Proofs, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = key(proofs, archive, VerifyRequest())
    assert asked(proofs, archive, VerifyRequest(), isolated=False).key != before
    monkeypatch.setattr(envbuilder.verification.proven, "machine_digest", lambda: "other")
    assert key(proofs, archive, VerifyRequest()) != before


def test_what_cannot_be_told_from_another_has_no_key(proofs: Proofs, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "endless" / "1").mkdir(parents=True)
    (tmp_path / "endless" / "1" / "again").symlink_to("..")
    for request in (
        VerifyRequest(model=tmp_path / "endless"),
        VerifyRequest(compile={"backend": object()}),
        VerifyRequest(model=tmp_path / "none"),
        VerifyRequest(model=Path("/dev/null")),
    ):
        assert Asked.of(proofs, archive, request, isolated=True) is None


CHOICES: dict[str, Callable[[Path], ModelChoice]] = {
    "inputs": lambda folder: ModelChoice(inputs=file(folder / "inputs.json", b"{}")),
    "other inputs": lambda folder: ModelChoice(inputs=file(folder / "inputs.json", b"[]")),
    "expected": lambda folder: ModelChoice(expected=file(folder / "expected.json", b"{}")),
    "tolerance": lambda folder: ModelChoice(tolerance={"rtol": 0.1}),
    "another model": lambda folder: ModelChoice(model=sample_models()[1]),
    "a model under another name": lambda folder: ModelChoice(
        model=shutil.copytree(sample_model(), folder / "x")
    ),
}


def file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_what_models_are_asked(proofs: Proofs, archive: Path, tmp_path: Path) -> None:
    keys = {"usual": key(proofs, archive, VerifyRequest())}
    assert key(proofs, archive, VerifyRequest(choice=ModelChoice())) == keys["usual"]
    for name, choose in CHOICES.items():
        keys[name] = key(proofs, archive, VerifyRequest(choice=choose(tmp_path)))
    assert len(set(keys.values())) == len(keys)


def test_every_choice_is_in_the_key() -> None:
    tested = {"inputs", "expected", "tolerance", "model", "repository", "names"}
    assert {one.name for one in fields(ModelChoice)} == tested, "say in proven.py what is new, and test it"


def test_a_model_that_names_another_one(proofs: Proofs, archive: Path, model: Path) -> None:
    other = shutil.copytree(model, model.parent / "other_model")
    (model / "1" / "model.py").write_text('NAME = "other_model"\n')
    before = key(proofs, archive, VerifyRequest(model=model))
    (other / "1" / "model.py").write_text("x = 1")
    assert key(proofs, archive, VerifyRequest(model=model)) != before


def test_a_repository_is_asked_each_time(proofs: Proofs, archive: Path, model: Path) -> None:
    request = VerifyRequest(choice=ModelChoice(repository=model.parent))
    assert Asked.of(proofs, archive, request, isolated=True) is None


# -- files -----------------------------------------------------------------------------------------


def test_files_are_known_under_their_names(proofs: Proofs, archive: Path, tmp_path: Path) -> None:
    known = asked(proofs, archive, VerifyRequest())
    assert known.measured() is None
    known.record_files(SHA256, FILES, ABOUT)
    assert known.find_files(SHA256) is not None
    assert known.measured() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert known.find_files("6" * 64) is None
    beside = tmp_path / "r-x.json"
    beside.write_bytes(b"[]")
    assert known.find_files(SHA256) is None
    beside.unlink()
    assert known.find_files(SHA256) is None
    beside.write_bytes(b"{}")
    assert known.find_files(SHA256) is not None
    renamed = archive.rename(tmp_path / "other.tar.gz")
    beside.rename(tmp_path / "other.json")
    assert asked(proofs, renamed, VerifyRequest()).find_files(SHA256) is None


def test_an_archive_of_another_size_is_not_read_twice(proofs: Proofs, archive: Path) -> None:
    known = asked(proofs, archive, VerifyRequest())
    known.record_files(SHA256, FILES, ABOUT)
    archive.write_bytes(b"abcd")
    assert known.measured() is None
    archive.unlink()
    os.mkfifo(archive)
    assert known.measured() is None


def test_what_is_of_today_is_checked_today(proofs: Proofs, archive: Path, tmp_path: Path) -> None:
    signed: Any = object()
    audit = AuditOptions(advisories=tmp_path)
    for request in (
        VerifyRequest(trusted=signed),
        VerifyRequest(options=VerifyOptions(audit=audit)),
        VerifyRequest(options=VerifyOptions(sbom=True)),
    ):
        known = asked(proofs, archive, request)
        known.record_files(SHA256, FILES, ABOUT)
        assert known.find_files(SHA256) is None


# -- what ran --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "doubtful",
    [
        failed("probe.model", "x", "y"),
        check("probe.packages", "warning", "no time"),
        omitted("server.http", "x"),
    ],
    ids=["failed", "warning", "omitted"],
)
def test_what_did_not_pass_is_not_recorded(proofs: Proofs, archive: Path, doubtful: Check) -> None:
    known = asked(proofs, archive, VerifyRequest())
    for checks in ({"live": [*LIVE, doubtful], "served": []}, {"live": LIVE, "served": [doubtful]}):
        known.record_run(SHA256, None, checks, RAN)
        assert known.find_run(SHA256, None) is None
    if doubtful.status == "failed":
        known.record_files(SHA256, [*FILES, doubtful], ABOUT)
        assert known.find_files(SHA256) is None


def make_server(folder: Path) -> TritonServer:
    """An installation of a server, of files that do nothing."""
    for name in ("bin/tritonserver", "backends/python/triton_python_backend_stub", "lib/libtriton.so"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"#!/bin/sh\n")
        path.chmod(0o755)
    return TritonServer(
        binary=folder / "bin" / "tritonserver",
        backends=folder / "backends",
        stubs={"3.11": folder / "backends" / "python" / "triton_python_backend_stub"},
        libraries=(folder / "lib",),
    )


@pytest.mark.parametrize(
    "name", ["bin/tritonserver", "backends/python/triton_python_backend_stub", "lib/libtriton.so", "lib/new"]
)
def test_another_server(proofs: Proofs, archive: Path, tmp_path: Path, name: str) -> None:
    server = make_server(tmp_path / "server")
    known = asked(proofs, archive, VerifyRequest())
    known.record_run(SHA256, server, {"live": LIVE, "served": []}, RAN)
    assert known.find_run(SHA256, server) is not None
    assert known.find_run(SHA256, None) is None
    (tmp_path / "server" / name).write_bytes(b"#!/bin/sh\nexit 1\n")
    assert known.find_run(SHA256, server) is None


def test_a_server_that_says_not_which_it_is_is_asked_each_time(proofs: Proofs, archive: Path) -> None:
    nameless: Any = object()
    known = asked(proofs, archive, VerifyRequest())
    known.record_run(SHA256, nameless, {"live": LIVE, "served": []}, RAN)
    assert known.find_run(SHA256, nameless) is None


# -- all of it -------------------------------------------------------------------------------------


class Finder:
    """Finds the server that it was given."""

    def __init__(self, server: TritonServer) -> None:
        self._server = server

    def find(self, program: Path | None, session: Session, *, fetch: bool) -> TritonServer:
        return self._server


def record_all(known: Asked, server: TritonServer) -> str:
    known.record_files("", FILES, ABOUT)
    sha256 = known.measured()
    assert sha256 is not None
    known.record_files(sha256, FILES, ABOUT)
    record_origin(known.proofs, sha256, "from wheels", lock=None, recipe=None)
    known.record_run(sha256, server, {"live": LIVE, "served": LIVE}, RAN)
    return sha256


def test_all_or_nothing(proofs: Proofs, archive: Path, tmp_path: Path) -> None:
    server = make_server(tmp_path / "server")
    request = VerifyRequest(server=ServerChoice(ask=True))
    serving = ServerStage(session=Session(store=proofs.store), choice=request.server, finder=Finder(server))
    known = asked(proofs, archive, request)
    sha256 = record_all(known, server)

    def recalled() -> Recalled | None:
        return known.recall(serving)

    assert recalled() is not None
    doubting = replace(known, proofs=Proofs(store=proofs.store, believe=False))
    assert doubting.recall(serving) is None
    assert (doubting.find_files(sha256), doubting.find_run(sha256, server)) == (None, None)
    assert find_origin(doubting.proofs, sha256, lock=None, recipe=None) is None
    assert find_origin(known.proofs, sha256, lock=None, recipe=None) is not None
    for missing in (
        lambda: server.binary.write_bytes(b"other"),
        lambda: archive.write_bytes(b"xyz"),
        lambda: proofs.store.clear(),
    ):
        missing()
        assert recalled() is None
        archive.write_bytes(b"abc")
        record_all(known, server)
        assert recalled() is not None
    assert known.measured() == sha256
    assert known.recall(None) is None  # nobody was asked for a proof without a server


# -- the whole program -----------------------------------------------------------------------------


def program(store: Store, archive: Path, *options: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "envbuilder", "verify", archive, "--server", "--json", *options]
    return subprocess.Popen(
        command,
        env={**os.environ, CACHE_VARIABLE: str(store.root)},
        cwd=archive.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def report_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=900)
    assert (process.returncode, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


def proven(report: dict[str, Any]) -> set[str]:
    return {one["id"] for one in report["checks"] if "proven" in one}


def told(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(one["id"], one["release"], one["status"]) for one in report["checks"]]


@pytest.mark.torch
@pytest.mark.server
@pytest.mark.network
@pytest.mark.slow
@pytest.mark.usefixtures("server")  # in the store of this run
def test_a_second_verification(tmp_path: Path, cpu_archive: Path, model: Path, store: Store) -> None:
    config = model / "config.pbtxt"
    text = set_parameter(config.read_text(), "TORCH_COMPILE_OPTIONAL_PARAMETERS", '{"disable": true}')
    config.write_text(text)
    archive = tmp_path / cpu_archive.name
    os.link(cpu_archive, archive)
    own = Store(root=tmp_path / "store")
    own.root.mkdir(exist_ok=True)
    (own.root / "tools").symlink_to(store.root / "tools")
    (own.root / "artifacts").symlink_to(store.root / "artifacts")
    if (store.root / "proofs").exists():  # the build knows where the files of its archive come from
        shutil.copytree(store.root / "proofs", own.root / "proofs")
        shutil.copy2(store.root / "proofs.secret", own.root)
    options = ("--model", model)

    # Two at once, with nothing else known: neither takes from the other what that has not proven yet, and one takes
    # not even what the build has proven.
    both = [program(own, archive, *options), program(own, archive, *options, "--no-cache")]
    first, anew = map(report_of, both)
    assert told(first) == told(anew)
    assert proven(first) <= {"manifest.origin"}
    assert proven(anew) == set()
    assert "server.grpc" in {one["id"] for one in first["checks"]}

    began = time.monotonic()
    second = report_of(program(own, archive, *options))
    assert time.monotonic() - began < first["seconds"] / 4
    assert told(second) == told(first)
    assert proven(second) == {one["id"] for one in first["checks"]}
    known = {"seconds", "checks", "environment"}  # of which of the two says how long its import took
    assert {name: value for name, value in second.items() if name not in known} == {
        name: value for name, value in first.items() if name not in known
    }

    config.write_text(f"{text}\n# changed\n")
    other = report_of(program(own, archive, *options))
    assert told(other) == told(first)
    assert proven(other) == {"manifest.origin"}  # it is the same archive
    assert list((own.root / "tmp").iterdir()) == []
