"""From artifacts to segments: an archive's parts, relocated, compiled to bytecode, compressed.

In: wheels in the store, and a base. Out: :class:`~envbuilder.archive.segment.Segment`. Knows no recipe, no order of an
archive, and no network but what :mod:`envbuilder.fetch` brings.
"""
