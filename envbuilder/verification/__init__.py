"""Prove that a release will load an archive, and that it answers right.

In: an archive, and a model. Out: a :class:`~envbuilder.verification.report.Report`. ``static`` reads the archive,
``live`` runs it as a stub would, ``server`` asks a real tritonserver. Changes nothing that it is given.
"""
