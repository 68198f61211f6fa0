"""diffusers and transformers as every part of this project wants them: offline, quiet, and with no
device touched while they are imported."""

import logging
import os

from sdbench.devices.fork_safety import hide_devices

# Only `fetch_model` may use the network; both libraries read this when they are imported.
os.environ["HF_HUB_OFFLINE"] = "1"

# diffusers imports torchao where that is installed: it tells of extensions for CUDA, which nothing
# here uses, of checkpoints in its formats, of which there are none, and of what torch deprecates.
# Pipelines tell of a prompt that is too long, in every call (`Family.tokens_cut`).
for chatty in (
    *("torchao", "torch.utils._pytree", "diffusers.quantizers.torchao"),
    "diffusers.pipelines",
):
    logging.getLogger(chatty).setLevel(logging.ERROR)

hide_devices()

import transformers

# It advises to install torchvision, which would change nothing here.
transformers.utils.logging.set_verbosity_error()
# Loading bars of a second's life only hide what a log is read for.
transformers.utils.logging.disable_progress_bar()

import diffusers

diffusers.utils.logging.disable_progress_bar()

__all__ = ["diffusers", "transformers"]
