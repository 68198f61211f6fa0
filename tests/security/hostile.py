"""Models that would run code or read elsewhere if they were let."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import ROOT

SHAPES = ROOT / "resources" / "models" / "shapes"
UNET = "unet/diffusion_pytorch_model"


class Trap:
    """What creates the file `canary` when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = str(canary)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (self.canary, "w")


def pickled(canary: Path) -> bytes:
    """Return a pickle that creates `canary` when it is read."""
    return pickle.dumps(Trap(canary))


def module(canary: Path) -> str:
    """Return a Python module that creates `canary` when it is imported."""
    return f"open({str(canary)!r}, 'w').close()\nclass Evil:\n    pass\n"


def copy_shapes(folder: Path) -> Path:
    """Return a copy of the bundled model at `folder`."""
    return Path(shutil.copytree(SHAPES, folder))


def change(path: Path, **values: Any) -> None:
    """Give keys of a JSON file other values."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def _module_of_a_part(folder: Path, canary: Path) -> None:
    (folder / "unet" / "evil.py").write_text(module(canary))
    change(folder / "model_index.json", unet=["evil", "Evil"])


def _module_of_another_part(folder: Path, canary: Path) -> None:
    (folder / "extra").mkdir()
    (folder / "extra" / "evil.py").write_text(module(canary))
    change(folder / "model_index.json", extra=["evil", "Evil"])


def _pipeline(folder: Path, canary: Path) -> None:
    (folder / "evil.py").write_text(module(canary))
    change(folder / "model_index.json", _class_name=["evil", "Evil"])


def _pipeline_elsewhere(folder: Path, canary: Path) -> None:
    (folder.parent / "evil.py").write_text(module(canary))
    change(folder / "model_index.json", _class_name="../evil")


def _part_elsewhere(folder: Path, canary: Path) -> None:
    (folder.parent / "evil.py").write_text(module(canary))
    change(folder / "model_index.json", vae=["../../evil", "Evil"])


def _class_that_takes_any(folder: Path, canary: Path) -> None:
    (folder / "text_encoder" / "evil.py").write_text(module(canary))
    change(folder / "text_encoder" / "config.json", auto_map={"AutoModel": "evil.Evil"})
    change(folder / "model_index.json", text_encoder=["transformers", "AutoModel"])


def _tokenizer_that_takes_any(folder: Path, canary: Path) -> None:
    (folder / "tokenizer" / "evil.py").write_text(module(canary))
    change(folder / "tokenizer" / "tokenizer_config.json", auto_map={"AutoTokenizer": "evil.Evil"})
    change(folder / "model_index.json", tokenizer=["transformers", "AutoTokenizer"])


def _only_a_pickle(folder: Path, canary: Path) -> None:
    (folder / f"{UNET}.safetensors").unlink()
    (folder / f"{UNET}.bin").write_bytes(pickled(canary))


def _only_a_checkpoint(folder: Path, canary: Path) -> None:
    (folder / f"{UNET}.safetensors").unlink()
    (folder / f"{UNET}.ckpt").write_bytes(pickled(canary))


def _shards(folder: Path, name: str) -> None:
    shard = f"{UNET}-00001-of-00001.safetensors"
    (folder / f"{UNET}.safetensors").rename(folder / shard)
    index = {"metadata": {}, "weight_map": {"conv_in.weight": name}}
    (folder / f"{UNET}.safetensors.index.json").write_text(json.dumps(index))


def _shard_that_is_a_pickle(folder: Path, canary: Path) -> None:
    (folder / "unet" / "evil.bin").write_bytes(pickled(canary))
    _shards(folder, "evil.bin")


def _shard_elsewhere(folder: Path, canary: Path) -> None:
    (folder.parent / "evil.safetensors").write_bytes(pickled(canary))
    _shards(folder, "../../evil.safetensors")


ATTACKS: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "a module in the place of a part": (_module_of_a_part, "unet: found ['evil', 'Evil']"),
    "a module in a part of its own": (_module_of_another_part, "extra: found ['evil', 'Evil']"),
    "a pipeline of its own": (_pipeline, "_class_name: found"),
    "a pipeline elsewhere": (_pipeline_elsewhere, "_class_name: found `../evil`"),
    "a part elsewhere": (_part_elsewhere, "vae: found ['../../evil', 'Evil']"),
    "a class that takes any code": (_class_that_takes_any, "text_encoder: found"),
    "a tokenizer that takes any code": (_tokenizer_that_takes_any, "tokenizer: found"),
    "only a pickle": (_only_a_pickle, "a pickle, which may run any code when loaded"),
    "only a checkpoint": (_only_a_checkpoint, "a pickle, which may run any code when loaded"),
    "a shard that is a pickle": (_shard_that_is_a_pickle, "weight_map: found 'evil.bin'"),
    "a shard elsewhere": (_shard_elsewhere, "weight_map: found '../../evil.safetensors'"),
}
"""What is done to a model, and what the line says."""


def surround(folder: Path, canary: Path) -> None:
    """Put pickles and modules next to whatever of a model is read, and names of them into it."""
    for part in ("text_encoder", "unet", "vae", "tokenizer", "scheduler", ""):
        (folder / part / "evil.py").write_text(module(canary))
        for name in ("pytorch_model.bin", "diffusion_pytorch_model.bin", "evil.ckpt"):
            (folder / part / name).write_bytes(pickled(canary))
    for config in folder.rglob("*config.json"):
        classes = ("AutoModel", "AutoConfig", "AutoTokenizer", "AutoencoderKL")
        change(
            config,
            auto_map=dict.fromkeys(classes, "evil.Evil"),
            trust_remote_code=True,
            custom_pipeline="evil",
        )
    change(folder / "model_index.json", custom_pipeline="evil", trust_remote_code=True)
