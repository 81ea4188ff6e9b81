"""Options for building many recipes, apart from the code that does: the build of one recipe does not import that."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class FleetOptions:
    """Options for building many recipes."""

    cluster: str | None = None
    """Address of a Dask scheduler; None: build on this machine."""
    pull: bool = True
    """Whether archives built on a cluster are downloaded; otherwise they stay in the remote store."""
    verify: bool = False
    """Whether to verify each archive, too."""
    interpreter_change: bool = False
    """Whether another CPython than the locked one may be used."""
    threads: int | None = None
    """Number of threads; None: one per CPU, at most 8."""
