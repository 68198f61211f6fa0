"""Write what a model is: where it comes from, its parameters and the hashes of its files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdbench.models.manifest import describe
from sdbench.runtime.files import write_json
from sdbench.runtime.job import logged


def describe_model(folder: Path, source: Mapping[str, Any], name: str, manifest: Path) -> None:
    """Write what `sdbench.models.manifest.describe` says of a model to the JSON file `manifest`."""
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
