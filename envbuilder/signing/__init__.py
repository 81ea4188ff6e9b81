"""Keys, certificates, timestamps and signed envelopes, for provenance and remote stores.

In: PEM files, signed bytes. Out: what was signed, and who signed it. Knows nothing of archives, stores and
statements. ``cryptography`` (extra ``proof``) is imported only where it is used.
"""
