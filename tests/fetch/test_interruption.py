"""A fetch that is killed or runs out of disk, and the same again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from envbuilder.config.settings import Settings
from envbuilder.fetch.artifacts import fetch
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from tests.fetch.conftest import leftovers, make_wheel
from tests.helpers.index_server import Index, Trouble

WHEEL, DATA = make_wheel("demo_pkg-1.0-py3-none-any.whl", 3_000_000)

_PROGRAM = """
import sys
from pathlib import Path
from envbuilder.errors import EnvbuilderError
from envbuilder.fetch.artifacts import fetch
from envbuilder.lockfile.model import Artifact
from envbuilder.config.settings import Settings
from envbuilder.store.local import Store
from envbuilder.store.session import Session

url, root, sha256 = sys.argv[1:]
artifact = Artifact(name="demo-pkg", version="1.0", filename="demo_pkg-1.0-py3-none-any.whl",
                    sha256=sha256, size=3_000_000)
try:
    list(fetch([artifact], "pypi", Session(settings=Settings(index_url=url), store=Store(root=Path(root)))))
except EnvbuilderError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def command(index: Index, store: Store) -> list[str]:
    return [sys.executable, "-c", _PROGRAM, index.url, str(store.root), WHEEL.sha256]


def environment() -> dict[str, str]:
    return {"PATH": os.defpath, "PYTHONPATH": str(Path(__file__).parents[2])}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_a_killed_fetch_can_be_run_again(index: Index, empty_store: Store, number: signal.Signals) -> None:
    index.add(WHEEL.filename, DATA)
    index.troubles[WHEEL.filename] = [Trouble(break_after=1_000_000), Trouble(hang=True)]
    process = subprocess.Popen(command(index, empty_store), env=environment(), stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while len(index.asked(WHEEL.filename)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    _, error = process.communicate(timeout=20)
    assert process.returncode == -number
    assert error.endswith(b"KeyboardInterrupt\n") or number != signal.SIGINT
    assert empty_store.find_artifact(WHEEL.sha256) is None
    [(_, path)] = fetch([WHEEL], "pypi", Session(settings=Settings(index_url=index.url), store=empty_store))
    assert path.read_bytes() == DATA


def may_mount() -> bool:
    """Say whether this kernel lets us have mounts of our own: not in a container without that right."""
    try:
        return subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(
    not may_mount(), reason="no mounts of our own here; the limit of file sizes stands in for it"
)
def test_a_full_disk_is_an_error(index: Index, tmp_path: Path) -> None:
    """The store lies on a file system of 1 MiB, in a mount namespace of its own."""
    index.add(WHEEL.filename, DATA)
    store = Store(root=tmp_path / "store")
    store.root.mkdir()
    script = 'mount -t tmpfs -o size=1m none "$0" && "$@"; code=$?; ls -A "$0/tmp" "$0/artifacts"; exit $code'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, str(store.root), *command(index, store)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines()[:2] == [
        f"{WHEEL.filename} cannot be written to the store {store.root}: No space left on device",
        "  hint: it takes 3000000 bytes; ENVBUILDER_CACHE names another folder",
    ]
    assert done.stdout.splitlines()[2:] == [f"{store.root}/tmp:"]
    assert done.returncode == 4


def test_a_limit_of_file_sizes_is_an_error(index: Index, empty_store: Store) -> None:
    index.add(WHEEL.filename, DATA)
    limited = ["sh", "-c", 'trap "" XFSZ; ulimit -f 1000; exec "$0" "$@"', *command(index, empty_store)]
    done = subprocess.run(limited, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[0] == (
        f"{WHEEL.filename} cannot be written to the store {empty_store.root}: File too large"
    )
    assert done.returncode == 4
    assert leftovers(empty_store) == []
