"""The file in an environment that lists its variables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from envbuilder.archive.entry import Entry
from envbuilder.archive.manifest import ENVIRONMENT_PATH, ManifestExclusion
from envbuilder.archive.segment import Excluded


def environment_entry(compiler: Mapping[str, str]) -> Entry:
    """Return the file that lists an environment's variables, including those of its *compiler*, if any."""
    # The variables that conda-pack's activation and conda's own scripts would set; a direct launch does not run them,
    # so the runtime sets the variables.
    variables = {
        "CONDA_PREFIX": "{prefix}",
        **{name: f"{{prefix}}/{path}" for name, path in compiler.items()},
    }
    text = json.dumps({"variables": variables}, indent=1, sort_keys=True) + "\n"
    return Entry(ENVIRONMENT_PATH, data=text.encode())


def sum_excluded(excluded: Iterable[Excluded]) -> tuple[ManifestExclusion, ...]:
    """Return the total size that each pattern excluded, largest first."""
    sums: dict[str, tuple[int, int]] = {}
    for one in excluded:
        files, size = sums.get(one.pattern, (0, 0))
        sums[one.pattern] = (files + one.files, size + one.size)
    return tuple(
        ManifestExclusion(pattern=pattern, files=files, size=size)
        for pattern, (files, size) in sorted(sums.items(), key=lambda item: (-item[1][1], item[0]))
    )
