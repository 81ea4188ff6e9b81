from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from envbuilder import api
from tests.cli.conftest import call


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the API was asked for."""
    found: dict[str, Any] = {}

    def attest(archive: Path, **options: Any) -> Path:
        found.update(options, archive=archive)
        return Path("a.provenance.json")

    monkeypatch.setattr(api, "attest", attest)
    Path("a.tar.gz").touch()
    return found


def test_its_options_are_passed_on(asked: dict[str, Any]) -> None:
    done = call("attest", "-q", "a.tar.gz", "--key", "k", "--certificate", "c", "--builder", "urn:x")
    assert (done.stdout, done.exit_code) == ("wrote a.provenance.json\n", 0)
    assert (asked["key"], asked["certificate"], asked["builder"]) == (Path("k"), Path("c"), "urn:x")


def test_without_a_key_it_says_how_to_sign(asked: dict[str, Any]) -> None:
    assert "cosign attest-blob" in call("attest", "a.tar.gz").stdout
    assert asked["key"] is None


@pytest.mark.parametrize("option", ["--certificate", "--timestamp"])
def test_what_goes_with_a_key_only(option: str, asked: dict[str, Any]) -> None:
    done = call("attest", "a.tar.gz", option, "x")
    assert (done.exit_code, asked) == (2, {})
    assert f"{option} requires --key" in done.stderr
