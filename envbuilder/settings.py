"""Where artifacts are looked for on this machine: envbuilder.toml, pip's configuration, PIP_* and UV_*."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PYTORCH_INDEX = "https://download.pytorch.org/whl"


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Sources of artifacts, in the order in which they count."""

    find_links: tuple[str, ...] = ()
    """Wheelhouses: folders, or ``file:``/``http(s):`` pages of links. They count before any index."""
    index_url: str = "https://pypi.org/simple"
    extra_index_urls: tuple[str, ...] = ()
    """Further indexes; ``file://`` folders are allowed."""
    pytorch_index: str = PYTORCH_INDEX
    """``<pytorch_index>/<cuda>`` is the simple index of one CUDA variant."""
    constraints: tuple[Path, ...] = ()
    no_index: bool = False
    trusted_hosts: tuple[str, ...] = ()
    cert: Path | None = None
    client_cert: Path | None = None
    proxy: str | None = None
    timeout: float = 60.0
    """Seconds."""
