"""The code that runs inside a packed environment, in one process: the probe, the compiler, the stub module.

In: a job as JSON. Out: an answer as JSON. It is copied into place as a package called ``_envbuilder_guest`` and started
as ``python3 -I -X utf8=0 -B _envbuilder_guest/__main__.py JOB.json``. Its modules import each other relative to
their package, and nothing of the rest of envbuilder, so a model's own modules may have any names. Only the folder
``stub``, with the module that Triton's stub would provide, is on ``sys.path``. It runs on Python 3.8 and later, and
needs only the environment's packages.
"""
