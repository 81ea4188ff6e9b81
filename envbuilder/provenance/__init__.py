"""Who made an archive, and of what: a statement that is signed, and its check."""
