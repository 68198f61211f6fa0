"""Memory that is computed: as torch's allocator holds it, and as it ships."""

import pytest

from sdbench.cases.case import Variant
from sdbench.measure.allocator import LARGE_SEGMENT, SMALL_SEGMENT, Allocator
from sdbench.measure.predicted_memory import Outline, predict_peaks, trace_call
from sdbench.models.architectures import load_architecture
from sdbench.models.computed import read_computed
from sdbench.models.described import WORK_KEY
from sdbench.models.operations import count_described
from sdbench.models.tokenizer import clip_vocabulary
from tests.conftest import ROOT
from tests.e2e.conftest import ARCHITECTURES

MIB = 2**20


def test_allocations_share_segments_by_their_size() -> None:
    memory = Allocator()
    memory.take("a", 1)
    assert (memory.allocated, memory.reserved) == (512, SMALL_SEGMENT)
    memory.take("b", 5 * MIB)
    memory.take("c", 5 * MIB)
    assert memory.reserved == SMALL_SEGMENT + LARGE_SEGMENT
    memory.take("d", 33 * MIB + 1)
    assert memory.reserved == SMALL_SEGMENT + LARGE_SEGMENT + 34 * MIB
    assert memory.peak_allocated == memory.allocated


def test_what_is_freed_is_taken_again_and_grows_together() -> None:
    memory = Allocator()
    for key in "abcd":
        memory.take(key, 5 * MIB)
    for key in "acb":  # b joins both of its neighbours
        memory.give(key)
    memory.take("e", 15 * MIB)
    assert memory.reserved == LARGE_SEGMENT
    memory.take("f", 6 * MIB)  # nothing is left of that size
    assert memory.reserved == 2 * LARGE_SEGMENT
    memory.give("no such key")
    assert memory.allocated == 26 * MIB == memory.peak_allocated


def test_what_ships_is_what_is_computed() -> None:
    """If it is not, what counts or follows allocations has changed: `make computed`."""
    path = ARCHITECTURES / "sd-v1.yaml"
    architecture = load_architecture(path)
    vocabulary = clip_vocabulary(ROOT / "resources/tokenizers/bpe_simple_vocab_16e6.txt.gz")
    asked = ("sd-v1", 512, 512, 2)
    counted = count_described({"sd-v1": architecture}, {asked}, vocabulary)
    shipped = read_computed(ROOT / "resources/computed/work.json", [path])
    assert [row for row in shipped if tuple(row[key] for key in WORK_KEY) == asked] == counted
    for row in read_computed(ROOT / "resources/computed/memory.json", [path]):
        if (row["precision"], row["batch"], row["options"]) == ("fp16", 1, "model-offload"):
            way = Variant("sd-v1", "gpu", "pytorch", "fp16", "none")
            generation = {"height": row["height"], "width": row["width"], "guidance": 7.5}
            trace = trace_call(Outline.of(architecture, vocabulary), way, generation, 1)
            found = predict_peaks(trace, "fp16", {"model-offload"})
            shipped_peaks = row["predicted_allocated_bytes"], row["predicted_reserved_bytes"]
            assert shipped_peaks == found
            break
    else:
        pytest.fail("no such row ships")
