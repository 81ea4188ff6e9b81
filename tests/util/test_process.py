from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from envbuilder.util.process import CommandError, announce, observed, run

PYTHON = sys.executable


def test_the_environment_is_exactly_what_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAKS", "1")
    done = run(
        [PYTHON, "-I", "-c", "import os; print(sorted(set(os.environ) - {'LC_CTYPE'}))"], env={"ONLY": "this"}
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "['ONLY']\n", "")


def test_output_is_captured_apart_and_need_not_be_utf8(tmp_path: Path) -> None:
    code = r"import os, sys; os.write(1, b'a\xff'); os.write(2, os.getcwd().encode())"
    done = run([PYTHON, "-c", code], env=os.environ, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("a\ufffd", str(tmp_path))


def test_there_is_no_standard_input() -> None:
    assert run([PYTHON, "-c", "print(repr(input()))"], env={}, check=False).stderr.endswith(
        "EOFError: EOF when reading a line\n"
    )


def test_a_failure_names_the_command_and_its_last_lines() -> None:
    code = "import sys; [print(f'line {n}') for n in range(100)]; print('why', file=sys.stderr); sys.exit(3)"
    with pytest.raises(CommandError) as raised:
        run([PYTHON, "-c", code], env={})
    lines = raised.value.message.splitlines()
    assert (
        lines[0]
        == f"`{PYTHON} -c '{code.replace(chr(39), chr(39) + chr(34) + chr(39) + chr(34) + chr(39))}'` exited with 3:"
    )
    assert lines[1:3] == ["  | line 71", "  | line 72"]
    assert lines[-2:] == ["  | line 99", "  | why"]
    assert raised.value.output.startswith("line 0\n")
    assert raised.value.exit_code == 1


def test_a_long_line_is_cut() -> None:
    with pytest.raises(CommandError) as raised:
        run([PYTHON, "-c", "print('x' * 5000); raise SystemExit(1)"], env={})
    assert raised.value.message.splitlines()[1] == f"  | {'x' * 2000}…"


def test_a_failure_without_a_word_is_one_line() -> None:
    with pytest.raises(CommandError) as raised:
        run(["false"], env={"PATH": os.defpath})
    assert str(raised.value) == "`false` exited with 1"


def test_a_failure_may_be_expected() -> None:
    assert run(["false"], env={"PATH": os.defpath}, check=False).returncode == 1


def test_out_of_time() -> None:
    code = "import time; print('begun', flush=True); time.sleep(60)"
    with pytest.raises(CommandError, match=r"(?s)` ran out of time:\n  \| begun$"):
        run([PYTHON, "-c", code], env={}, timeout=2)


@pytest.mark.parametrize("stream", [1, 2])
def test_output_without_an_end(stream: int) -> None:
    code = f"import os\nwhile True: os.write({stream}, b'line\\n' * 10000)"
    with pytest.raises(
        CommandError, match=r"` wrote more than 67\.1 MB:\n(  \| line\n?){29}  \| l[ine]*$"
    ) as raised:
        run([PYTHON, "-I", "-c", code], env={}, timeout=60)
    assert len(raised.value.output) <= 2**21


def test_a_program_that_closes_its_streams_and_stays() -> None:
    code = "import os, time; os.close(1); os.close(2); time.sleep(60)"
    with pytest.raises(CommandError, match=r"` ran out of time$"):
        run([PYTHON, "-I", "-c", code], env={}, timeout=1)


@pytest.mark.parametrize("apart", [False, True], ids=["its own session", "another session"])
def test_what_a_program_leaves_behind_with_its_streams_is_not_waited_for(apart: bool) -> None:
    script = (
        "import subprocess, sys; left = subprocess.Popen(['sleep', '30'], start_new_session=sys.argv[1] == 'True'); "
        "print(left.pid)"
    )
    began = time.monotonic()
    command, env = [sys.executable, "-c", script, str(apart)], {"PATH": os.environ["PATH"]}
    done = run(command, env=env, timeout=20, until_exit=True)
    assert time.monotonic() - began < 15
    assert done.returncode == 0
    if apart:  # nothing says any more whose it was
        os.kill(int(done.stdout), signal.SIGKILL)
    ended = time.monotonic() + 10
    while Path(f"/proc/{done.stdout.strip()}").exists() and time.monotonic() < ended:
        time.sleep(0.05)
    assert not Path(f"/proc/{done.stdout.strip()}").exists()


def test_both_streams_at_once() -> None:
    code = "import os; [os.write(1 + n % 2, b'x' * 65536) for n in range(64)]"
    done = run([PYTHON, "-I", "-c", code], env={}, timeout=60)
    assert (len(done.stdout), len(done.stderr)) == (2**21, 2**21)


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CommandError) as raised:
        run([str(tmp_path / "gone")], env={})
    assert str(raised.value) == (
        f"`{tmp_path}/gone` exited with 127:\n  | [Errno 2] No such file or directory: '{tmp_path}/gone'"
    )


def test_who_observes_is_told_of_each_program() -> None:
    told: list[list[str]] = []
    with observed(lambda args: told.append([*args])):
        run(["true"], env={"PATH": os.defpath})
        announce(["a-server"])
    run(["true"], env={"PATH": os.defpath})
    assert told == [["true"], ["a-server"]]
