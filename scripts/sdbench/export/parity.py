"""The networks of a model as they are exported, and how far an exported one is from PyTorch."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sdbench.export.exported import describe_files
from sdbench.models.configs import plain_configs
from sdbench.models.examples import denoiser_shapes, noise, random_inputs
from sdbench.models.families import Family, by_name, family_of
from sdbench.models.folders import written_whole
from sdbench.models.loading import load_network
from sdbench.models.reading import read_folder
from sdbench.runtime.errors import UserError
from sdbench.runtime.failures import FILES, failure_written, write_failure
from sdbench.runtime.files import write_json
from sdbench.runtime.processes import Ended, run_in_subprocess

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils._pytree import tree_map


@dataclass(frozen=True)
class Network:
    """How one network, by its folder, is fed and called.

    `example` makes its inputs, by name, of the network; `call` takes them in that order and
    returns one tensor. `dynamic` has the axes that may vary, by input.
    """

    folder: str
    example: Callable[[Any, int, int], dict[str, torch.Tensor]]
    call: Callable[..., torch.Tensor]
    dynamic: Mapping[str, Mapping[int, Any]]
    output: str


class Loaded(torch.nn.Module):
    """A network of PyTorch as it is traced: its inputs by position, and one output."""

    def __init__(self, network: Network, model_folder: Path) -> None:
        super().__init__()
        self.network = network
        # In fp32 whatever they are stored in: the graphs compute in fp32 with the same numbers.
        contents = read_folder(model_folder)
        self.weights = load_network(contents, network.folder, torch.float32)
        self.eval()

    def example(self, batch: int, side: int) -> dict[str, torch.Tensor]:
        """Return inputs by name, for a batch size and a latent height and width."""
        return self.network.example(self.weights, batch, side)

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """Call the network as the pipeline does."""
        return self.network.call(self.weights, *tensors)


def _text_inputs(network: Any, batch: int, side: int) -> dict[str, torch.Tensor]:
    shape = (batch, network.config.max_position_embeddings)
    generator = torch.Generator().manual_seed(0)
    return {"input_ids": torch.randint(0, network.config.vocab_size, shape, generator=generator)}


def _vae_inputs(network: Any, batch: int, side: int) -> dict[str, torch.Tensor]:
    return {"latents": noise(batch, network.config.latent_channels, side, side)}


TEXT_ENCODER = Network(
    folder="text_encoder",
    example=_text_inputs,
    call=lambda network, input_ids: network(input_ids)[0],
    dynamic={"input_ids": {0: "batch"}},
    output="last_hidden_state",
)
VAE_DECODER = Network(
    folder="vae",
    example=_vae_inputs,
    call=lambda network, latents: network.decode(latents, return_dict=False)[0],
    dynamic={"latents": {0: "batch", 2: "height", 3: "width"}},
    output="pixels",
)


def networks_of(model_folder: Path) -> dict[str, Network]:
    """Return the networks of a model that are exported, by name: none for a family of which none
    can be."""
    family = family_of(model_folder)
    if family.why_not_exported is not None:
        return {}
    text = {"text_encoder": TEXT_ENCODER} if family.exports_text_encoders else {}
    return {**text, family.denoiser: _denoiser_of(family, model_folder), "vae_decoder": VAE_DECODER}


def _denoiser_of(family: Family, model_folder: Path) -> Network:
    configs = plain_configs(family, model_folder)
    shrinks = 2 ** (len(configs["vae"]["block_out_channels"]) - 1)

    def shapes(batch: int, side: int) -> dict[str, Any]:
        return denoiser_shapes(family, configs, side * shrinks, side * shrinks, batch)

    traced, other = shapes(2, 16), by_name(shapes(3, 24))

    def call(network: Any, *tensors: torch.Tensor) -> torch.Tensor:
        rest = iter(tensors)
        arguments = tree_map(
            lambda shape: None if shape is None else next(rest),
            traced,
            is_leaf=lambda value: isinstance(value, tuple),
        )
        output: torch.Tensor = network(**arguments, return_dict=False)[0]
        return output

    return Network(
        folder=family.denoiser,
        example=lambda _network, batch, side: random_inputs(family, shapes(batch, side)),
        call=call,
        dynamic={
            name: {
                axis: torch.export.Dim.DYNAMIC
                for axis, (one, two) in enumerate(zip(shape, other[name], strict=True))
                if one != two
            }
            for name, shape in by_name(traced).items()
        },
        output="out_sample",
    )


@dataclass(frozen=True)
class Expected:
    """What PyTorch makes of a network's example, `inputs` by name, on another size than it is
    traced on; `parameters` is the number of the network's."""

    inputs: Mapping[str, NDArray[Any]]
    output: NDArray[np.float32]
    parameters: int


