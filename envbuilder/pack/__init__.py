"""From segments to an archive."""
