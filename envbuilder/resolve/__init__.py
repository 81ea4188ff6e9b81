"""From a recipe to a lock: which wheels, by which hash.

In: a recipe, and the base that its provider chose. Out: a :class:`~envbuilder.lockfile.model.Lock`. Knows no archive.
"""
