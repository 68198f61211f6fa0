"""Compute what ships of described models (resources/computed): `make computed`.

Counted is what resources/published.csv has, and each model as it is meant to be used; the memory is
computed of all.
"""

from pathlib import Path

from count_work import count_work
from predict_memory import predict_memory
from sdbench.models.architectures import load_architecture
from sdbench.models.described import find_asked, work_key

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Write both files."""
    resources = ROOT / "resources"
    folder = resources / "architectures"
    vocabulary = resources / "tokenizers/bpe_simple_vocab_16e6.txt.gz"
    described = [p for p in sorted(folder.glob("*.yaml")) if not p.stem.startswith("tiny")]
    asked = [
        work_key(load_architecture(folder / f"{name}.yaml"), generation)
        for name, generation in find_asked({}, folder).items()
    ]
    computed = resources / "computed"
    computed.mkdir(exist_ok=True)
    published = [resources / "published.csv"]
    count_work(published, described, vocabulary, asked, computed / "work.json")
    predict_memory(described, vocabulary, 2, computed / "memory.json")


if __name__ == "__main__":
    main()
