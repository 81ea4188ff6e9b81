"""Ways to harm a remote store: what a row of the hostile tables does to one, and how it must end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.helpers.remote_project import RemoteProject
from tests.helpers.trust import Team

Change = Callable[[RemoteProject], object]
RECORD = r"builds/[0-9a-f]{2}/[0-9a-f]{64}"
MANIFEST = r"manifests/[0-9a-f]{2}/[0-9a-f]{64}"
ANOTHER = rf"{MANIFEST} is not what was asked for: "


@dataclass(frozen=True, kw_only=True)
class Case:
    """A store that was harmed, and how the command line must end."""

    name: str
    change: Change
    line: str
    """Pattern of the error's first line, after ``error: file://…/``, the address of the store."""
    code: int = 5


def strange(project: RemoteProject) -> Team:
    """Return somebody whom nobody trusts."""
    return Team(project.folder.parent / "home", "stranger")


def by_team(project: RemoteProject) -> Team:
    """Return whom the project trusts."""
    return project.team
