"""Checks that read an archive and run nothing of it.

In: an archive's members, its manifest, a release. Out: checks. Starts no process of the archive's.
"""
