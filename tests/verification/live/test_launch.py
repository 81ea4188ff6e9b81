"""How a release launches a program, replayed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from envbuilder.catalog.triton import Launch
from envbuilder.util.process import CommandError
from envbuilder.verification.live import launch as contract
from envbuilder.verification.live.launch import Sandbox, launched

SERVER = {"PATH": "/usr/bin", "LD_LIBRARY_PATH": "/opt/tritonserver/lib", "PYTHONHOME": "/x"}
SHOW = '#!/bin/sh\nls /\necho "$LD_LIBRARY_PATH" "$VIRTUAL_ENV" "$ACTIVATED" "$LC_ALL"\necho "$@"\n'


def test_sourced() -> None:
    command, variables = launched("sourced", "/tmp/python_env_a/0", ["stub", "a b"], SERVER)
    assert command == [
        "/bin/bash",
        "-c",
        "source /tmp/python_env_a/0/bin/activate && "
        "exec env LD_LIBRARY_PATH=/tmp/python_env_a/0/lib:\"$LD_LIBRARY_PATH\" stub 'a b'",
    ]
    assert variables == SERVER


def test_direct() -> None:
    command, variables = launched("direct", "/e/0", ["stub", "a b"], SERVER)
    assert command == ["stub", "a b"]
    assert variables == {
        "PATH": "/e/0/bin:/usr/bin",
        "LD_LIBRARY_PATH": "/e/0/lib:/e/0/lib:/opt/tritonserver/lib",
        "VIRTUAL_ENV": "/e/0",
        "VIRTUAL_ENV_PROMPT": "(0)",
    }


def sandbox(folder: Path, *, isolate: bool) -> Sandbox:
    """A place whose Python shows what it can see."""
    made = Sandbox.make(folder / "root", isolate=isolate)
    (made.environment / "bin").mkdir()
    (made.environment / "bin" / "activate").write_text("export ACTIVATED=yes\n")
    python = made.environment / "bin" / "python3"
    python.write_text(SHOW)
    python.chmod(0o755)
    return made


def test_an_environment_lies_in_a_random_folder(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    first, second = sandbox(tmp_path, isolate=False), sandbox(tmp_path / "other", isolate=False)
    assert first.environment.parent.name != second.environment.parent.name


@pytest.mark.parametrize(("launch", "activated"), [("sourced", "yes"), ("direct", "")])
def test_isolated(tmp_path: Path, launch: Launch, activated: str) -> None:
    made = sandbox(tmp_path, isolate=True)
    if not made.isolated:
        assert os.geteuid() != 0  # root may always
        return
    seen = made.seen(made.environment)
    assert seen.startswith("/tmp/python_env_")
    done = made.run_python(launch, ["job"])
    *root, variables, arguments = done.stdout.splitlines()
    assert {"models", "verify", "tmp", "usr", "proc"} <= set(root)
    assert {"home", "root", "opt", "var", "work"} & set(root) == set()
    library = f"{seen}/lib:" if launch == "sourced" else f"{seen}/lib:{seen}/lib"
    environment = "" if launch == "sourced" else seen
    assert variables == f"{library} {environment} {activated} C"
    assert arguments == "-I -X utf8=0 job"


def test_what_is_outside_cannot_be_read(tmp_path: Path) -> None:
    made = sandbox(tmp_path, isolate=True)
    secret = tmp_path / "secret"
    secret.write_text("here")
    (made.environment / "bin" / "python3").write_text(f"#!/bin/sh\ncat {secret}\n")
    done = made.run_python("direct", [])
    assert (done.stdout == "") is made.isolated


def test_not_isolated(tmp_path: Path) -> None:
    made = sandbox(tmp_path, isolate=False)
    assert not made.isolated
    assert made.seen(made.environment) == str(made.environment)
    done = made.run_python("sourced", ["job"])
    assert done.stdout.splitlines()[-2] == f"{made.environment}/lib:  yes C"


@pytest.mark.parametrize("isolate", [True, False])
def test_its_home_is_its_own_and_empty(tmp_path: Path, isolate: bool) -> None:
    made = sandbox(tmp_path, isolate=isolate)
    (made.environment / "bin" / "python3").write_text(
        '#!/bin/sh\nls "$HOME"\ntouch "$HOME/own"\necho "$HOME"\n'
    )
    (home,) = made.run_python("direct", []).stdout.splitlines()
    assert (made.root / "tmp" / "home" / "own").exists()
    assert home == made.seen(made.root / "tmp" / "home")


def test_without_mount_namespaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    contract.mount_namespace.cache_clear()
    try:
        assert not sandbox(tmp_path, isolate=True).isolated
    finally:
        contract.mount_namespace.cache_clear()


@pytest.mark.parametrize("isolate", [True, False])
def test_a_program_that_does_not_end(tmp_path: Path, isolate: bool) -> None:
    made = sandbox(tmp_path, isolate=isolate)
    (made.environment / "bin" / "python3").write_text("#!/bin/sh\necho begun\nexec sleep 60\n")
    with pytest.raises(CommandError, match=r"ran out of time:\n  \| begun"):
        made.run_python("direct", [], timeout=1)


def test_what_is_hidden_is_not_in_reach(tmp_path: Path) -> None:
    made = sandbox(tmp_path, isolate=True)
    if not made.isolated:
        assert os.geteuid() != 0  # root may always
        return
    (made.environment / "bin" / "python3").write_text(
        "#!/bin/sh\ntest -s /usr/bin/env && echo program; ls /usr/share/doc | grep -q . && echo folder\n"
    )
    assert made.run_python("direct", ["job"]).stdout.split() == ["program", "folder"]
    hidden = made.run_python("direct", ["job"], hidden=["/usr/bin/env", "/usr/share/doc"])
    assert hidden.stdout.split() == []


def test_a_command_that_sees_nothing_of_what_is_hidden() -> None:
    script = (
        "test -s /usr/bin/env && echo program; ls /usr/share/doc | grep -q . && echo folder; echo $$ $HIDDEN"
    )
    command = [*contract.hiding(["/usr/bin/env", "/usr/share/doc"]), "/bin/sh", "-c", script]
    assert contract.hiding([]) == []
    if len(command) == 3:
        assert os.geteuid() != 0  # root may always
        return
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    said, _ = process.communicate(timeout=60)
    assert said.split() == [str(process.pid)]  # it became the program: whoever started it ends that


def test_what_a_compiler_of_this_machine_is_made_of() -> None:
    found = contract.host_compilers()
    program = shutil.which("g++")
    assert program is not None
    assert str(Path(program).resolve()) in found
    assert "/usr/lib/gcc" in found
    assert all(Path(path).exists() and not Path(path).is_symlink() for path in found)
    assert not {"/usr/bin/env", "/usr/bin/bash", "/usr/bin/python3"} & set(found)
