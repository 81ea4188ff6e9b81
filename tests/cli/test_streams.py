from __future__ import annotations

from tests.cli.conftest import Workspace, start


def test_a_reader_that_goes_away_is_no_traceback(workspace: Workspace) -> None:
    workspace.build("-q")
    with start("store", "info", "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert "Traceback" not in said
    assert process.returncode == 1
