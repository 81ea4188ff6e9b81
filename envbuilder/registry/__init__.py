"""Content of OCI registries: its documents, and a client of the distribution specification.

In: references, blobs, manifests. Out: the same, downloaded or uploaded, each verified by its digest. Knows no
archive and no environment.
"""
