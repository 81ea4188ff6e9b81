"""This tool's annotations on images, and those of eStargz."""

from __future__ import annotations

from typing import Final

OURS: Final = "dev.envbuilder."
"""The prefix of their names."""
ARCHIVE: Final = f"{OURS}archive"
"""On a manifest: sha256 of the archive from which the image was made."""
SEGMENTS: Final = f"{OURS}segments"
"""On a layer: the ranges of the archive in it, and their offsets."""
TOC_DIGEST: Final = "containerd.io/snapshot/stargz/toc.digest"
"""On an eStargz layer: the digest of its table of contents. The snapshotter's name."""
UNCOMPRESSED: Final = "io.containers.estargz.uncompressed-size"
"""On an eStargz layer: its uncompressed size in bytes."""
TAIL: Final = f"{OURS}tail"
"""On a manifest: the last bytes of the archive, in hex."""
