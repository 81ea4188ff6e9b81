from __future__ import annotations

import dataclasses
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from envbuilder.cli.output import short
from envbuilder.lockfile.pylock import write_lock
from envbuilder.verification import options
from envbuilder.verification.report import Check
from envbuilder.verification.verify import VerifyRequest
from tests.cli.conftest import Workspace, call, report_of, start, verified


def test_many_recipes_end_in_one_table(workspace: Workspace) -> None:
    recipes = workspace.folder / "recipes"
    (recipes / "z.yaml").write_text((recipes / "small.yaml").read_text())
    result = workspace.build()
    lines = result.stdout.splitlines()
    (archive,) = Path("envs").glob("small-*.tar.gz")
    assert lines[0].split() == ["recipe", "archive,", "or", "error"]
    assert lines[1].split() == ["small", "built", str(archive)]
    assert lines[2].startswith("z       refused  ")
    assert lines[2].endswith("pylock.z.toml (envbuilder lock z)")
    assert lines[3] == "2 recipes: 1 built, 1 refused"
    assert result.exit_code == 3
    (first, second) = json.loads(workspace.build("--json").stdout)
    assert (first["recipe"], first["state"], first["archive"]) == ("small", "already there", str(archive))
    assert (second["state"], second["failure"]["exit_code"]) == ("refused", 3)


def test_a_matrix(workspace: Workspace) -> None:
    recipes = workspace.folder / "recipes"
    path = recipes / "small.yaml"
    path.write_text(path.read_text().replace("cuda: cpu", "cuda: [cpu, cu118]"))
    lock = dataclasses.replace(workspace.lock, recipe="small-cpu")
    write_lock(lock, recipes / "pylock.small-cpu.toml")
    result = workspace.build("--matrix")
    lines = result.stdout.splitlines()
    (archive,) = Path("envs").glob("small-cpu-*.tar.gz")
    assert lines[1].split() == ["small-cpu", "built", str(archive)]
    assert lines[2].startswith("small-cu118  refused  ")
    assert "torch 2.13.0" in lines[2]
    assert lines[3] == "2 recipes: 1 built, 1 refused"
    assert result.exit_code == 2
    checked = call("lock", "--check", "--matrix", "--quiet")
    assert checked.stdout.startswith(f"{short(recipes)}/pylock.small-cpu.toml: current, ")
    assert checked.stderr.startswith(f"error: {path}:")
    assert checked.exit_code == 2


def test_build_says_where_what_and_how_large(workspace: Workspace) -> None:
    result = workspace.build()
    assert result.exit_code == 0, result.stderr
    (archive,) = Path("envs").glob("small-*.tar.gz")
    lines = result.stdout.splitlines()
    assert lines[0] == f"{archive}: built"
    assert lines[2].startswith("  sha256 " + archive.name[6:18])
    assert lines[4] == "  4 segments made, 0 reused"
    assert [line for line in lines if line.startswith("  excluded ")]
    told = result.stderr.splitlines()
    assert told[0] == "Fetching, assembling and packing 2 wheels"
    assert told[-1] == f"next: envbuilder verify {archive}"

    again = workspace.build("--quiet")
    assert again.stdout.splitlines()[0] == f"{archive}: already there"
    assert "segments" not in again.stdout
    assert again.stderr == ""


def test_build_in_json_leaves_the_files_to_the_manifest(workspace: Workspace) -> None:
    result = workspace.build("--json", "-o", "out")
    assert result.stderr == ""
    (report,) = json.loads(result.stdout)
    assert Path(report["archive"]).stat().st_size == report["size"]
    assert report["manifest"]["recipe"] == "small"
    assert "files" not in report["manifest"]


def test_build_check_builds_again(workspace: Workspace) -> None:
    result = workspace.build("--check", "-q")
    assert result.stdout.splitlines()[0].endswith(": built, byte-identical when rebuilt from scratch")


def test_verify_shows_checks_and_writes_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[VerifyRequest] = []
    good = report_of(Check(id="archive.name", status="passed", found="a" * 200, release="pytriton-0.7.0"))

    verified(monkeypatch, good, asked)
    Path("a.tar.gz").write_text("")
    result = call(
        *("verify", "a.tar.gz", "--release", "25.06", "--release", "26.06", "--no-server", "--model", "m"),
        *("--report", "out/r.json", "--junit", "out/r.xml"),
    )
    assert result.stdout.splitlines() == [
        "check         result  found for pytriton-0.7.0",
        f"archive.name  passed  {'a' * 200}",
        "envs/x.tar.gz: 1 passed (62 s)",
    ]
    assert result.exit_code == 0
    (request,) = asked
    assert (request.releases, request.server.ask, request.model) == (("25.06", "26.06"), False, Path("m"))
    assert result.stderr == "next: envbuilder deploy a.tar.gz m --repository REPOSITORY\n"
    assert Path("out/r.json").read_text() == good.json()
    assert Path("out/r.xml").read_text() == good.junit()
    assert call("verify", "a.tar.gz", "--json").stdout == good.json()
    assert asked[-1].server.ask is None
    checks = [
        Check(id="layout.libpython", status="passed", found="f", release=one) for one in ("25.06", "26.06")
    ]
    verified(monkeypatch, report_of(*checks), [])
    assert call("verify", "a.tar.gz").stdout.splitlines()[:2] == [
        "check             release  result  found",
        "layout.libpython    25.06  passed  f",
    ]


