"""Content-addressed storage, on this machine and on a remote store.

In: artifacts and segments. Out: the same bytes, verified. Knows no recipe and does not build.
"""
