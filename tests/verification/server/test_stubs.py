"""Models whose environments have other Pythons."""

from __future__ import annotations

import tarfile
from pathlib import Path

from envbuilder.verification.server.stubs import add_stubs, python_of
from tests.helpers.own_models import FLOATS, write


def test_each_model_gets_the_stub_of_its_environment(tmp_path: Path) -> None:
    (tmp_path / "env" / "lib").mkdir(parents=True)
    (tmp_path / "env" / "lib" / "libpython3.12.so.1.0").write_text("")
    (tmp_path / "env" / "lib" / "libpython3.so").write_text("")
    with tarfile.open(tmp_path / "env.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "env", arcname=".")
    (tmp_path / "broken.tar.gz").write_bytes(b"no archive")
    stubs = {}
    for minor in ("3.11", "3.12"):
        stubs[minor] = tmp_path / minor
        stubs[minor].write_text(minor)
    for name, path in (("folder", "env"), ("archive", "env.tar.gz"), ("odd", "broken.tar.gz"), ("none", "x")):
        own = f'parameters {{ key: "EXECUTION_ENV_PATH" value {{ string_value: "{tmp_path / path}" }} }}\n'
        write(tmp_path / "models", name, "", FLOATS + own)
    write(tmp_path / "models", "plain", "", FLOATS)
    add_stubs(tmp_path / "models", stubs, "3.11")
    found = {
        path.parent.name: path.read_text() for path in tmp_path.glob("models/*/triton_python_backend_stub")
    }
    assert found == {"folder": "3.12", "archive": "3.12"}
    assert python_of(tmp_path / "broken.tar.gz") is None
