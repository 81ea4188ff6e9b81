"""Which versions of an earlier lock a new one need not keep."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Upgrade:
    """Which versions of the previous lock are not kept."""

    everything: bool = False
    packages: tuple[str, ...] = ()
    """Projects by name; ``python`` is the interpreter."""

    def takes(self, name: str) -> bool:
        """Whether to upgrade *name*."""
        return self.everything or name in self.packages
