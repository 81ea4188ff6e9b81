"""The process that asks py-rattler: a question in a file, an answer on standard output."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.channels import make_channel
from tests.helpers.conda_parts import fake_cut, locked

LINUX = {"name": "__linux", "version": "4.18", "build": "0"}


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``top`` needs ``middle``, which needs ``bottom``; of that there are two."""
    return make_channel(
        tmp_path_factory.mktemp("channel"),
        [
            fake_cut("bottom"),
            fake_cut("bottom", "2.0"),
            fake_cut("middle", depends=["bottom", "__linux >=4"]),
            fake_cut("top", depends=["middle"], noarch="python"),
        ],
    )


Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def ask(channel: Path, tmp_path: Path) -> Ask:
    def ask(*specs: str, **changes: object) -> dict[str, Any]:
        question = {
            "channels": [channel.as_uri()],
            "platforms": ["linux-64", "noarch"],
            "specs": specs,
            "constraints": [],
            "virtual": [LINUX],
            "exclude_newer": None,
            "keep": {},
            "ssl_verify": True,
            "proxies": {},
            "cache": str(tmp_path / "cache"),
            "timeout": 15,
            "limits": {"AS": 8 * 2**30, "FSIZE": 2**30},
            **changes,
        }
        path = tmp_path / "question.json"
        path.write_text(json.dumps(question))
        command = [sys.executable, "-I", "-m", "envbuilder.base.conda_child", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return ask


def versions(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["name"], one["version"]) for one in answer["records"]]


def test_packages_come_after_what_they_need_with_all_that_a_lock_says(ask: Ask, channel: Path) -> None:
    answer = ask("top")
    assert versions(answer) == [("bottom", "2.0"), ("middle", "1.0"), ("top", "1.0")]
    top = answer["records"][2]
    cut = fake_cut("top", noarch="python")
    package = locked(cut, next((channel / "noarch").glob("top-*")))
    assert (top["filename"], top["sha256"], top["size"], top["subdir"], top["build"]) == (
        package.filename,
        package.sha256,
        package.size,
        "noarch",
        "0",
    )
    assert (top["depends"], top["noarch_python"]) == (["middle"], True)
    assert top["url"] == f"{channel.as_uri()}/noarch/{package.filename}"
    assert not answer["records"][1]["noarch_python"]


def test_what_was_locked_stays_where_its_bytes_are_the_same(ask: Ask, channel: Path) -> None:
    (path,) = (channel / "linux-64").glob("bottom-1.0-*")
    sha256 = locked(fake_cut("bottom"), path).sha256
    kept = ask("top", keep={"bottom ==1.0 0": sha256})
    assert versions(kept)[0] == ("bottom", "1.0")
    changed = ask("top", keep={"bottom ==1.0 0": "0" * 64})
    assert versions(changed)[0] == ("bottom", "2.0")


def test_constraints_hold_for_what_comes_along(ask: Ask) -> None:
    assert versions(ask("top", constraints=["bottom <2"]))[0] == ("bottom", "1.0")


@pytest.mark.parametrize(
    ("specs", "changes", "said"),
    [
        (["gone"], {}, "gone"),
        (["bottom >=3"], {}, "bottom >=3"),
        (["top"], {"virtual": []}, "__linux"),
        (["top"], {"constraints": ["bottom >=3"]}, "bottom"),
    ],
)
def test_no_solution_is_told_in_the_solvers_words(
    ask: Ask, specs: list[str], changes: dict[str, object], said: str
) -> None:
    answer = ask(*specs, **changes)
    assert answer["refused"] is True
    assert said in answer["text"]


def test_a_channel_that_cannot_be_read_is_told_by_its_number(ask: Ask, channel: Path, tmp_path: Path) -> None:
    answer = ask("top", channels=[channel.as_uri(), (tmp_path / "none").as_uri()])
    assert answer["unreachable"] == 1
    for subdir in ("linux-64", "noarch"):
        (tmp_path / "nonsense" / subdir).mkdir(parents=True)
        (tmp_path / "nonsense" / subdir / "repodata.json").write_text("<html>")
    # py-rattler does not name it here: each is asked alone.
    answer = ask("top", channels=[channel.as_uri(), (tmp_path / "nonsense").as_uri()])
    assert (answer["unreachable"], "repodata" in answer["text"]) == (1, True)
