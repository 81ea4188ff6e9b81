"""Fetch the artifacts of a lock into the store, from any source.

In: artifacts by sha256, and a session. Out: their paths in the store. Believes no source: only the hash counts. Knows
nothing of what the artifacts are for.
"""
