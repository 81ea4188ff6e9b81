"""Programs that are told to end, in each of the states in which that finds them."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SIGNALS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}
_HEAD = """
import os, signal, subprocess, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from envbuilder.util.interruption import Interrupted, handled, shielded
from envbuilder.util.process import run
from envbuilder.util.tempdirs import locked_folder, output_folder

here, mode = Path(sys.argv[1]), sys.argv[2]

def ready():
    print("ready", flush=True)

with handled(), output_folder(here / "out"), locked_folder(here, "scratch") as scratch:
"""
STATES = {
    "waiting": "ready(); time.sleep(60)",
    "another thread is busy": """
    with ThreadPoolExecutor(1) as executor:
        executor.submit(time.sleep, 60)
        ready()
        time.sleep(60)
    """,
    "in a destructor, from which nothing is raised": """
    class Slow:
        def __del__(self):
            ready()
            time.sleep(60)
    Slow()
    time.sleep(60)
    """,
    "an error comes of it": """
    try:
        ready()
        time.sleep(60)
    finally:
        raise ValueError("what cleans up fails")
    """,
    "somebody catches everything": """
    ready()
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass
    """,
    "cleaning up takes long": """
    try:
        ready()
        time.sleep(60)
    finally:
        print("cleaning up", flush=True)
        time.sleep(60)
    """,
    "a program that ignores it, and one that it put into a session of its own": """
    code = "trap '' TERM HUP INT; setsid sh -c \\"echo \\\\$\\\\$ > $0/second; exec sleep 600\\" & "
    code += 'while ! test -s "$0/second"; do sleep 0.01; done; echo $$ > "$0/first"; sleep 600'
    def tell():
        while not (here / "first").exists():
            time.sleep(0.01)
        ready()
    threading.Thread(target=tell).start()
    run(["sh", "-c", code, str(here)], env=os.environ)
    """,
    "in another thread, too": """
    threading.excepthook = lambda _: None  # it may still see that its program was ended
    threading.Thread(target=run, args=(["sleep", "600"],), kwargs={"env": os.environ}).start()
    ready()
    time.sleep(60)
    """,
}


def start(folder: Path, body: str, *prefix: str, **options: object) -> subprocess.Popen[str]:
    lines = body if body.startswith("\n") else f"\n    {body}\n"
    process: subprocess.Popen[str] = subprocess.Popen(  # type: ignore[call-overload]  # options of its own
        [*prefix, sys.executable, "-c", f"{_HEAD}{lines}", str(folder), "mode"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=options.pop("stderr", subprocess.PIPE),
        text=True,
        **options,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def check_gone(folder: Path) -> None:
    """Check that nothing is left of a program: not in *folder*, and none of what it started."""
    for name in ("first", "second"):
        if (folder / name).exists():
            assert not is_running(int((folder / name).read_text()))
            (folder / name).unlink()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("state", STATES)
def test_a_signal_ends_it_and_leaves_nothing(tmp_path: Path, state: str, number: signal.Signals) -> None:
    process = start(tmp_path, STATES[state])
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (128 + number, f"{SIGNALS[number]}\n")
    check_gone(tmp_path)


def test_a_second_signal_changes_nothing(tmp_path: Path) -> None:
    process = start(tmp_path, STATES["cleaning up takes long"])
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    assert process.stdout.readline() == "cleaning up\n"
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.01)
    assert process.communicate(timeout=20) == ("", "terminated\n")
    assert process.returncode == 143
    check_gone(tmp_path)


@pytest.mark.parametrize("number", SIGNALS)
def test_what_is_ignored_from_the_beginning_stays_ignored(tmp_path: Path, number: signal.Signals) -> None:
    body = f"ready(); os.kill(os.getpid(), {int(number)}); time.sleep(0.1); print('done', flush=True)"
    ignore = f"trap '' {number.name.removeprefix('SIG')}; exec \"$@\""
    process = start(tmp_path, body, "sh", "-c", ignore, "sh")
    assert process.communicate(timeout=20) == ("done\n", "")
    assert process.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_nohup_is_obeyed(tmp_path: Path) -> None:
    body = (
        "ready(); os.kill(os.getpid(), signal.SIGHUP); time.sleep(0.1); os.kill(os.getpid(), signal.SIGTERM)"
    )
    process = start(tmp_path, body, "nohup")
    _, said = process.communicate(timeout=20)
    assert (process.returncode, said.splitlines()[-1]) == (143, "terminated")
    check_gone(tmp_path)


def test_a_terminal_that_is_closed(tmp_path: Path) -> None:
    code = (
        f"{_HEAD}\n    print('ready', file=sys.stderr, flush=True); print('lost', end=''); time.sleep(60)\n"
    )
    ours, theirs = pty.openpty()
    command = ["setsid", "--ctty", sys.executable, "-c", code, str(tmp_path), "mode"]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    while b"ready" not in said:
        said += os.read(ours, 1000)
    os.close(ours)  # the kernel sends SIGHUP, and every write fails from now on
    assert process.wait(20) == 129
    check_gone(tmp_path)


def test_a_shield_puts_it_off(tmp_path: Path) -> None:
    body = """
    with shielded():
        with shielded():
            ready()
            time.sleep(0.3)
        print("whole", flush=True)
    print("not reached", flush=True)
    """
    process = start(tmp_path, body)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20) == ("whole\n", "terminated\n")
    check_gone(tmp_path)


def test_an_ordinary_end_is_as_ever(tmp_path: Path) -> None:
    process = start(tmp_path, "ready(); raise SystemExit(3)")
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 3


def test_killed_it_takes_its_programs_along(tmp_path: Path) -> None:
    process = start(
        tmp_path, STATES["a program that ignores it, and one that it put into a session of its own"]
    )
    process.kill()
    process.communicate(timeout=20)
    for name in ("first", "second"):
        deadline = time.monotonic() + 20
        while is_running(int((tmp_path / name).read_text())):
            assert time.monotonic() < deadline
            time.sleep(0.01)
