"""What changed between two recipes, two locks, or two archives."""
