"""Seconds that compiling networks takes, apart from the calls that it is done in."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from sdbench.backends.compile_time import LISTENING
from sdbench.devices.platforms import platform_of
from sdbench.measure.latency import time_call

import torch
from torch._dynamo.callback import callback_handler
from torch._dynamo.utils import counters


def compile_anew(
    call: Callable[[], object], synchronize: Callable[[], None], device: torch.device
) -> tuple[float, dict[str, Any]]:
    """Forget what was compiled, and make the calls in which networks are compiled again: on CUDA
    several, in which graphs are recorded. Nothing is compiled in a later call.

    Returns:
        The seconds of the first call without compiling, and `compile_s`, the seconds in which
        something was compiled or recorded, in all calls; `compile_cached`: whether all that was
        compiled came from torch's cache of earlier processes.
    """
    torch.compiler.reset()
    counters.clear()
    with _compiling() as spans:
        call_s = time_call(call, synchronize) - sum(spans)
        for _ in range(platform_of(device).graph_calls):
            call()
        synchronize()
    cache = counters["inductor"]
    hits, misses = cache["fxgraph_cache_hit"], cache["fxgraph_cache_miss"]
    cached = hits > 0 and misses + cache["fxgraph_cache_bypass"] == 0
    return call_s, {"compile_s": sum(spans), "compile_cached": cached}


TUNING = ("benchmark_all_configs", "coordinate_descent_tuning")
"""Methods of Triton's autotuner, of which torch tells nobody: each kernel tries its variants when
it first runs, after compiling."""


@contextlib.contextmanager
def _compiling() -> Iterator[list[float]]:
    """Note the seconds of each stretch of compiling, recording or autotuning.

    Of the first two torch itself tells. One stretch within another is not counted twice.
    """
    # Not before: what it imports decides by the devices that it sees how kernels are compared.
    from torch._inductor.runtime.triton_heuristics import CachingAutotuner

    spans: list[float] = []
    begins: list[float] = []

    def start(_: object) -> None:
        begins.append(time.perf_counter())

    def end(_: object) -> None:
        begin = begins.pop()
        if not begins:
            spans.append(time.perf_counter() - begin)

    @contextlib.contextmanager
    def stretch() -> Iterator[None]:
        start(None)
        try:
            yield
        finally:
            end(None)

    with contextlib.ExitStack() as undo:
        callback_handler.register_start_callback(start)
        undo.callback(callback_handler.remove_start_callback, start)
        callback_handler.register_end_callback(end)
        undo.callback(callback_handler.remove_end_callback, end)
        LISTENING.append(spans)
        undo.callback(LISTENING.remove, spans)
        for name in TUNING:
            original = getattr(CachingAutotuner, name)
            setattr(CachingAutotuner, name, stretch()(original))
            undo.callback(setattr, CachingAutotuner, name, original)
        yield spans
