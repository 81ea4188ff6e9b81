"""Keys, certificates and signed envelopes: what provenance and remote stores prove who said something with.

In: PEM files, signed bytes. Out: what was signed, and who signed it. Knows no archive, no store and no statement.
Everything that needs ``cryptography`` (extra ``proof``) imports it where it is used.
"""
