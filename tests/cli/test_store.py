from __future__ import annotations

import json

from envbuilder.store.local import Store
from tests.cli.conftest import Workspace, call


def test_store_info_prune_and_clear(workspace: Workspace) -> None:
    empty = call("store", "info")
    assert empty.stdout == f"{workspace.folder}/store, limit 42.95 GB\nkind  entries  size\n"
    workspace.build("-q")

    lines = call("store", "info").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [
        "kind",
        *sorted({entry.kind for entry in Store.open().entries()}),
        "total",
    ]
    listed = json.loads(call("store", "info", "--json").stdout)
    count, freed = len(listed["entries"]), sum(entry["size"] for entry in listed["entries"])

    assert call("store", "prune", "--limit", "1G").stdout == "evicted 0 entries, 0 B\n"
    cleared = json.loads(call("store", "clear", "--json").stdout)
    assert (len(cleared["evicted"]), cleared["freed"]) == (count, freed)
    assert Store.open().entries() == []
