"""Write what a model is: where it comes from, its parameters and the hashes of its files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdbench.models.manifest import describe
from sdbench.runtime.files import write_json
from sdbench.runtime.job import logged


def describe_model(folder: Path, source: Mapping[str, Any], name: str, manifest: Path) -> None:
    """Write the manifest of a model, for the records of whatever is measured with it.

    Args:
        folder: the model in the diffusers layout.
        source: the entry `source` of the model in the config.
        name: name of the model.
        manifest: the JSON file to write; `sdbench.models.manifest.describe` says what is in it.

    Raises:
        UserError: if the folder is not a model of a known family with its weights in safetensors.
    """
    described = describe(folder, source, name)
    write_json(manifest, described)
    print(f"{name}: {sum(described['parameters'].values()):,} parameters, {described['digest']}")


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        describe_model(
            Path(snakemake.input.model),
            snakemake.params.source,
            snakemake.wildcards.model,
            Path(snakemake.output[0]),
        )