def test_verify_takes_a_repository_and_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[VerifyRequest] = []
    verified(monkeypatch, report_of(), asked)
    Path("a.tar.gz").write_text("")
    assert call("verify", "a.tar.gz", "--repository", "models").exit_code == 0
    call("verify", "a.tar.gz", "--repository", "models", "--model", "a", "--model", "b")
    call("verify", "a.tar.gz", "--repository", "models", "--model", "a", "--inputs", "a.npz")
    call("verify", "a.tar.gz", "--model", "models/a", "--inputs", "a.npz")
    assert [(one.models.repository, one.models.names, one.models.inputs) for one in asked[:3]] == [
        (Path("models"), (), None),
        (Path("models"), ("a", "b"), None),
        (Path("models"), ("a",), Path("a.npz")),
    ]
    assert (asked[3].models.model, asked[3].models.inputs) == (Path("models/a"), Path("a.npz"))
    for wrong, told in [
        (["--model", "a", "--model", "b"], "several --model require --repository"),
        (
            ["--repository", "m", "--inputs", "x"],
            "--inputs with --repository requires exactly one --model NAME",
        ),
    ]:
        result = call("verify", "a.tar.gz", *wrong)
        assert result.exit_code == 2
        assert told in result.stderr


def test_the_model_of_the_recipe_is_the_one_to_deploy(monkeypatch: pytest.MonkeyPatch) -> None:
    verified(monkeypatch, report_of(), [])
    completed = options.complete_request

    def with_model(*args: Any, **named: Any) -> Any:
        request, session = completed(*args, **named)
        return dataclasses.replace(request, model=Path.cwd() / "models" / "a"), session

    monkeypatch.setattr(options, "complete_request", with_model)
    Path("a.tar.gz").write_text("")
    told = call("verify", "a.tar.gz").stderr
    assert told == "next: envbuilder deploy a.tar.gz models/a --repository REPOSITORY\n"


def test_what_is_not_known_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    check = Check(id="probe.model", status="unknown", found="not known: why", fix="ask a server")
    verified(monkeypatch, report_of(check))
    Path("a.tar.gz").write_text("")
    result = call("verify", "a.tar.gz")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].endswith("  not known  not known: why")
    assert "→ ask a server" in result.stdout
    assert result.stdout.splitlines()[-1] == "envs/x.tar.gz: 1 not known (62 s)"


def test_verify_by_a_lock_that_is_not_there() -> None:
    Path("a.tar.gz").write_text("")
    result = call("verify", "a.tar.gz", "--lock", "pylock.x.toml")
    assert result.exit_code == 3
    assert "there is no pylock.x.toml" in result.stderr


def test_verify_that_fails_is_exit_code_7_after_its_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = report_of(
        Check(id="layout.python", status="failed", found="none", fix="add it", release="25.06"),
        Check(id="layout.python", status="failed", found="none", release="26.06"),
        Check(id="probe.model", status="failed", found="no answer"),
    )
    verified(monkeypatch, bad)
    Path("a.tar.gz").write_text("")
    result = call("verify", "a.tar.gz", "--junit", "r.xml")
    assert result.stderr == "error: 3 checks failed: layout.python, probe.model\n"
    assert result.exit_code == 7
    assert Path("r.xml").is_file()
    quiet = call("verify", "a.tar.gz", "--json")
    assert (json.loads(quiet.stdout)["passed"], quiet.exit_code) == (False, 7)


def test_size_prints_tables_and_draws(workspace: Workspace) -> None:
    workspace.build("-q")
    (archive,) = Path("envs").glob("small-*.tar.gz")

    result = call("size", archive, "--plot", "a.svg")

    lines = result.stdout.splitlines()
    assert lines[0].split() == ["package", "packed", "share", "unpacked", "files"]
    assert {"alpha", "beta", "(interpreter)", "total"} <= {line.split()[0] for line in lines if line}
    assert lines[-1] == "drawn: a.svg"
    assert Path("a.svg").is_file()
    assert not [line for line in lines if line.endswith(" ")]
    assert result.stderr.startswith(f"Reading {archive.name}: ")

    listed = json.loads(call("size", archive, "--json").stdout)
    assert listed["packed"] == archive.stat().st_size == sum(cell["packed"] for cell in listed["cells"])


def test_size_of_what_is_no_archive_is_exit_code_5() -> None:
    Path("a.tar.gz").write_text("no archive")
    result = call("size", "a.tar.gz")
    assert result.stderr.splitlines()[-2:] == [
        "error: a.tar.gz cannot be read to its end: truncated header (at its first header)",
        "  hint: expected a tar, plain or compressed with gzip, as `envbuilder build` writes it",
    ]
    assert (result.stdout, result.exit_code) == ("", 5)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_build_that_is_stopped_leaves_nothing_half_made(
    workspace: Workspace, number: signal.Signals
) -> None:
    process = start("build", "--find-links", workspace.folder / "wheels")
    assert process.stderr is not None
    assert process.stderr.readline() == "Fetching, assembling and packing 2 wheels\n"
    process.send_signal(number)
    said = process.communicate(timeout=60)[1].splitlines()

    assert process.returncode == 128 + number
    assert said[-1] == ("interrupted" if number == signal.SIGINT else "terminated")
    assert not [line for line in said if "Traceback" in line]
    assert [path for folder in ("envs", "store/tmp") for path in Path(folder).glob("*")] == []
    assert workspace.build("-q").exit_code == 0
