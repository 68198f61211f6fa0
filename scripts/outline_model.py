"""Write what a model is that is neither built nor downloaded, since no device has room for it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdbench.models.architectures import load_architecture
from sdbench.models.manifest import describe_unmade
from sdbench.runtime.files import write_json
from sdbench.runtime.job import run_script


def outline_model(architecture: Path, source: Mapping[str, Any], name: str, manifest: Path) -> None:
    """Write what `sdbench.models.manifest.describe_unmade` says of a model to the JSON file
    `manifest`, by its file of resources/architectures alone: no weight gets memory, or is stored.

    Raises:
        UserError: if the architecture's file is wrong.
    """
    # Imported here so that no log of these libraries comes before the job's own log is open.
    from sdbench.models.seeded import outline_components

    components = outline_components(load_architecture(architecture))
    write_json(manifest, describe_unmade(components, source, name))
    parameters = sum(component["parameters"] for component in components.values())
    print(f"{name}: {parameters:,} parameters, not built: it fits on none of its devices")


if __name__ == "__main__":
    os.environ.update(TRANSFORMERS_VERBOSITY="error", DIFFUSERS_VERBOSITY="error")
    run_script(snakemake, outline_model, name=snakemake.wildcards.model)
