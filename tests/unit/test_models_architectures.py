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


def test_stable_diffusion_has_its_published_size() -> None:
    networks = load_architecture(ARCHITECTURES / "sd-v1.yaml").networks
    sizes = {name: network.parameters for name, network in networks.items()}
    assert sizes == {"text_encoder": 123_060_480, "unet": 859_520_964, "vae": 83_653_863}


def refusal(tmp_path: Path, **changes: object) -> str:
    """Return why a shipped description with these changes is refused; None removes a key."""
    data = yaml.safe_load((ARCHITECTURES / "tiny.yaml").read_text(encoding="utf-8")) | changes
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in data.items() if v is not None}))
    with pytest.raises(UserError) as error:
        load_architecture(path)
    message = str(error.value)
    assert message.startswith(str(tmp_path))
    assert "\n" not in message
    return message


def test_missing_key(tmp_path: Path) -> None:
    assert "networks: the key is missing: add it" in refusal(tmp_path, networks=None)


def test_unknown_key(tmp_path: Path) -> None:
    assert "unets: unknown key; allowed are `pipeline`, " in refusal(tmp_path, unets={})


def test_wrong_type(tmp_path: Path) -> None:
    assert "scheduler: found 3; allowed is dict: change it" in refusal(tmp_path, scheduler=3)


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ("tokenizer", "`clip`, `bytes`"),
        ("stored", "`fp32`, `fp16`, `bf16`"),
        ("pipeline", ".*`StableDiffusionPipeline`"),
    ],
)
def test_wrong_name(key: str, allowed: str, tmp_path: Path) -> None:
    message = refusal(tmp_path, **{key: "t5"})
    assert re.search(f"{key}: found `t5`; allowed are {allowed}", message)


NETWORKS = yaml.safe_load((ARCHITECTURES / "tiny.yaml").read_text(encoding="utf-8"))["networks"]


@pytest.mark.parametrize(
    ("networks", "fault"),
    [
        ({"text_encoder": {}, "vae": {}}, "networks.unet: the key is missing: add it"),
        (
            NETWORKS | {"prior": {}},
            "networks.prior: unknown key; allowed are `text_encoder`, `unet`",
        ),
        (
            NETWORKS | {"vae": {"parameters": "many", "config": {}}},
            "networks.vae.parameters: found 'many'; allowed is int: change it",
        ),
        (
            NETWORKS | {"vae": {"like": "clip-z"}},
            "parts/clip-z.yaml: no such architecture",
        ),
    ],
)
def test_wrong_networks(networks: dict[str, object], fault: str, tmp_path: Path) -> None:
    assert fault in refusal(tmp_path, networks=networks)


def test_a_network_may_be_like_one_that_others_have(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    part = {"source": "sdbench", "parameters": 7, "config": {"width": 1, "depth": 2}}
    (tmp_path / "parts" / "common.yaml").write_text(yaml.safe_dump(part))
    data = yaml.safe_load((ARCHITECTURES / "tiny.yaml").read_text(encoding="utf-8"))
    data["networks"]["vae"] = {"like": "common", "config": {"depth": 3}}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(data))
    assert load_architecture(path).networks["vae"] == Network(7, {"width": 1, "depth": 3})
    assert parts_of(path) == [tmp_path / "parts" / "common.yaml"]


def test_unknown_architecture_names_those_that_there_are() -> None:
    with pytest.raises(
        UserError, match=r"no such architecture; allowed are .*`sd-v1`, .*: use one"
    ):
        load_architecture(ARCHITECTURES / "sd-v9.yaml")


@pytest.mark.parametrize("text", ["a: [", "- a\n- b\n", ""])
def test_not_a_mapping(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"mine\.yaml: "):
        load_architecture(path)
