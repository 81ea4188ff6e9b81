"""Prove the origin of each member of an archive: a locked artifact, compiled bytecode, or this tool.

In: an archive that was extracted, and a lock. Out: the check ``manifest.origin``. Believes nothing of what the archive
says of itself, and asks no network.
"""
