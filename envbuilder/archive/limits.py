"""How much of an archive is read, and why no more: nothing that somebody packed decides what memory and disk it takes.

Measured on what stands: the largest environments that PyPI and conda-forge make (torch with CUDA, TensorFlow beside
it) have 110,000 members, 15 GB unpacked from 6 GB packed, and paths of up to 260 bytes.
"""

from __future__ import annotations

from typing import Final

HEADER: Final = 2**20
"""Bytes of everything that describes one member: its header and the PAX records and long names before it. Python's
``tarfile`` reads those whole; an honest member's are a few kilobytes."""
HEADER_READS: Final = 64
"""Blocks and bodies that describe one member: each extension is one more level of recursion in ``tarfile``."""
MEMBERS: Final = 500_000
"""Members of an archive: each takes about a kilobyte of memory while its archive is looked at."""
NAMES: Final = 256 * 2**20
"""Bytes of all names and link targets together."""
PATH: Final = 4096
"""Bytes of a name or a link target: Linux takes no longer path (``PATH_MAX``)."""
PART: Final = 255
"""Bytes between two slashes of a name: no file system of Linux takes more (``NAME_MAX``)."""
DEPTH: Final = 200
"""Folders within each other: the deepest environments have 25. What removes a tree takes a level of Python's stack for
each, and some file systems no more than a thousand."""
GLOBAL_RECORDS: Final = 100
"""Different PAX records for all members: ``git archive`` writes one, and each is kept to the end."""
RATIO: Final = 100
"""How many times its packed size an archive may unpack to. Deflate reaches 1032; environments 2 to 4."""
RATIO_FROM: Final = 2**30
"""Unpacked bytes from which the ratio counts: one file of zeros is no attack."""
UNPACKED: Final = 200 * 2**30
"""Bytes that any archive may unpack to."""
TEXTS: Final = 256 * 2**20
"""Bytes of all texts that describe packages (METADATA, licences, records): 30 MB in the largest."""
LATEST: Final = 2**33
"""Seconds since 1970 that a time may say, which is the year 2242: beyond what file systems keep."""
