from __future__ import annotations

import json

from tests.cli.conftest import Workspace, start


def test_results_go_to_stdout_and_nothing_else_does(workspace: Workspace) -> None:
    process = start("build", "--find-links", workspace.folder / "wheels", "--json")
    out, err = process.communicate(timeout=120)
    assert (json.loads(out)[0]["manifest"]["recipe"], err, process.returncode) == ("small", "", 0)
