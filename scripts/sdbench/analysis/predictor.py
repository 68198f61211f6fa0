"""Predicted seconds with their intervals: how far the fit is off where it was tried.

Each card and each model is left out in turn, and its rows are predicted. docs/method.md has the
errors.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from sdbench.analysis.estimates import Estimate
from sdbench.analysis.predicted_seconds import (
    FEWEST_CARDS,
    Arrays,
    Fit,
    Question,
    Sample,
    Work,
    capability,
    fit,
)

import numpy as np


@dataclass(frozen=True)
class Miss:
    """By how much the logarithm of predicted seconds is off, in a fit without `left_out`."""

    question: Question
    left_out: str
    error: float


def leave_out(
    samples: Sequence[Sample], work: Work, name: Callable[[Question], str], whole: Fit
) -> list[Miss]:
    """Predict each sample by a fit without those that have the same name, such as that of its card.

    As for a card at home, the factor of no campaign is used.
    """
    misses = []
    for left_out in sorted({name(question) for question, _ in samples}):
        others = [sample for sample in samples if name(sample[0]) != left_out]
        tried = [sample for sample in samples if name(sample[0]) == left_out]
        fitted = fit(others, work, whole).elsewhere()
        questions = [question for question, _ in tried]
        predicted = fitted.seconds(questions, Arrays(questions, work))
        for (question, latency), value in zip(tried, predicted, strict=True):
            misses.append(Miss(question, left_out, float(np.log(value / latency))))
    return misses


def quantile(misses: Sequence[Miss], share: float) -> float:
    """Return the factor within which a share of predictions is, where each card or model that was
    left out counts as much as any other."""
    names = [miss.left_out for miss in misses]
    weights = np.array([1 / names.count(name) for name in names])
    sizes = np.abs([miss.error for miss in misses])
    order = np.argsort(sizes)
    reached = np.cumsum(weights[order]) / weights.sum()
    return float(np.exp(sizes[order][np.searchsorted(reached, share)]))


@dataclass(frozen=True)
class Predictor:
    """A fit, with what it was fitted to, and how far it was off for what it was not fitted to."""

    samples: Sequence[Sample]
    whole: Fit
    cards_left_out: Sequence[Miss]
    models_left_out: Sequence[Miss]

    @classmethod
    def of(cls, samples: Sequence[Sample], work: Work) -> "Predictor":
        """Fit to samples, and again without each card and each model."""
        whole = fit(samples, work)
        by_card = leave_out(samples, work, lambda question: question.card.name, whole)
        by_model = leave_out(samples, work, lambda question: question.model, whole)
        return cls(samples, whole, by_card, by_model)

    @cached_property
    def card_factor(self) -> float:
        """The factor within which 95 % of predictions for a card without rows are."""
        return quantile(self.cards_left_out, 0.95)

    @cached_property
    def model_factor(self) -> float:
        """The same for a model without rows."""
        return quantile(self.models_left_out, 0.95)

    @cached_property
    def _seen(self) -> dict[tuple[str, str], tuple[set[str], set[str]]]:
        """By engine and vendor, the cards and precisions that rows are of."""
        seen: dict[tuple[str, str], tuple[set[str], set[str]]] = {}
        for other, _ in self.samples:
            cards, precisions = seen.setdefault((other.engine, other.vendor), (set(), set()))
            cards.add(other.card.name)
            precisions.add(other.precision)
        return seen

    @cached_property
    def _known(self) -> set[str]:
        """The families and the models that rows are of."""
        return {name for other, _ in self.samples for name in (other.family, other.model)}

    def why_not(self, question: Question) -> str | None:
        """Say why rows do not tell enough of a question; None where they do."""
        if question.family not in self._known:
            return f"no published row is of models of {question.family}"
        vendor = question.vendor
        cards, precisions = self._seen.get((question.engine, vendor), (set(), set()))
        if len(cards) < FEWEST_CARDS:
            return (
                f"published rows of {question.engine} are of {len(cards)} cards like "
                f"{question.card.name}, and {FEWEST_CARDS} are needed"
            )
        if question.precision == "fp32":
            strict = not question.convolutions_tf32
            if strict and vendor == "nvidia" and capability(question.card) >= 8:
                return (
                    f"no published row is of fp32 without TF32 on cards like {question.card.name}"
                )
            if "fp32" not in precisions:
                return f"no published row of {question.engine} is of fp32"
        return None

    def estimates(self, questions: Sequence[Question], work: Work) -> list[Estimate]:
        """Return the seconds of calls with their 95 % intervals, for questions that `why_not` has
        nothing against."""
        if not questions:
            return []
        fitted = self.whole.elsewhere()
        new_factor = max(self.card_factor, self.model_factor)
        estimates = []
        values = fitted.seconds(questions, Arrays(questions, work)).tolist()
        for question, value in zip(questions, values, strict=True):
            factor = self.card_factor if question.model in self._known else new_factor
            estimates.append(Estimate(value, value / factor, value * factor))
        return estimates
