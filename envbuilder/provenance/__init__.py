"""Who made an archive, and of what: a statement that is signed, and its check.

In: an archive, a key. Out: an in-toto statement in an envelope beside it. Keys themselves are
:mod:`envbuilder.signing`'s business.
"""
