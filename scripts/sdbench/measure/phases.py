"""Where the time of a call goes: text encoders, each step, denoiser, VAE decoder."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sdbench.backends.engine import Engine, Images

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
    is_enough: Callable[[Sequence[float]], bool] = lambda ends: False,
    decode: bool = True,
    timed: bool = True,
) -> tuple[dict[str, Any], Images | None]:
    """Time the parts of one call.

    The device is synchronised around every part, which costs time: the sum is not the latency.

    Args:
        engine: what generates.
        generation: prompt, steps and guidance, as in the config.
        latents: of the batch.
        look: called where the call is half over, or ended, when the device has been busy; it is in
            no part.
        is_enough: told after each step at what seconds of the clock each so far ended: whether the
            call is ended there.
        decode: whether the latents of a call that is ended are decoded.
        timed: if not, nothing is put around the networks, and nothing but the images is returned.

    Returns:
        The images, None where they were not decoded; before them
        `text_encoder_s`, `denoiser_s`, `vae_decoder_s`: seconds in all evaluations of a part, or of
        all text encoders; `denoiser_evaluations`: how many the denoiser had; `step_s`: seconds of
        each of those together with guidance and scheduler, from its start to the step's end.
    """
    spent: dict[str, list[tuple[float, float]]] = {}
    ends: list[float] = []

    def on_step_end(now: torch.Tensor) -> None:
        engine.synchronize()
        ends.append(time.perf_counter())
        ended = is_enough(ends)
        if ended or len(ends) == generation["steps"] // 2:
            look()
        if ended:
            raise EnoughError(now)

    parts = [(name, "forward", "text_encoder") for name in engine.family.text_encoders]
    parts += [(engine.family.denoiser, "forward", "denoiser"), ("vae", "decode", "vae_decoder")]
    images: Images | None = None
    with contextlib.ExitStack() as stack:
        for name, method, part in parts if timed else ():
            network, times = getattr(engine.pipeline, name), spent.setdefault(part, [])
            stack.enter_context(_timed(network, method, times, engine))
        try:
            images = engine.generate(generation, latents, on_step_end=on_step_end)
        except EnoughError as enough:
            if decode:
                images = engine.decode(generation, enough.latents)
    if not timed:
        return {}, images
    totals = {f"{name}_s": sum(end - begin for begin, end in s) for name, s in spent.items()}
    begins = [begin for begin, _ in spent["denoiser"]]
    steps = [end - begin for begin, end in zip(begins, ends, strict=True)]
    return {**totals, "denoiser_evaluations": len(begins), "step_s": steps}, images


def is_hooked(engine: Engine) -> bool:
    """Tell whether something stands in the place of a network's `forward`, as with offload or
    compiling: in the first call it may put itself there anew, and what is put around it is lost."""
    networks = (*engine.family.text_encoders, engine.family.denoiser)
    return any("forward" in vars(getattr(engine.pipeline, name)) for name in networks)


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
