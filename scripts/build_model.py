"""Build a model of a described architecture with seeded weights."""

import os
from pathlib import Path

from sdbench.runtime.failures import write_failure
from sdbench.runtime.job import run_script


def build_model(architecture: Path, vocabulary: Path, seed: int, folder: Path) -> None:
    """Write a model in the diffusers layout to `folder`, whole or not at all, over what is there.

    `architecture` is a file of resources/architectures, `vocabulary` CLIP's, which it may ask for.

    Raises:
        UserError: if the architecture's file is wrong.
    """
    # Imported here so that no log of these libraries comes before the job's own log is open.
    from sdbench.models.architectures import load_architecture
    from sdbench.models.folders import written_whole
    from sdbench.models.seeded import build_seeded
    from sdbench.models.tokenizer import byte_vocabulary, clip_vocabulary

    described = load_architecture(architecture)
    clip = described.tokenizer == "clip"
    tokens = clip_vocabulary(vocabulary) if clip else byte_vocabulary()
    with written_whole(folder) as part:
        build_seeded(described, tokens, seed, part)
    parameters = sum(network.parameters for network in described.networks.values())
    print(f"{folder}: {parameters:,} parameters, seed {seed}")


if __name__ == "__main__":
    # torchvision is left out on purpose; transformers and diffusers warn of that and go on.
    os.environ.update(
        TRANSFORMERS_VERBOSITY="error",
        DIFFUSERS_VERBOSITY="error",
        HF_HUB_DISABLE_PROGRESS_BARS="1",
    )
    run_script(snakemake, build_model, write_failure)
