from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Workspace, call, start


def test_results_go_to_stdout_and_nothing_else_does(workspace: Workspace) -> None:
    process = start("build", "--find-links", workspace.folder / "wheels", "--json")
    out, err = process.communicate(timeout=120)
    assert (json.loads(out)[0]["manifest"]["recipe"], err, process.returncode) == ("small", "", 0)


@pytest.mark.parametrize(
    "words",
    [
        ("sbom", "a.tar.gz", "-o", "a.tar.gz"),
        ("sbom", "a.tar.gz", "-o", "./link"),
        ("report", "a.tar.gz", "-o", "a.tar.gz"),
        ("verify", "a.tar.gz", "--report", "a.tar.gz"),
        ("verify", "a.tar.gz", "--junit", "a.json"),
        ("verify", "a.tar.gz", "--html", "x", "--report", "x"),
        ("size", "a.tar.gz", "--plot", "a.tar.gz"),
    ],
)
def test_an_output_replaces_no_input(workspace: Workspace, words: tuple[str, ...]) -> None:
    archive = workspace.build("--json")
    built = Path(json.loads(archive.stdout)[0]["archive"])
    Path("a.tar.gz").write_bytes(built.read_bytes())
    Path("a.json").write_bytes(built.with_name(built.name.replace(".tar.gz", ".json")).read_bytes())
    Path("link").symlink_to("a.tar.gz")
    before = {name: Path(name).read_bytes() for name in ("a.tar.gz", "a.json")}
    result = call(*words)
    assert result.exit_code == 2, result.output
    assert "it would be overwritten\n  hint: choose another file for the output" in result.stderr
    assert {name: Path(name).read_bytes() for name in before} == before
    assert not Path("x").exists()


def test_an_output_goes_through_a_link(workspace: Workspace) -> None:
    built = json.loads(workspace.build("--json").stdout)[0]["archive"]
    Path("end").write_text("before")
    Path("link").symlink_to("end")
    assert call("sbom", built, "-o", "link").exit_code == 0
    assert Path("link").is_symlink()
    assert json.loads(Path("end").read_text())["bomFormat"] == "CycloneDX"
