"""Who built an archive, and from what: a signed statement, and its verification.

In: an archive, a key. Out: an in-toto statement in an envelope beside it. Keys are handled
by :mod:`envbuilder.signing`.
"""
