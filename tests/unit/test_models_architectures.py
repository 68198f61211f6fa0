"""The descriptions of networks, those that ship and wrong ones."""

from pathlib import Path

import pytest
import yaml

from sdbench.errors import UserError
from sdbench.models.architectures import load_architecture

ARCHITECTURES = Path(__file__).parents[2] / "resources" / "architectures"


@pytest.mark.parametrize("path", sorted(ARCHITECTURES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_description_is_right(path: Path) -> None:
    assert load_architecture(path).path == path


def test_stable_diffusion_has_its_published_size() -> None:
    sizes = load_architecture(ARCHITECTURES / "sd-v1.yaml").parameters
    assert sizes == {"text_encoder": 123_060_480, "unet": 859_520_964, "vae": 83_653_863}


def refusal(tmp_path: Path, **changes: object) -> str:
    """Return why a shipped description with these changes is refused; None removes a key."""
    data = yaml.safe_load((ARCHITECTURES / "tiny.yaml").read_text(encoding="utf-8")) | changes
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in data.items() if v is not None}))
    with pytest.raises(UserError) as error:
        load_architecture(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_missing_key(tmp_path: Path) -> None:
    assert "unet: the key is missing: add it" in refusal(tmp_path, unet=None)


def test_unknown_key(tmp_path: Path) -> None:
    assert "unets: unknown key; allowed are `source`, " in refusal(tmp_path, unets={})


def test_wrong_type(tmp_path: Path) -> None:
    assert "vae: found 3; allowed is dict: change it" in refusal(tmp_path, vae=3)


def test_wrong_tokenizer(tmp_path: Path) -> None:
    message = refusal(tmp_path, tokenizer="t5")
    assert "tokenizer: found `t5`; allowed are `clip`, `bytes`" in message


def test_wrong_count(tmp_path: Path) -> None:
    counts = {"text_encoder": 1, "unet": 2, "vae": "many"}
    assert "parameters.vae: found 'many'; allowed is int: change it" in refusal(
        tmp_path, parameters=counts
    )


def test_unknown_architecture_names_those_that_there_are() -> None:
    with pytest.raises(UserError, match="no such architecture; there are `sd-v1`, `tiny`: name"):
        load_architecture(ARCHITECTURES / "sd-v9.yaml")


@pytest.mark.parametrize("text", ["a: [", "- a\n- b\n", ""])
def test_not_a_mapping(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"mine\.yaml: "):
        load_architecture(path)
