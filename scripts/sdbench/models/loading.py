"""Load what a model's folder was found to hold: each network from the files that were chosen."""

from collections.abc import Mapping
from typing import Any

from sdbench.models.hugging_face import diffusers, transformers
from sdbench.models.reading import Contents
from sdbench.runtime.errors import UserError

import torch

LIBRARIES = {"diffusers": diffusers, "transformers": transformers}


def load_network(contents: Contents, name: str, dtype: torch.dtype, **settings: Any) -> Any:
    """Load the network in the folder of that name, whatever its weights are stored in.

    `settings` are of diffusers' loader.

    Raises:
        UserError: if the files lack weights, which the library would fill with random numbers.
    """
    library, kind = contents.family.components[name]
    network, found = getattr(LIBRARIES[library], kind).from_pretrained(
        contents.folder / name,
        variant=contents.variants.get(name),
        dtype=dtype,
        local_files_only=True,
        use_safetensors=True,  # a pickle may run any code
        output_loading_info=True,
        **(settings if library == "diffusers" else {}),
    )
    missing = sorted(found["missing_keys"])
    if missing:
        raise UserError(
            f"{contents.folder / name}: the weights lack {len(missing)} tensors that the "
            f"configuration asks for, such as {missing[0]}: use the folder of one model"
        )
    return network


def load_tokenizer(contents: Contents, name: str) -> Any:
    """Load the tokenizer in the folder of that name, of the class that the index says."""
    _library, kind = contents.index.get(name) or contents.family.components[name]
    return getattr(transformers, kind).from_pretrained(contents.folder / name)


def make_pipeline(contents: Contents, networks: Mapping[str, Any], scheduler: Any) -> Any:
    """Put networks, by the names of their folders, into diffusers' pipeline of the model."""
    family = contents.family
    indexed = {key: contents.index[key] for key in family.indexed if key in contents.index}
    return getattr(diffusers, family.pipeline)(
        **networks,
        **{name: load_tokenizer(contents, name) for name in family.tokenizers},
        scheduler=scheduler,
        **{**family.settings, **indexed},
    )
