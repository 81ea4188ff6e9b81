"""From artifacts to segments: the parts of an archive, relocated, compiled to bytecode, and compressed.

In: wheels in the store, and a base. Out: :class:`~envbuilder.archive.segment.Segment`. Knows nothing of recipes, the
order of an archive, or the network beyond :mod:`envbuilder.fetch`.
"""
