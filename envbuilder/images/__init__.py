"""Environments as OCI images: a segment is a layer, the image's root is the environment's prefix.

In: an archive and its manifest, or an image. Out: an image layout; from an image its tree, as a runtime sees it, or the
archive it was made of. Knows no recipe and no registry.
"""
