"""A real conda prefix and conda-pack's archive of it, made once for all workers."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from uv import find_uv_bin

from tests.helpers.foreign import conda_packed, make_prefix, pip_install
from tests.helpers.wheels import filename, record_hash


def tiny_wheels(folder: Path) -> list[Path]:
    """Wheels that pip installs beside conda's packages: one needs the other."""
    folder.mkdir()
    for name, needs in (("alpha", ""), ("beta", "Requires-Dist: alpha\n")):
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nLicense-Expression: MIT\n{needs}"
        info = f"{name}-1.0.dist-info"
        files = {
            f"{name}.py": b"VALUE = 1\n",
            f"{info}/METADATA": metadata.encode(),
            f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        rows = [f"{path},{record_hash(data)},{len(data)}\n" for path, data in files.items()]
        with zipfile.ZipFile(folder / filename(name, "1.0"), "w") as wheel:
            for path, data in files.items():
                wheel.writestr(path, data)
            wheel.writestr(f"{info}/RECORD", "".join([*rows, f"{info}/RECORD,,\n"]))
    return sorted(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def prefix(once: Callable[[str, Callable[[Path], None]], Path], conda_channel: Path) -> Path:
    """A conda prefix with Python, a noarch package, libstdc++, and two wheels that pip installed."""

    def fill(folder: Path) -> None:
        made = make_prefix(conda_channel, folder / "env", ["python", "greeting", "libstdcxx"])
        pip_install(made / "bin" / "python3.11", tiny_wheels(folder / "wheels"), folder / "uv")
        shutil.rmtree(folder / "uv")
        for format in ("tar.gz", "zip"):
            conda_packed(made, folder / f"env.{format}")
        shutil.rmtree(folder / "env-cache")

    return once("foreign", fill) / "env"


@pytest.fixture(scope="session")
def packed(prefix: Path) -> Path:
    """conda-pack's archive of that prefix."""
    return prefix.with_name("env.tar.gz")


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """A venv of this machine's own Python."""
    folder = tmp_path / "made" / "venv"
    command = [find_uv_bin(), "venv", "--quiet", "--no-config", "--python", "3.11", str(folder)]
    subprocess.run(command, check=True)
    return folder
