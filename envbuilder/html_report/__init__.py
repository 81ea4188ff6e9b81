"""HTML reports: one file about an archive, for a browser, a printer or a screen reader.

In: an archive, and facts about it (a verification, advisories, another archive). Out: HTML without network access
and scripts. Knows nothing of the command line.
"""