def expect(loaded: Loaded) -> Expected:
    """Run a network of PyTorch on the example that every exported one is compared on."""
    inputs = loaded.example(3, 24)
    with torch.inference_mode():
        output = loaded(*inputs.values()).numpy()
    arrays = {name: value.numpy() for name, value in inputs.items()}
    return Expected(arrays, output, sum(p.numel() for p in loaded.parameters()))


def compare(
    file: Path,
    found: NDArray[np.float32],
    expected: Expected,
    tolerance: float | None,
    opset: int | None,
    export_s: float,
) -> dict[str, Any]:
    """Return what the record says of an exported network: how far its output is from PyTorch's.

    Args:
        file: its graph, in the folder of its name.
        found: what it made of `expected.inputs`.
        expected: what PyTorch made of them.
        tolerance: the largest absolute difference allowed, as a share of the largest output; None
            where there is none, as of quantized weights: the image's quality judges those.
        opset: of ONNX; None for another format.
        export_s: seconds that the export took.

    Raises:
        UserError: if it differs by more than `tolerance`.
    """
    max_abs = float(np.abs(found - expected.output).max())
    max_rel = max_abs / float(np.abs(expected.output).max())
    if tolerance is not None and not max_rel <= tolerance:  # NaN must fail too
        raise UserError(
            f"{file}: differs from PyTorch by {max_rel:.2g} of the largest output; allowed is "
            f"{tolerance:g} (export.tolerance in the config): try another export.opset"
        )
    return {
        "network": file.parent.name,
        "status": "ok",
        "opset": opset,
        "parameters": expected.parameters,
        "max_abs_error": max_abs,
        "max_rel_error": max_rel,
        "tolerance": tolerance,
        **describe_files(file.parent),
        "export_s": export_s,
    }


def refuse_network(
    name: str, folder: Path, reason: str, status: str = "unsupported"
) -> dict[str, Any]:
    """Leave the reason why there is no network to run in the place of its files, for cases to have
    that status by before anything is loaded; return what the record says of it."""
    shutil.rmtree(folder / name, ignore_errors=True)
    write_failure(folder / name, reason, FILES[status])
    return {"network": name, "status": status, "reason": reason}


def refuse_model(record: Path, folder: Path, reason: str) -> None:
    """Write that no network of a model could be exported."""
    with written_whole(folder) as part:
        write_json(record, {"model": refuse_network("model", part, reason, "error")})


def export_each(
    record: Path,
    folder: Path,
    work: Callable[..., dict[str, Any]],
    model_folder: Path,
    *args: Any,
) -> None:
    """Call `work(name, folder, model_folder, *args)` for each network, and write what it returns,
    by name, to `record`: nothing for a family whose networks are not exported.

    Each in a process of its own: exporters keep the weights until theirs ends. The folder is given
    its name when all of it is there; `work` gets another. A network whose export fails has the
    status `error`, and so do the cases that would read it.
    """
    exported: dict[str, Any] = {}
    refusal = family_of(model_folder).why_not_exported
    if refusal is not None:
        print(f"{model_folder}: not exported: {refusal}")
    with written_whole(folder) as part:
        for name in networks_of(model_folder):
            call = _send_result, work, name, part, model_folder, *args
            with failure_written(partial(_fail, exported, name, part)):
                try:
                    (exported[name],) = run_in_subprocess(*call)
                except Ended as error:
                    raise UserError(
                        f"{folder}: {name}: the export failed: {error.args[0]}"
                    ) from error
    write_json(record, exported)


def _fail(exported: dict[str, Any], name: str, folder: Path, reason: str) -> None:
    exported[name] = refuse_network(name, folder, reason, "error")


def _send_result(send: Callable[[Any], None], work: Callable[..., Any], *args: Any) -> None:
    send(work(*args))
