"""Solve with py-rattler in a process of its own, its memory and files limited: what a channel sends may have no end.

Run by :mod:`envbuilder.base.conda_process` as a program. The question is a file of JSON, the answer goes to standard
output: ``records``, or ``unreachable`` (the number of a channel) or ``refused``, each with a ``text``.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import resource
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from envbuilder.config.rattler_client import make_client
from envbuilder.util.rattler import error_text, rattler
from envbuilder.util.urls import public


class _Unreachable(Exception):
    """A channel cannot be read: its number, and why."""


def main(path: str) -> None:
    """Answer the question in the file at *path*."""
    question = json.loads(Path(path).read_bytes())
    for limit in ("AS", "FSIZE", "CORE"):
        _limit(getattr(resource, f"RLIMIT_{limit}"), question["limits"].get(limit, 0))
    module = rattler()
    solver = _Solver(module, question)
    try:
        answer: dict[str, Any] = {"records": [_described(one) for one in asyncio.run(solver.solve())]}
    except _Unreachable as error:
        answer = {"unreachable": error.args[0], "text": error.args[1]}
    except module.exceptions.SolverError as error:
        answer = {"refused": True, "text": error_text(error)}
    sys.stdout.write(json.dumps(answer))
    sys.stdout.flush()
    os._exit(0)  # nothing waits for what rattler's threads still read


def _limit(kind: int, most: int) -> None:
    hard = resource.getrlimit(kind)[1]
    size = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (size, size))


def _described(record: Any) -> dict[str, Any]:
    return {
        "name": record.name.normalized,
        "version": str(record.version),
        "build": str(record.build),
        "subdir": str(record.subdir),
        "filename": record.file_name,
        "url": public(record.url),
        "sha256": record.sha256.hex() if record.sha256 is not None else None,
        "size": record.size,
        "depends": list(record.depends),
        "noarch_python": bool(record.noarch.python),
    }


class _Solver:
    """One solver run, with one set of channel URLs."""

    def __init__(self, module: Any, question: Mapping[str, Any]) -> None:
        self._module, self._question = module, question
        self._urls: Sequence[str] = question["channels"]
        self._platforms: Sequence[str] = question["platforms"]
        client = make_client(question["ssl_verify"], question["proxies"], question["timeout"])
        self._gateway = module.Gateway(cache_dir=question["cache"], client=client, show_progress=False)

    async def solve(self) -> list[Any]:
        """Return the records of the packages, dependencies first."""
        module, question = self._module, self._question
        sources = [module.Channel(url) for url in self._urls]
        day = question["exclude_newer"]
        errors = module.exceptions
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the gateway, about what a channel says of other channels
                kept = await self._kept(sources)
                records = await module.solve(
                    sources,
                    # Parsed here: of texts, the solver takes fewer (not name=version=build).
                    [module.MatchSpec(spec) for spec in question["specs"]],
                    gateway=self._gateway,
                    platforms=list(self._platforms),
                    locked_packages=kept,
                    virtual_packages=[self._virtual(one) for one in question["virtual"]],
                    exclude_newer=_end_of(datetime.date.fromisoformat(day)) if day else None,
                    constraints=list(question["constraints"]),
                    channel_relations="disabled",  # nothing from a channel that the recipe does not name
                    timestamp_policy="allow-missing",
                )
        except (errors.GatewayError, errors.FetchRepoDataError) as error:
            raise await self._unreachable(error) from error
        order = {
            record.name.normalized: number
            for number, record in enumerate(module.PackageRecord.sort_topologically(records))
        }
        return sorted(records, key=lambda record: order[record.name.normalized])

    async def _unreachable(self, error: Exception) -> _Unreachable:
        """Find out which channel it was: py-rattler does not name it when the data is invalid."""
        errors, text = self._module.exceptions, error_text(error)
        for number, url in enumerate(self._urls):
            if f"{public(url)}/" in text:
                return _Unreachable(number, text)
        for number, url in enumerate(self._urls):
            source = self._module.Channel(url)
            try:
                await self._gateway.query([source], list(self._platforms), ["python"], recursive=False)
            except (errors.GatewayError, errors.FetchRepoDataError) as own:
                return _Unreachable(number, error_text(own))
        return _Unreachable(0, text)

    async def _kept(self, sources: Sequence[Any]) -> list[Any]:
        """Return the records of previously locked packages that their channels still have unchanged."""
        keep: Mapping[str, str] = self._question["keep"]
        if not keep:
            return []
        hashes = set(keep.values())
        found = await self._gateway.query(
            sources, list(self._platforms), list(keep), recursive=False, channel_relations="disabled"
        )
        records = [record for records in found for record in records]
        return [record for record in records if record.sha256 is not None and record.sha256.hex() in hashes]

    def _virtual(self, virtual: Mapping[str, str]) -> Any:
        module = self._module
        return module.GenericVirtualPackage(
            module.PackageName(virtual["name"]),
            module.Version(virtual["version"]),
            module.BuildString(virtual["build"]),
        )


def _end_of(day: datetime.date) -> datetime.datetime:
    after = day + datetime.timedelta(days=1)
    return datetime.datetime(after.year, after.month, after.day) - datetime.timedelta(milliseconds=1)


if __name__ == "__main__":
    main(sys.argv[1])
