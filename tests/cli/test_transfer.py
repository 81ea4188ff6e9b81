from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from envbuilder import api
from envbuilder.transfer.aliases import Alias, Move
from envbuilder.transfer.archives import Transfer
from tests.cli.conftest import call

DONE = Transfer(
    archive=Path("envs/a-0123456789ab.tar.gz"),
    store="s3://bucket",
    sha256="a" * 64,
    size=1000,
    sent=("archive", "manifest"),
    there=3,
    reports=(Path("a.report.json"),),
)


def test_push_says_what_was_uploaded(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def push(what: Path, **options: Any) -> Transfer:
        asked.update(options, what=what)
        return DONE

    monkeypatch.setattr(api, "push", push)
    Path("a-0123456789ab.tar.gz").touch()
    done = call("push", "-q", "a-0123456789ab.tar.gz", "oci://host/a:1", "--report", "r.json")
    assert done.stdout.splitlines() == [
        "envs/a-0123456789ab.tar.gz: 2 objects uploaded, 3 already there",
        f"  1.0 kB, sha256 {'a' * 64}",
        "  store s3://bucket",
        "  report a.report.json",
    ]
    image = replace(DONE, image="oci://host/a@sha256:b")
    monkeypatch.setattr(api, "push", lambda *_, **__: image)
    assert call("push", "a-0123456789ab.tar.gz", "oci://host/a:1").stderr == (
        "next: envbuilder deploy envs/a-0123456789ab.tar.gz MODEL --repository REPOSITORY"
        " --layout image --image oci://host/a@sha256:b --mounted-at /envs/a\n"
    )
    assert (asked["to"], asked["reports"], asked["output"]) == (
        "oci://host/a:1",
        (Path("r.json"),),
        Path("envs"),
    )


@pytest.mark.parametrize(("sent", "said"), [(("archive",), "downloaded"), ((), "already present")])
def test_pull_says_whether_it_was_here(
    sent: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Transfer(
        archive=Path("a"), store="s3://b", sha256="a", size=1, sent=sent, image="oci://h/a@x", moved=9
    )
    monkeypatch.setattr(api, "pull", lambda *_, **__: found)
    done = call("pull", "a:stable")
    lines = done.stdout.splitlines()
    assert (lines[0], lines[-1]) == (f"a: {said}", "  image oci://h/a@x, 9 B of layers moved")
    assert done.stderr == "next: envbuilder verify a\n"


def test_an_alias_with_its_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    moves = tuple(Move(number=number, sha256=str(number) * 64, time="t") for number in (1, 2))
    monkeypatch.setattr(api, "alias", lambda name, *_, **__: Alias(name=name, moves=moves))
    lines = call("alias", "a:stable").stdout.splitlines()
    assert lines[0] == f"a:stable points to {'2' * 64}"
    assert [line.split()[0] for line in lines[1:]] == ["move", "2", "1"]
    monkeypatch.setattr(api, "alias", lambda name, *_, **__: Alias(name=name, moves=()))
    assert call("alias", "a:stable").stdout == "a:stable points to nothing\n"
