"""From a conda environment file to a recipe, and what could not be carried over."""
