"""Prove that a release loads an archive, and that the model's outputs are correct.

In: an archive, and a model. Out: a :class:`~envbuilder.verification.report.Report`. ``static`` reads the archive,
``live`` runs it as a stub would, ``server`` asks a real tritonserver. Changes nothing that it is given.
"""
