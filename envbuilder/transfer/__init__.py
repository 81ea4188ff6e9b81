"""Upload archives and their parts to a remote store, and download them.

In: archives, builds, aliases. Out: the same on another machine, verified. Knows how a build is named, not how it is
made.
"""
