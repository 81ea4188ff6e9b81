from __future__ import annotations

import json

from envbuilder import api
from envbuilder.fleet.repository.apply import apply
from envbuilder.store.session import Session
from tests.fleet.repository.conftest import Verifying, call
from tests.helpers.repositories import make_repository
from tests.helpers.workspace import Workspace


def test_status_of_each_model(workspace: Workspace) -> None:
    repository = workspace.folder / "repository"
    make_repository(repository, (1, 2, 0, 1, 0, 1))
    apply(repository, Session.open(), verifier=Verifying())
    advisory = {
        "id": "X-1",
        "affected": [
            {
                "package": {"ecosystem": "PyPI", "name": "beta"},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}],
            }
        ],
    }
    (workspace.folder / "db").mkdir()
    (workspace.folder / "db" / "x.json").write_text(json.dumps(advisory))
    found = call("status", repository, "--advisories", "db", "--json")
    assert found.exit_code == 0
    rows = {row["model"]: row for row in json.loads(found.stdout)}
    own, runtime = rows["own0"], rows["runtime0"]
    assert (own["state"], own["recipe"], own["lock"]) == ("deployed", "small", "current")
    assert own["releases"] == ["pytriton-0.7.0"]
    assert own["verified"].endswith(", no server: passed")
    assert own["advisories"] == ["X-1 (beta 1.0)"]
    assert (own["shared_size"], runtime["shared_size"] > 10_000) == (0, True)
    assert len(own["sha256"]) == 64
    assert own["own_size"] > runtime["shared_size"]  # its archive lies in its own folder
    assert (rows["ensemble0"]["state"], rows["broken0"]["state"]) == ("untouched", "broken")
    workspace.recipe.write_text(workspace.recipe.read_text().replace("[alpha, beta]", "[alpha]"))
    assert {one.model: one.lock for one in api.status(repository)}["own0"] == "stale"
    text = call("status", repository).stdout
    assert "never" not in text
