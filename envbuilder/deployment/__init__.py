"""From an archive and a model directory to a deployment in a model repository."""
