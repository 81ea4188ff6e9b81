"""From a lock to an archive: the one place that joins base, fetch, assembly and packing.

In: a recipe and its lock. Out: an archive with its manifest, and a record of the build. Verifies nothing and deploys
nothing.
"""
