"""The families of models: all that differs between one and another, a module each.

Nothing heavy is imported, so that the Snakefile and what downloads a model can ask here too.
"""

import functools
import importlib
import json
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from sdbench.runtime.errors import UserError
from sdbench.runtime.errors import plain as plain_text

LOADED_BY_NAME = "{family}.py"

INDEX = "model_index.json"
STEMS = {"transformers": "model", "diffusers": "diffusion_pytorch_model"}
"""Stem of the files of weights that each library loads a network from."""
DIFFUSION = ("ddim", "pndm", "euler", "dpmsolver")
"""Samplers of models that predict noise or velocity under a schedule of betas."""
FLOW = ("flow-euler",)
"""Samplers of models that predict the straight flow from noise to image."""
SCHEDULE = (
    *("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas"),
    *("prediction_type", "rescale_betas_zero_snr", "set_alpha_to_one", "timestep_spacing"),
    *("steps_offset", "clip_sample", "clip_sample_range", "shift", "shift_terminal"),
    *("time_shift_type", "invert_sigmas"),
    *("use_dynamic_shifting", "base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len"),
)
"""Keys of a scheduler's configuration that belong to the model. All others are the sampler's: what
a program that saved the model had set there is not taken."""

Configs = Mapping[str, Mapping[str, Any]]
"""The configuration of each network by its folder, as its config.json has it."""
Size = tuple[int, int]
"""Height and width of the images, in pixels."""
Shapes = dict[str, Any]
"""Of the denoiser's inputs by name: tuples, lists or mappings of them, None for what it is not
given."""
Generation = Mapping[str, Any]
"""Prompt, steps, scheduler, guidance, height and width in pixels, seed: as in the config."""


def plain(config: Any) -> Mapping[str, Any]:
    """Return a network's configuration, whichever library it is of, as a mapping."""
    mapping: Mapping[str, Any] = config if isinstance(config, Mapping) else config.to_dict()
    return mapping


