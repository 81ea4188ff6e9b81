from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from envbuilder.cli import cli
from envbuilder.cli.commands import VERBS


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_reads_its_script(shell: str) -> None:
    result = CliRunner().invoke(cli, ["completion", shell])
    assert result.exit_code == 0
    assert "_ENVBUILDER_COMPLETE" in result.stdout
    subprocess.run([shell, "-n"], input=result.stdout, text=True, check=True)
    broken = subprocess.run(
        [shell, "-n"], input=result.stdout + "\n(\n", text=True, check=False, capture_output=True
    )
    assert broken.returncode != 0


def complete(*words: str) -> list[str]:
    """What bash offers for the last of *words*."""
    variables = {
        "_ENVBUILDER_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["envbuilder", *words]),
        "COMP_CWORD": str(len(words)),
    }
    command = [
        sys.executable,
        "-c",
        "import sys; sys.argv[0] = 'envbuilder'; from envbuilder.cli import run; run()",
    ]
    result = subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, text=True, check=True
    )
    return [line.partition(",")[2] for line in result.stdout.splitlines()]


def test_bash_completes_with_its_script(tmp_path: Path) -> None:
    """Sourced, as bash-completion does; the program is called by its name."""
    program = tmp_path / "envbuilder"
    program.write_text(f"#!{sys.executable}\nfrom envbuilder.cli import main\nmain()\n")
    program.chmod(0o755)
    typed = "COMP_WORDS=(envbuilder store pr) COMP_CWORD=2; $function envbuilder; echo ${COMPREPLY[@]}"
    text = (
        "source <(envbuilder completion bash)\n"
        "function=$(complete -p envbuilder | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n" + typed
    )
    result = subprocess.run(
        ["bash", "-ec", text],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (result.stdout, result.stderr) == ("prune\n", "")


def test_verbs_and_options_are_completed() -> None:
    assert complete("ver") == ["verify"]
    assert "--tritonserver" in complete("verify", "--tri")
    assert complete("completion", "") == ["bash", "zsh", "fish"]


def test_there_is_a_manual_page_for_each_verb(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["man", "--output", str(tmp_path / "man1")])
    assert result.exit_code == 0, result.output
    pages = {page.name for page in (tmp_path / "man1").iterdir()}
    assert {f"envbuilder-{verb}.1" for verb in VERBS} | {"envbuilder.1", "envbuilder-store-prune.1"} <= pages
    page = (tmp_path / "man1" / "envbuilder-verify.1").read_text()
    assert page.startswith(".TH ")
    assert "\\-\\-tritonserver" in page
