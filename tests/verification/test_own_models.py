"""Models of a user's own, proven by the probe and by a real server: many in one repository, and one by itself."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from envbuilder.catalog.python_backend import ADDITIONS
from envbuilder.config.settings import Settings
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.verification.live.model_deployment import ModelChoice
from envbuilder.verification.report import Check
from envbuilder.verification.server.servers import ServerChoice
from envbuilder.verification.verify import VerifyRequest, verify
from tests.helpers.own_models import (
    BROKEN,
    CROWDED,
    EARLY,
    FLOATS,
    HELPER,
    NAMED,
    NAMING,
    OFFSET,
    PARAMETRIC,
    PGM,
    PICTURE,
    PICTURES,
    ROUTER,
    SCALING,
    UNCOMPLETED,
    write,
    write_repository,
)

pytestmark = [pytest.mark.network, pytest.mark.slow]


def told(checks: Sequence[Check]) -> dict[tuple[str, str], tuple[str, str]]:
    """Return the checks of models by id and model: what came of each, and what was found."""
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for check in checks:
        name, _, text = check.found.partition(": ")
        if check.id.startswith(("probe.", "server.")) and " " not in name:
            found[check.id, name] = (check.status, text)
    return found


@pytest.mark.server
@pytest.mark.usefixtures("server")
def test_a_repository(tmp_path: Path, plain_archive: Path, settings: Settings, store: Store) -> None:
    repository = write_repository(tmp_path / "models")
    environment = tmp_path / "environment"
    environment.mkdir()
    subprocess.run(["tar", "-xf", plain_archive, "-C", environment], check=True)
    write(repository, "broken", BROKEN, FLOATS)
    write(repository, "unfiled", None, FLOATS, {"1/modle.py": HELPER.encode()})
    write(repository, "crowded", CROWDED, FLOATS + "dynamic_batching { }")
    write(repository, "zero", HELPER, FLOATS.replace("[ 3 ]", "[ 0 ]"))
    write(repository, "parametric", PARAMETRIC, FLOATS)
    later = [one.name for one in ADDITIONS if "(" not in one.name and " " not in one.name]
    reachable = [name for name in later if not name.startswith(("Metric.", "ResponseIterator."))]
    write(repository, "named", NAMED.replace("NAMES:", f"{reachable}:"), NAMING)
    write(repository, "early", EARLY, FLOATS, {"1/scaling.py": SCALING.encode()})
    both = FLOATS + "version_policy { all { } }\n"
    write(repository, "aged", BROKEN, both, {"2/model.py": CROWDED.encode()})
    write(
        repository,
        "uncompleted",
        UNCOMPLETED,
        'backend: "python" max_batch_size: 2\n' + FLOATS.partition("4")[2],
    )
    own = f'parameters {{ key: "EXECUTION_ENV_PATH" value {{ string_value: "{environment}" }} }}\n'
    write(repository, "apart", HELPER, FLOATS + own, {"1/scaling.py": SCALING.encode()})
    helped = {"2/model.py": OFFSET.encode(), "1/scaling.py": SCALING.encode()}
    write(repository, "grown", HELPER, both, helped)
    before = {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}
    request = VerifyRequest(choice=ModelChoice(repository=repository))
    report = verify(plain_archive, Session(settings=settings, store=store), request)
    found = told(report.checks)

    # What nothing is wrong with passes, with a probe and with a server, compared with each other.
    whole = (
        "router",
        "helper",
        "conductor",
        "shout",
        "twice",
        "picture",
        "completed",
        "based",
        "bare",
        "dice",
        "reshaping",
        "loader",
        "half",
        "mute",
        "stored",
        "queued",
        "named",
        "grown",
        "grown/1",
    )
    for name in whole:
        of_it = {id: status for (id, model), (status, _) in found.items() if model == name}
        amiss = {id: found[id, name][1] for id in of_it if of_it[id] != "passed"}
        assert amiss == {}, name
        assert {"probe.answers", "server.model", "server.http", "server.grpc"} <= set(of_it)
        assert found["server.grpc", name][1].endswith("the same as in the probe") is (name != "dice")
    assert "Y varies from call to call" in found["probe.answers", "dice"][1]
    assert found["server.grpc", "picture"][1].startswith("answers by grpc for a picture, ")

    # One response to a request is all that HTTP has.
    assert found["server.http", "ticker"][0] == "omitted"
    assert found["server.grpc", "ticker"] == (
        "passed",
        "answers by grpc for batches of 1, the same as in the probe",
    )

    assert found["server.http", "counted"][0] == "omitted"  # an ensemble of it
    assert found["server.grpc", "counted"] == found["server.grpc", "ticker"]

    # No response is an answer, too; and what finalize does to its process loses nothing that was found.
    assert found["probe.answers", "silent"][0] == "passed"
    assert found["server.grpc", "silent"] == found["server.grpc", "ticker"]
    exited = "its finalize fails: its process exited, or exceeded the time limit"
    assert found["probe.model", "silent"] == ("warning", f"the model answers: nothing; {exited}")

    # What the probe cannot complete the server does.
    assert found["probe.config", "shy"][0] == found["probe.model", "shy"][0] == "warning"
    for id in ("server.http", "server.grpc"):
        assert found[id, "shy"][0] == "passed"
        assert found[id, "shy"][1].endswith("for batches of 1, 2, with nothing to compare them with")

    # An answer that depends on the process is no failure, and is told.
    assert found["probe.answers", "process"][0] == "passed"
    assert found["server.grpc", "process"][0] == "warning"

    # A sequence with a text for its id: this server takes only the longest.
    assert found["probe.answers", "counting"][0] == found["server.http", "counting"][0] == "passed"
    status, text = found["server.grpc", "counting"]
    assert status == "warning"
    assert "to a sequence id of 128 bytes; a shorter one this server refuses: " in text

    # What a server sends as it is, whatever config.pbtxt says, is a warning; and so is what no client meets.
    wide = "outputs are not as config.pbtxt describes them: WIDE is float64[4, 3] in batch of 4, and "
    for id in ("probe.answers", "server.http", "server.grpc"):
        assert found[id, "loose"] == ("warning", f"{wide}config.pbtxt says FP32[batch, 3]"), id
    assert found["probe.model", "loose"][1].endswith("its finalize fails: OSError: too late")

    # Without an input that it takes, nothing is known, and how to give one is told.
    status, text = found["server.http", "refusing"]
    assert status == "unknown"
    assert "made up from config.pbtxt" in text
    assert "no picture" in text
    (hint,) = {check.fix for check in report.checks if check.found.startswith("refusing: not known")}
    assert hint is not None
    assert "numpy.savez('FILE.npz', PGM=…)" in hint

    # So with floats, of which a model takes some.
    assert found["server.http", "root"][0] == found["probe.model", "root"][0] == "unknown"
    (hint,) = {check.fix for check in report.checks if check.found.startswith("root: not known")}
    assert hint is not None
    assert "numpy.savez('FILE.npz', X=…)" in hint

    # Other environments and other backends.
    assert found["probe.model", "apart"][0] == "omitted"
    assert found["server.grpc", "apart"][0] == "passed"
    for name in ("foreign", "older"):
        assert found["server.model", name][0] == "omitted"
        assert "onnxruntime" in found["server.model", name][1]

    # What a server gets wrong fails, and nothing else does; the probe had its doubts.
    assert found["probe.model", "broken"][0] == "warning"
    assert "no licence" in found["server.model", "broken"][1]
    assert "no licence" in found["server.model", "aged"][1]
    (aged,) = [check.found for check in report.checks if check.found.startswith("aged: deployed ")]
    assert aged.endswith("(version 2, model.py); it also serves 1")
    assert found["probe.answers", "aged"][0] == "passed"
    assert found["probe.model", "aged/1"][0] == "warning"
    assert found["probe.model", "early"][0] == "warning"
    assert found["probe.config", "uncompleted"][0] == "warning"
    failed = [(check.id, check.found.partition(":")[0]) for check in report.failures]
    assert failed == [
        ("model.deployed", "unfiled"),
        ("model.deployed", "zero"),
        ("probe.names", "parametric"),
        ("server.model", "aged"),
        ("server.model", "aged/1"),
        ("server.model", "broken"),
        ("server.grpc", "crowded"),
        ("server.model", "early"),
        ("server.http", "parametric"),
        ("server.grpc", "parametric"),
        ("server.model", "uncompleted"),
    ]
    (crowded,) = [check.found for check in report.failures if check.found.startswith("crowded: ")]
    assert "simultaneous requests fail: " in crowded
    (zero,) = [check.found for check in report.failures if check.found.startswith("zero: ")]
    assert (
        zero
        == "zero: no server takes it: input 'X' has the dimension 0: a server takes 1 and more, and -1 for any"
    )
    assert {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()} == before


@pytest.mark.server
@pytest.mark.usefixtures("server")
def test_one_model_takes_along_those_that_it_names(
    tmp_path: Path, plain_archive: Path, settings: Settings, store: Store
) -> None:
    router = write(tmp_path, "router", ROUTER, FLOATS)
    write(tmp_path, "helper", HELPER, FLOATS, {"1/scaling.py": SCALING.encode()})
    write(tmp_path, "unrelated", BROKEN, FLOATS)
    np.savez(tmp_path / "x.npz", X=np.ones((2, 3), np.float32))
    np.savez(tmp_path / "y.npz", Y=np.full((2, 3), 3, np.float32))
    choice = ModelChoice(model=router, inputs=tmp_path / "x.npz", expected=tmp_path / "y.npz")
    report = verify(plain_archive, Session(settings=settings, store=store), VerifyRequest(choice=choice))
    assert report.failures == ()
    found = {check.id: (check.status, check.found) for check in report.checks}
    assert found["probe.expected"][0] == "passed"
    expects = f"router: answers by grpc for x.npz, batches of 1, 3, as {tmp_path / 'x.npz'} expects"
    assert found["server.grpc"][0] == "passed"
    assert found["server.grpc"][1].startswith("router: answers by grpc for x.npz, ")
    assert found["server.grpc"][1].endswith(expects[-len("expects") :])

    np.savez(tmp_path / "y.npz", Y=np.full((2, 3), 4, np.float32))
    report = verify(plain_archive, Session(settings=settings, store=store), VerifyRequest(choice=choice))
    assert {check.id for check in report.failures} == {"server.http", "server.grpc"}


def test_without_a_server_what_a_probe_cannot_know_is_not_known(
    tmp_path: Path, plain_archive: Path, settings: Settings, store: Store
) -> None:
    router = write(tmp_path, "router", ROUTER, FLOATS)
    picture = write(tmp_path, "picture", PICTURE, PICTURES)
    alone = ServerChoice(ask=False)
    session = Session(settings=settings, store=store)
    report = verify(plain_archive, session, VerifyRequest(model=router, server=alone))
    assert report.failures == ()
    found = {check.id: (check.status, check.found, check.fix) for check in report.checks}
    assert found["probe.model"] == (
        "unknown",
        "not known: it calls the model 'helper', which is not available",
        "name the repository with the other models, and test on a server: `--repository DIR --server`",
    )
    np.savez(tmp_path / "pgm.npz", PGM=np.frombuffer(PGM, np.uint8))
    choice = ModelChoice(model=picture, inputs=tmp_path / "pgm.npz")  # as the hint says
    report = verify(plain_archive, session, VerifyRequest(choice=choice, server=alone))
    found = {check.id: (check.status, check.found, check.fix) for check in report.checks}
    assert found["probe.model"][:2] == ("passed", "the model answers: PIXELS [2, 3]")
