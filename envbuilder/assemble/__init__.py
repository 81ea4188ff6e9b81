"""From artifacts to segments."""
