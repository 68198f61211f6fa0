"""Where the time of a call goes: text encoders, each step, denoiser, VAE decoder."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sdbench.backends.engine import Engine

import torch


class EnoughError(Exception):
    """A call that was ended after some evaluations of the denoiser: the latents of that moment."""

    def __init__(self, latents: torch.Tensor) -> None:
        super().__init__()
        self.latents = latents


def time_phases(
    engine: Engine,
    generation: Mapping[str, Any],
    latents: torch.Tensor,
    look: Callable[[], None] = lambda: None,
    evaluations: int | None = None,
) -> dict[str, Any]:
    """Time the parts of one call, or of one that is ended and decoded after some `evaluations`.

    The device is synchronised around every part, which costs time: the sum is not the latency.
    `look` is called in the middle of the call, when the device has been busy, and is in no part.

    Returns:
        `text_encoder_s`, `denoiser_s`, `vae_decoder_s`: seconds in all evaluations of a part, or of
        all text encoders; `denoiser_evaluations`: how many the denoiser had; `step_s`: seconds of
        each of those together with guidance and scheduler, from its start to the step's end.
    """
    spent: dict[str, list[tuple[float, float]]] = {}
    ends: list[float] = []

    def on_step_end(now: torch.Tensor) -> None:
        engine.synchronize()
        ends.append(time.perf_counter())
        if len(ends) == (evaluations or generation["steps"]) // 2:
            look()
        if len(ends) == evaluations:
            raise EnoughError(now)

    parts = [(name, "forward", "text_encoder") for name in engine.family.text_encoders]
    parts += [(engine.family.denoiser, "forward", "denoiser"), ("vae", "decode", "vae_decoder")]
    with contextlib.ExitStack() as stack:
        for name, method, part in parts:
            network, times = getattr(engine.pipeline, name), spent.setdefault(part, [])
            stack.enter_context(_timed(network, method, times, engine))
        try:
            engine.generate(generation, latents, on_step_end=on_step_end)
        except EnoughError as enough:
            engine.decode(generation, enough.latents)
    totals = {f"{name}_s": sum(end - begin for begin, end in s) for name, s in spent.items()}
    begins = [begin for begin, _ in spent["denoiser"]]
    return {
        **totals,
        "denoiser_evaluations": len(begins),
        "step_s": [end - begin for begin, end in zip(begins, ends, strict=True)],
    }


@contextlib.contextmanager
def _timed(
    network: Any, method: str, spent: list[tuple[float, float]], engine: Engine
) -> Iterator[None]:
    """Note begin and end of each call of `network.method`."""
    original: Callable[..., Any] = getattr(network, method)
    is_own = method in vars(network)  # as that of a compiled network is

    def timed(*args: Any, **kwargs: Any) -> Any:
        engine.synchronize()
        begin = time.perf_counter()
        result = original(*args, **kwargs)
        engine.synchronize()
        spent.append((begin, time.perf_counter()))
        return result

    setattr(network, method, timed)
    try:
        yield
    finally:
        if is_own:
            setattr(network, method, original)
        else:
            delattr(network, method)
