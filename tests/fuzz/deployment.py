"""Fuzz what a deployment reads: ``python -m tests.fuzz.deployment --seconds 60``.

Any bytes as config.pbtxt are either refused with a DeployError, or edited so that protobuf reads what was asked for,
and edited again without a change. Any bytes beside an environment are no record, or one that is written as it was read.
See :mod:`tests.fuzz.common`.
"""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.common import fuzz, instrumented

with instrumented(include=["envbuilder.deployment.pbtxt", "envbuilder.deployment.record"]):
    from envbuilder.deployment.config import Serving, edit_config, parse_config
    from envbuilder.deployment.record import Record, parse_record
    from envbuilder.deployment.references import reference
from envbuilder.errors import DeployError
from tests.deployment.conftest import CONFIG

NAME = "tiny-0123456789ab.tar.gz"
PATH = Path("/repository/net/config.pbtxt")
SERVINGS = (
    Serving(backend="python", runtime=None, model_file="torch_runtime.py", environment=f"/envs/{NAME}"),
    Serving(backend="torch-x", runtime="model.py", model_file="model.py", environment=None, name="other"),
)


def read_both(data: bytes) -> None:
    """Read *data* as a configuration, and as a record."""
    record = parse_record(data, NAME)
    if record is not None:
        assert parse_record(record.text(), NAME) == record
    try:
        config = parse_config(data, PATH)
        reference(config).names(Path("/envs") / NAME, shared=True)
        edited = [edit_config(config, serving) for serving in SERVINGS]
    except DeployError:
        return
    for text, serving in zip(edited, SERVINGS, strict=True):
        assert edit_config(parse_config(text.encode(), PATH), serving) == text


SEEDS = [
    CONFIG.encode(),
    b"input [ { data_type: " + b"9" * 50 + b" } ]",
    b'parameters [ { key: "EXECUTION_ENV_PATH" value { string_value: "/opt/x" } }, { key: "a" } ]',
    b"platform: 'pytorch' input < name: 'x' > ; instance_group [{count: - 1}] # end",
    Record(
        environment=NAME,
        sha256="0123456789ab" + "0" * 52,
        recipe="tiny",
        release="25.06",
        repositories=("/a", "/b"),
    ).text(),
]

if __name__ == "__main__":
    fuzz(read_both, SEEDS, __doc__.splitlines()[0])
