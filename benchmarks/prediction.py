"""How far are predicted seconds off, for a card or a model that was left out?

    PYTHONPATH=scripts python benchmarks/prediction.py [FILE]

Counts what the networks of all described models take, fits the model of time to resources/*.csv,
and again without each card and each model in turn. Prints the fit and the tables of errors that
docs/method.md has; ends with status 1 if the typical factor of either is more than 1.2. With FILE,
a table of schema PUBLISHED such as the results/exported.csv that `snakemake export_results` makes,
it prints what is predicted of each of its rows too; nothing is fitted to them.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sdbench.analysis.predicted_seconds import Question, published_questions, work_of
from sdbench.analysis.predictor import Miss, Predictor, quantile
from sdbench.devices.datasheets import read_datasheets
from sdbench.models.architectures import load_architecture
from sdbench.tables.files import rows_of
from sdbench.tables.published import read_published

ROOT = Path(__file__).parents[1]
MOST = 1.2


def show(misses: Sequence[Miss], what: str) -> None:
    """Print the errors of what was left out, each and all."""
    print(f"\n| {what} left out | rows | typical factor | worst | predicted / published |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, count in sorted(Counter(miss.left_out for miss in misses).items()):
        errors = np.array([miss.error for miss in misses if miss.left_out == name])
        sizes = np.exp(np.abs(errors))
        print(
            f"| {name} | {count} | {np.median(sizes):.2f} | {sizes.max():.2f} "
            f"| {np.exp(np.median(errors)):.2f} |"
        )
    sizes = np.exp(np.abs([miss.error for miss in misses]))
    shares = (0.5, 0.9, 0.95)
    by_row = " ".join(f"{np.quantile(sizes, share):.3f}" for share in shares)
    alike = " ".join(f"{quantile(misses, share):.3f}" for share in shares)
    print(f"\n{len(sizes)} rows: half, 90 % and 95 % within {by_row}; each {what} alike: {alike}")


def main() -> int:
    """Print the tables; return the exit status."""
    from sdbench.models.operations import count_described
    from sdbench.models.tokenizer import clip_vocabulary

    folder = ROOT / "resources/architectures"
    architectures = {path.stem: load_architecture(path) for path in folder.glob("*.yaml")}
    tables = [read_published(path, "restore it") for path in (ROOT / "resources").glob("*.csv")]
    sheets = read_datasheets(ROOT / "resources/datasheets/gpus.csv")
    rows = [row for table in tables for row in rows_of(table)]
    samples = published_questions(rows, architectures, sheets)
    vocabulary = clip_vocabulary(ROOT / "resources/tokenizers/bpe_simple_vocab_16e6.txt.gz")
    held: list[tuple[Question, float]] = []
    for file in map(Path, sys.argv[1:]):
        own = rows_of(read_published(file, "export it again"))
        held += published_questions(own, architectures, sheets, fewest=1)
    if len(sys.argv) > 1 and not held:
        print("no row of FILE is of a described model on a card with a datasheet")
    asked = sorted({question.work for question, _ in [*samples, *held]})
    work = work_of(count_described(architectures, asked, vocabulary))
    predictor = Predictor.of(samples, work)
    for question, seconds in held:
        if reason := predictor.why_not(question):
            told = f"not predicted: {reason}"
        else:
            (expected,) = predictor.estimates([question], work)
            told = f"predicted {expected.value:.3g} ({expected.low:.3g} to {expected.high:.3g})"
        print(
            f"{question.model}, {question.card.name}, {question.engine}, {question.precision}, "
            f"{question.attention}, batch {question.batch_size}: {seconds:.3g} s, {told}"
        )
    for kind in ("terms", "engines", "campaigns"):
        values = getattr(predictor.whole, kind).items()
        print(
            f"{kind}:",
            ", ".join(
                f"{' '.join([*name]) if kind == 'campaigns' else name} {value:.3g}"
                for name, value in values
            ),
        )
    show(predictor.cards_left_out, "card")
    show(predictor.models_left_out, "model")
    found = [quantile(m, 0.5) for m in (predictor.cards_left_out, predictor.models_left_out)]
    return int(max(found) > MOST)


if __name__ == "__main__":
    sys.exit(main())
