"""Install an archive's packages with uv, to see whether the archive or a package causes a failure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from uv import find_uv_bin

from envbuilder.archive.manifest import Manifest
from envbuilder.base.interpreter import find_interpreters
from envbuilder.errors import EnvbuilderError
from envbuilder.store.local import Store
from envbuilder.util.process import CommandError, run
from envbuilder.verification.static.packages import Installed, with_requirements

_SECONDS: Final = 300.0
_IMPORTED: Final = 86
"""The exit code after an import: a module that ends the process itself was not imported."""


@dataclass(kw_only=True, slots=True)
class UvInstallation:
    """Installs packages of *manifest* with uv into *folder*, from the wheels in *store*, and imports them there."""

    manifest: Manifest
    installed: Mapping[str, Installed]
    store: Store
    folder: Path
    _python: Path | None = None
    _there: set[str] = field(default_factory=set)

    def imports(self, package: str, module: str) -> bool | None:
        """Return whether *module* of *package* can be imported; None: this machine lacks the Python or the wheels."""
        python = self._installed(package)
        if python is None:
            return None
        # Without Python's own end: a crash there is none of the import.
        code = f"import {module}; import os; os._exit({_IMPORTED})"
        command = [str(python), "-I", "-X", "utf8=0", "-c", code]
        env = {"PATH": os.defpath, "LC_ALL": "C", "HOME": str(self.folder)}
        try:
            done = run(command, env=env, cwd=Path("/"), timeout=_SECONDS, check=False, until_exit=True)
        except CommandError:
            return False
        return done.returncode == _IMPORTED

    def _installed(self, package: str) -> Path | None:
        names = with_requirements(package, self.installed) - self._there
        wheels = self._wheels(names)
        python = self._environment() if wheels is not None else None
        if wheels is None or python is None:
            return None
        if wheels:
            command = [find_uv_bin(), "pip", "install", "--quiet", "--no-config", "--no-index", "--no-deps"]
            try:
                run(
                    [*command, "--python", str(python), *map(str, wheels)],
                    env=self._variables(),
                    timeout=_SECONDS,
                )
            except CommandError:
                return None
        self._there |= names
        return python

    def _wheels(self, names: set[str]) -> list[Path] | None:
        wheels = []
        for one in self.manifest.packages:
            if one.name in names:
                path = self.store.find_artifact(one.sha256, one.size)
                if path is None:
                    return None
                wheel = self.folder / "wheels" / one.filename
                wheel.parent.mkdir(parents=True, exist_ok=True)
                wheel.unlink(missing_ok=True)
                wheel.symlink_to(path)
                wheels.append(wheel)
        return wheels

    def _environment(self) -> Path | None:
        if self._python is None:
            try:
                found, _ = find_interpreters(".".join(self.manifest.python.split(".")[:2]))
                if not found:
                    return None
                place = self.folder / "venv"
                command = [find_uv_bin(), "venv", "--quiet", "--no-config", "--no-project", "--python"]
                run([*command, str(found[0].executable), str(place)], env=self._variables(), timeout=_SECONDS)
            except EnvbuilderError:
                return None
            self._python = place / "bin" / "python"
        return self._python

    def _variables(self) -> dict[str, str]:
        return {
            "PATH": os.defpath,
            "HOME": str(self.folder),
            "UV_CACHE_DIR": str(self.folder / "cache"),
            "LC_ALL": "C.UTF-8",
        }
