"""Determine the dependencies between the packages of an environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from packaging.markers import UndefinedComparison, UndefinedEnvironmentName, default_environment
from packaging.metadata import RawMetadata
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name


@dataclass(frozen=True, slots=True)
class Distribution:
    """A ``.dist-info`` folder of an archive."""

    folder: str
    metadata: RawMetadata
    texts: Mapping[str, str]

    @property
    def project(self) -> str:
        """The project's normalized name."""
        return canonicalize_name(self.metadata.get("name", ""))

    @property
    def is_bundled(self) -> bool:
        """Whether it is inside another package."""
        return "/" in self.folder.partition("/site-packages/")[2]


class Needs:
    """The dependencies between packages, from their METADATA and the platform of an archive."""

    def __init__(self, installed: Mapping[str, Distribution], purls: Mapping[str, str], python: str) -> None:
        self._installed = installed
        self._purls = purls
        self._environment = {
            **{key: str(value) for key, value in default_environment().items()},
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "os_name": "posix",
            "sys_platform": "linux",
            "platform_system": "Linux",
            "platform_machine": "x86_64",
            "python_version": ".".join(python.split(".")[:2]),
            "python_full_version": python,
        }

    def of(self, name: str) -> set[str]:
        """Return the purls of the installed dependencies of *name*, including those of extras."""
        found: set[str] = set()
        asked = [(name, "")]
        done = set()
        while asked:
            project, extra = asked.pop()
            if (project, extra) in done:
                continue
            done.add((project, extra))
            for requirement in self._requirements(project, extra):
                other = canonicalize_name(requirement.name)
                if other != name and other in self._purls:
                    found.add(self._purls[other])
                    asked += [(other, one) for one in requirement.extras]
        return found

    def _requirements(self, project: str, extra: str) -> Iterator[Requirement]:
        distribution = self._installed.get(project)
        for text in distribution.metadata.get("requires_dist", []) if distribution else ():
            try:
                requirement = Requirement(text)
                here = {**self._environment, "extra": extra}
                if requirement.marker is None or requirement.marker.evaluate(here):
                    yield requirement
            except (InvalidRequirement, UndefinedComparison, UndefinedEnvironmentName):
                continue  # an invalid requirement, which no installer accepts either
