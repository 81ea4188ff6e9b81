"""A model that a server is asked for, with what is known of it from the probe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from envbuilder.guest.answers import Answer
from envbuilder.verification.live import inputs as sample
from envbuilder.verification.live.deployed import DeployedModel


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedModel:
    """A model to request from the server, and what is known of it."""

    deployed: DeployedModel
    probed: Mapping[str, Any] | None = None
    """The probe's results for it; None: there are none."""
    numpy: str = ""
    """The version in the environment."""
    silent: bool = False
    """Whether the probe waited in vain for the model's last response."""

    @property
    def known(self) -> dict[str, Answer]:
        """The probe's answers by request, those of eager if the model has an eager form."""
        if self.probed is None or not self.deployed.outputs.is_file():
            return {}
        return sample.load(self.deployed.outputs)

    @property
    def varying(self) -> list[str]:
        """Outputs that vary from call to call, or from one start of a server to the next."""
        if self.probed is None:
            return []
        if self.probed.get("constructed"):
            return [output.name for output in self.deployed.config.output]
        return list(self.probed.get("varying", ()))

    @property
    def against(self) -> str:
        """A name for the answers to compare with."""
        return "eager" if self.probed is not None and self.probed.get("compiled") else "the probe"