class Family:
    """What is common to all families, as a text encoder, a denoiser and an autoencoder have it.

    `pipeline`: diffusers' class. `components`: folder -> library and class, as `model_index.json`
    has them. `denoiser`: the folder of the network that every step evaluates. `fitting`: keys of
    its configuration that are sizes of other networks, each with the folders and keys of what it is
    the sum of; `fixed`: keys that have one value where it reads nothing but latents and a prompt.
    `indexed`: those of `settings` that a model's index may have otherwise. `schedulers`: those of
    the config that it generates with, and `why_these_schedulers`, why with no other.
    `unsupported`: switches that it cannot have, and why. `settings`: what the pipeline is made with
    besides its components, None for parts that are not needed to generate and `fetch_model` leaves
    out. `why_not_exported`: why its networks are not made into graphs; None where they are:
    denoiser and autoencoder, and with `exports_text_encoders` what reads the prompt, which else
    PyTorch runs. `numbers`: inputs of the denoiser that are one number for a prompt, and one that
    they may have. `multiple`: of what height and width are multiples, in pixels. `fp32_latents`:
    whether the pipeline keeps latents in fp32 whatever the precision. `guided_above`: with more
    guidance each step evaluates the denoiser for the empty prompt as well. `lengths`: how many
    tokens, padding included, a text encoder reads, where that is not as many as it can;
    `told_length_of`: the text encoder whose number the pipeline is told. `seen`: the text encoders
    whose tokens the denoiser sees one behind another; other states stand next to them or are
    pooled.
    """

    pipeline: ClassVar[str]
    components: ClassVar[Mapping[str, tuple[str, str]]]
    denoiser: ClassVar[str] = "transformer"
    fitting: ClassVar[Mapping[str, Sequence[tuple[str, str]]]] = {}
    fixed: ClassVar[Mapping[str, Any]] = {}
    indexed: ClassVar[Sequence[str]] = ()
    schedulers: ClassVar[Sequence[str]] = FLOW
    why_these_schedulers: ClassVar[str] = "it was trained to predict a flow, not noise"
    unsupported: ClassVar[Mapping[str, str]] = {}
    settings: ClassVar[Mapping[str, Any]] = {}
    why_not_exported: ClassVar[str | None] = None
    exports_text_encoders: ClassVar[bool] = False
    numbers: ClassVar[Mapping[str, float]] = {"timestep": 501.0}
    multiple: ClassVar[int] = 16
    fp32_latents: ClassVar[bool] = False
    guided_above: ClassVar[float] = 1.0
    lengths: ClassVar[Mapping[str, int]] = {}
    told_length_of: ClassVar[str | None] = None
    seen: ClassVar[Sequence[str]] = ("text_encoder",)

    @property
    def networks(self) -> tuple[str, ...]:
        """The folders of the networks, text encoders first, the autoencoder last."""
        return (*self.text_encoders, self.denoiser, "vae")

    @property
    def text_encoders(self) -> tuple[str, ...]:
        """The folders of the text encoders."""
        return tuple(name for name in self.components if name.startswith("text_encoder"))

    @property
    def tokenizers(self) -> tuple[str, ...]:
        """The folders of the tokenizers, in the order of the text encoders that read them."""
        return tuple(name for name in self.components if name.startswith("tokenizer"))

    def stem(self, network: str) -> str:
        """Return the stem of the files of a network's weights, relative to the model's folder."""
        return f"{network}/{STEMS[self.components[network][0]]}"

    def latent_shape(self, configs: Configs, height: int, width: int) -> tuple[int, int, int]:
        """Return channels, height and width of the latents of an image, in latent pixels."""
        shrinks = 2 ** (len(configs["vae"]["block_out_channels"]) - 1)
        return configs["vae"]["latent_channels"], height // shrinks, width // shrinks

    def pack(self, latents: Any) -> Any:
        """Turn latents (batch, channels, height, width) into what the pipeline denoises."""
        return latents

    def upcasts(self, vae: Any) -> bool:
        """Say whether the pipeline brings this VAE to fp32 for every image, and back."""
        return False

    def decode(self, pipeline: Any, latents: Any, generation: Generation) -> Any:
        """Turn what the pipeline denoised into pixels (batch, 3, height, width) from -1 to 1."""
        config = pipeline.vae.config
        scaled = latents.to(pipeline.vae.dtype) / config.scaling_factor
        # The pipelines of other models do without, whatever their autoencoder says.
        if self.schedulers == FLOW and config.get("shift_factor") is not None:
            scaled = scaled + config.shift_factor
        return pipeline.vae.decode(scaled, return_dict=False)[0]

    def passes(self, configs: Configs, guidance: float) -> int:
        """Return for how many prompts each step evaluates the denoiser."""
        return 2 if guidance > self.guided_above else 1

    def encoded(self, configs: Configs, guidance: float) -> int:
        """Return how many prompts the text encoders read for an image."""
        return self.passes(configs, guidance)

    def text_length(self, encoder: str, configs: Configs) -> int:
        """Return the number of tokens, padding included, that a text encoder reads."""
        return self.lengths.get(encoder) or int(configs[encoder]["max_position_embeddings"])

    def prompt_length(self, tokenizer: Callable[[], Any], prompt: str, configs: Configs) -> int:
        """Return the number of tokens, padding included, that the denoiser sees of a prompt.

        `tokenizer` returns that of the first text encoder.
        """
        return sum(self.text_length(encoder, configs) for encoder in self.seen)

    def told(self, tokenizer: Any, prompt: str) -> str:
        """Return what the tokenizer is given of a prompt."""
        return prompt

    def tokens_cut(
        self, tokenizers: Mapping[str, Any], configs: Configs, prompt: str
    ) -> dict[str, int]:
        """Return by tokenizer how many tokens of a prompt its text encoder does not read, since
        they are too many; nothing where it reads all."""
        cut = {}
        for name, encoder in zip(self.tokenizers, self.text_encoders, strict=True):
            tokenizer = tokenizers[name]
            most = min(self.text_length(encoder, configs), tokenizer.model_max_length)
            found = len(tokenizer(self.told(tokenizer, prompt)).input_ids)
            if found > most:
                cut[name] = found - most
        return cut

    def denoiser_inputs(self, configs: Configs, size: Size, prompts: int, tokens: int) -> Shapes:
        """Return the shapes of what the pipeline evaluates the denoiser with, by name.

        `prompts` includes those of guidance; each has as many `tokens` as `prompt_length` says.
        """
        raise NotImplementedError

    def attributes(self, configs: Configs) -> dict[str, Any]:
        """Return what the pipeline asks of its denoiser besides its configuration, for a graph that
        stands in its place."""
        return {}

    def arguments(self, configs: Configs, generation: Generation) -> dict[str, Any]:
        """Return what the pipeline is called with, besides prompts, latents and callback."""
        encoder = self.told_length_of
        return {
            "height": generation["height"],
            "width": generation["width"],
            "guidance_scale": generation["guidance"],
            "output_type": "np",
            **({"max_sequence_length": self.text_length(encoder, configs)} if encoder else {}),
        }

    def watch(self, on_step_end: Callable[[Any], None]) -> dict[str, Any]:
        """Return what the pipeline is called with to be told the latents after each step."""

        def callback(_pipe: Any, _step: int, _time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            on_step_end(tensors["latents"])
            return tensors

        return {"callback_on_step_end": callback}


def by_name(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs of a denoiser by their own names: those in a mapping stand next to the
    others, and what is None is left out."""
    found: dict[str, Any] = {}
    for name, value in inputs.items():
        if isinstance(value, Mapping):
            found |= by_name(value)
        elif value is not None:
            found[name] = value
    return found


@functools.cache
def families() -> dict[str, Family]:
    """Return every family by diffusers' class of its pipeline: each module here has a `FAMILY`."""
    names = [f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)]
    found = [importlib.import_module(name).FAMILY for name in names]
    return {family.pipeline: family for family in found}


def family_of(model: Path) -> Family:
    """Return the family of the model in a folder.

    Raises:
        UserError: if its index is missing, or is that of no family there is.
    """
    index = model / INDEX
    try:
        name = json.loads(index.read_text(encoding="utf-8")).get("_class_name")
    except FileNotFoundError:
        raise UserError(
            f"{model}: no {INDEX}, which the diffusers layout requires: use a folder that "
            "`save_pretrained` wrote"
        ) from None
    except (ValueError, AttributeError, RecursionError):
        raise UserError(f"{index}: not a JSON object: download the model again") from None
    if str(name) not in families():
        known = ", ".join(f"`{known}`" for known in families())
        raise UserError(
            f"{index}: _class_name: found `{plain_text(name)}`; allowed are {known}: use another "
            "model"
        )
    return families()[name]
