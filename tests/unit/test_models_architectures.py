"""The descriptions of networks, those that ship and wrong ones."""

import re
from pathlib import Path

import pytest
import yaml

from sdbench.models.architectures import Network, load_architecture, parts_of
from sdbench.runtime.errors import UserError

ARCHITECTURES = Path(__file__).parents[2] / "resources" / "architectures"


@pytest.mark.parametrize("path", sorted(ARCHITECTURES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_description_is_right(path: Path) -> None:
    assert load_architecture(path).path == path


TINY = yaml.safe_load((ARCHITECTURES / "tiny.yaml").read_text(encoding="utf-8"))
NETWORKS = TINY["networks"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"networks": None}, "networks: the key is missing: add it"),
        ({"unets": {}}, "unets: unknown key; allowed are `pipeline`, "),
        ({"scheduler": 3}, "scheduler: found 3; allowed is dict: change it"),
        ({"tokenizer": "t5"}, "tokenizer: found `t5`; allowed are `clip`, `bytes`"),
        ({"stored": "t5"}, "stored: found `t5`; allowed are `fp32`, `fp16`, `bf16`"),
        ({"pipeline": "t5"}, "pipeline: found `t5`; allowed are "),
        ({"networks": {"text_encoder": {}, "vae": {}}}, "networks.unet: the key is missing: add"),
        (
            {"networks": NETWORKS | {"prior": {}}},
            "networks.prior: unknown key; allowed are `text_encoder`, `unet`",
        ),
        (
            {"networks": NETWORKS | {"vae": {"parameters": "many", "config": {}}}},
            "networks.vae.parameters: found 'many'; allowed is int: change it",
        ),
        (
            {"networks": NETWORKS | {"vae": {"like": "clip-z"}}},
            "parts/clip-z.yaml: no such architecture",
        ),
    ],
)
def test_a_wrong_one_is_refused(changes: dict[str, object], said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    data = {key: value for key, value in (TINY | changes).items() if value is not None}
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(UserError, match=re.escape(said)) as error:
        load_architecture(path)
    message = str(error.value)
    assert message.startswith(str(tmp_path)) and "\n" not in message
    assert "`StableDiffusionPipeline`" in message or "pipeline" not in changes


def test_a_network_may_be_like_one_that_others_have(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    part = {"source": "sdbench", "parameters": 7, "config": {"width": 1, "depth": 2}}
    (tmp_path / "parts" / "common.yaml").write_text(yaml.safe_dump(part))
    networks = NETWORKS | {"vae": {"like": "common", "config": {"depth": 3}}}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(TINY | {"networks": networks}))
    assert load_architecture(path).networks["vae"] == Network(7, {"width": 1, "depth": 3})
    assert parts_of(path) == [tmp_path / "parts" / "common.yaml"]


def test_unknown_architecture_names_those_that_there_are() -> None:
    said = r"no such architecture; allowed are .*`sd-v1`, .*: use one"
    with pytest.raises(UserError, match=said):
        load_architecture(ARCHITECTURES / "sd-v9.yaml")


@pytest.mark.parametrize("text", ["a: [", "- a\n- b\n", ""])
def test_not_a_mapping(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"mine\.yaml: "):
        load_architecture(path)
