"""From a lock to artifacts in the store."""
