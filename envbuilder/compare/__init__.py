"""What changed between two recipes, two locks, or two archives.

In: two files of one kind. Out: a :class:`~envbuilder.compare.diff.Difference`. Builds and fetches nothing.
"""
