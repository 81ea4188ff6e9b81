"""Limits on reading archives, so that a hostile archive cannot exhaust memory or disk.

For comparison: the largest environments from PyPI and conda-forge (torch with CUDA plus TensorFlow) have 110,000
members, 15 GB unpacked from 6 GB packed, and paths of up to 260 bytes.
"""

from __future__ import annotations

from typing import Final

HEADER: Final = 2**20
"""Bytes of the description of one member: its header and the PAX records and long names before it. Python's
``tarfile`` reads them into memory; normal members have a few kilobytes."""
HEADER_READS: Final = 64
"""Blocks in the description of one member: each extension is one more level of recursion in ``tarfile``."""
MEMBERS: Final = 500_000
"""Members of an archive: each takes about a kilobyte of memory while the archive is read."""
NAMES: Final = 256 * 2**20
"""Bytes of all names and link targets together."""
PATH: Final = 4096
"""Bytes of a name or a link target (``PATH_MAX`` of Linux)."""
PART: Final = 255
"""Bytes of a path component (``NAME_MAX`` of Linux)."""
DEPTH: Final = 200
"""Depth of nested folders; the deepest environments have 25. Removing a tree needs a level of Python's stack for
each, and some file systems allow no more than a thousand."""
GLOBAL_RECORDS: Final = 100
"""Global PAX records: ``git archive`` writes one, and each is kept to the end."""
RATIO: Final = 100
"""Largest ratio of unpacked to packed size. Deflate reaches 1032; environments 2 to 4."""
RATIO_FROM: Final = 2**30
"""Unpacked bytes above which the ratio is checked: a single file of zeros is not an attack."""
UNPACKED: Final = 200 * 2**30
"""Largest unpacked size of an archive."""
TEXTS: Final = 256 * 2**20
"""Bytes of all package metadata (METADATA, licences, records); 30 MB in the largest environments."""
LATEST: Final = 2**33
"""Largest modification time in seconds since 1970: the year 2242, beyond the range of file systems."""
