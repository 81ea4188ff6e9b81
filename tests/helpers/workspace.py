"""A project as a user has it: a recipe, its lock, its wheels, a model, a remote store; for the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from envbuilder.base.interpreter import Interpreter, describe
from envbuilder.lockfile.pylock import write_lock
from envbuilder.recipe.load import load_recipe
from envbuilder.store.trust import KEY_VARIABLE
from tests.helpers.small import little
from tests.helpers.trust import Team
from tests.helpers.wheels import small_lock, write_wheel

CONFIG = """\
backend: "python"
max_batch_size: 4
input [ { name: "x" data_type: TYPE_FP32 dims: [ 2 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 2 ] } ]
"""
MODEL = """\
import torch


class Net(torch.nn.Module):
    def forward(self, x):
        return {"y": x}
"""


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """What :func:`make_workspace` wrote into *folder*."""

    folder: Path

    @property
    def recipe(self) -> Path:
        """The recipe ``small``."""
        return self.folder / "recipes" / "small.yaml"

    @property
    def lock(self) -> Path:
        """Its lock."""
        return self.folder / "recipes" / "pylock.small.toml"

    @property
    def model(self) -> Path:
        """A model directory."""
        return self.folder / "net"

    @property
    def remote(self) -> Path:
        """The folder that is the remote store."""
        return self.folder / "remote"

    @property
    def variables(self) -> dict[str, str]:
        """What the environment of somebody who may push has."""
        return {KEY_VARIABLE: str(self.folder / "keys" / "team.pem")}

    def archive(self) -> Path:
        """Return the archive that was built."""
        (found,) = (self.folder / "envs").glob("small-*.tar.gz")
        return found


def make_workspace(folder: Path, interpreter: Interpreter) -> Workspace:
    """Write a project into *folder* that builds in a second, from its own wheelhouse."""
    made = Workspace(folder=folder)
    made.recipe.parent.mkdir(parents=True)
    Team(folder / "keys")
    exclude = "".join(f'    - "{pattern}"\n' for pattern in little(interpreter).exclude or ())
    made.recipe.write_text(
        'triton: pytriton-0.7.0\npython: "3.11"\ntorch: "2.13.0"\ncuda: cpu\n'
        "dependencies: [alpha, beta]\npack:\n  exclude:\n" + exclude
    )
    wheels = [
        write_wheel(folder / "wheels", "alpha", files={"alpha/__init__.py": b"VALUE = 1\n"}),
        write_wheel(folder / "wheels", "beta", files={"beta.py": b"", "beta/data.bin": bytes(200_000)}),
    ]
    # What the recipe and its release demand.
    for name, version in (("torch", "2.13.0+cpu"), ("numpy", "1.26.4")):
        write_wheel(folder / "wheels", name, version)
    for name in ("recipes", "."):
        up = "../" if name == "recipes" else ""
        (folder / name / "envbuilder.toml").write_text(
            f'find-links = ["{up}wheels"]\nno-index = true\nstore = "file://{made.remote}"\n'
            f'store-trust = ["{up}keys/team.pub"]\n'
        )
    write_lock(small_lock(load_recipe(made.recipe), wheels, describe(interpreter)), made.lock)
    other = made.recipe.with_name("other.yaml")
    other.write_text(made.recipe.read_text().replace("[alpha, beta]", "[beta]"))
    locked = small_lock(load_recipe(other), wheels[1:], describe(interpreter))
    write_lock(locked, made.lock.with_name("pylock.other.toml"))
    (made.model / "1").mkdir(parents=True)
    (made.model / "config.pbtxt").write_text(CONFIG)
    (made.model / "1" / "model.py").write_text(MODEL)
    return made
