"""The content of an archive: its components, their licences and advisories.

In: an archive. Out: components, a CycloneDX document, sizes. Everything is read from the archive itself: the
manifest names the artifacts, the packages' own METADATA and licence files describe them. Asks no network.
"""
