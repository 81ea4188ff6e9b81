"""Choose the number of threads of a model."""

from __future__ import annotations

import time

import torch

from .errors import describe
from .loaded import Form, LoadedModel
from .log import Log
from .parameters import Parameters

SHORT_CALL = 0.01
"""In seconds: a call that takes longer keeps its threads."""


def set_up_torch(parameters: Parameters, log: Log) -> None:
    """Apply the threads and settings of *parameters* to torch, before its first computation."""
    torch.set_num_threads(parameters.most_threads)
    if torch.get_num_interop_threads() != parameters.interop_threads:
        try:
            torch.set_num_interop_threads(parameters.interop_threads)
        except RuntimeError as error:  # torch accepts it once in a process, before its first parallel work
            log.warn(f"interop threads are unchanged: {error}")
    torch.backends.cudnn.enabled = not parameters.disable_cudnn


def settle_threads(model: LoadedModel, form: Form, size: int) -> None:
    """Halve the threads while that costs a call of *size* rows less than a quarter.

    Server and clients use the same CPUs, and to wake a thread for each layer of a small model costs more than the
    layer. A default would be simpler, and costs more than a tenth: a thread for each of two CPUs makes one row of the
    sample models take 1.0 to 1.7 times as long (torch 2.13), one thread for all makes eight images take 1.15 times as
    long as two do. Nor can it be told from the model: torch counts no floating-point operations in its fused LSTM and
    attention. With the machine busy, the samples settled on the same number each time; NUM_THREADS fixes it.
    """
    values = model.examples(size)

    def best(threads: int) -> float:
        torch.set_num_threads(threads)
        seconds = []
        for _ in range(5):
            began = time.perf_counter()
            form.forward(model.tensors(values))
            seconds.append(time.perf_counter() - began)
        return min(seconds)

    threads = model.parameters.most_threads
    try:
        fastest = best(threads)
        while threads > 1 and fastest <= SHORT_CALL:
            fewer = best(threads // 2)
            if fewer > 1.25 * fastest:
                break
            threads, fastest = threads // 2, min(fewer, fastest)
    except Exception as error:  # the model does not take that size: warm-up reports it, if it matters
        model.log.verbose(describe(error, model.folder))
    torch.set_num_threads(threads)
    model.log.info(f"{threads} of {model.parameters.most_threads} threads")
