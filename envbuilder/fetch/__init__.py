"""From a lock to artifacts in the store, wherever their bytes are found.

In: artifacts by sha256, and a session. Out: their paths in the store. Believes no source: only the hash counts. Knows
nothing of what the artifacts are for.
"""
