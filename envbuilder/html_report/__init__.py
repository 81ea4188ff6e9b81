"""A report to look at: one HTML file about an archive, for a browser, a printer or a screen reader.

In: an archive, and what is known of it (a verification, advisories, another archive). Out: HTML that asks no network
and runs no script. Knows nothing of the command line.
"""
