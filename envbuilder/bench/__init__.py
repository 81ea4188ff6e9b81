"""``envbuilder bench``: measure on this machine what a deployment costs."""
