"""Facts about Triton's releases, torch's builds, CUDA's drivers and systems' libraries.

In: nothing. Out: tables and look-ups. Knows no recipe, no user file, no network.
"""
