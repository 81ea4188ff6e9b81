"""The annotations of this tool's own on images, and those of eStargz; those of OCI stand where they are written."""

from __future__ import annotations

from typing import Final

OURS: Final = "dev.envbuilder."
"""How their names begin."""
ARCHIVE: Final = f"{OURS}archive"
"""On a manifest: sha256 of the archive that the image was made of."""
SEGMENTS: Final = f"{OURS}segments"
"""On a layer: which runs of the archive's bytes are where in it."""
TOC_DIGEST: Final = "containerd.io/snapshot/stargz/toc.digest"
"""On an eStargz layer: the digest of its table of contents. The snapshotter's name."""
UNCOMPRESSED: Final = "io.containers.estargz.uncompressed-size"
"""On an eStargz layer: its bytes, uncompressed."""
TAIL: Final = f"{OURS}tail"
"""On a manifest: the bytes that end the archive, hexadecimal."""
