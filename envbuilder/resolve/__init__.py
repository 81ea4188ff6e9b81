"""From a recipe to a lock."""
