"""Where each member of an archive comes from: a locked artifact, the compiler of bytecode, or this tool itself.

In: an archive that was extracted, and a lock. Out: the check ``manifest.origin``. Believes nothing of what the archive
says of itself, and asks no network.
"""
