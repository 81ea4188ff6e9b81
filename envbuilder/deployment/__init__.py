"""From an archive and a model directory to a deployment in a model repository.

In: an archive, a model directory, a repository. Out: a :class:`~envbuilder.deployment.outcome.Deployment`. Knows what
Triton reads, and neither how the archive was made nor how a server is started.
"""
