"""What is inside an archive: its components, their licences, what is known against them.

In: an archive. Out: components, a CycloneDX document, sizes. Everything is read from the archive itself: the manifest
says which artifacts it was made of, the packages' own METADATA and licence files say what they are. Asks no network.
"""
