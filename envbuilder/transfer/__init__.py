"""Archives and what they are made of, to and from a remote store.

In: archives, builds, aliases. Out: the same on another machine, verified. Knows how a build is named, not how it is
made.
"""
