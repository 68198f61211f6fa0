"""Findings as Markdown."""

import itertools
import math
from collections.abc import Iterable

from sdbench.analysis.estimates import Estimate
from sdbench.analysis.findings.claims import Claim, Finding
from sdbench.tables.labels import number

SOURCE = "https://lambda.ai/blog/inference-benchmark-stable-diffusion"

_HEAD = f"""\
# Claims of the 2022 post

Each claim of [the post]({SOURCE}) compared with the results of this run, and with those of other
machines that were measured with sdbench and added to `resources/`, which are named with their
campaign. Percentages are taken as about: 40 % as 35 to 45 %, and 40 to 50 % as 35 to 55 %. "33 %
faster" means 33 % of the time saved, as the post's own numbers have it (3.74 s instead of 5.59 s).
A claim **holds** if the whole 95 % interval of the number is in the claimed range. It **does not
hold** if the interval is outside of the range. Otherwise it **cannot be said** from these results.
A number that was read once, such as memory, has no interval and is judged as it is. Times that were
taken while other processes used the device decide nothing.
"""


def findings_text(
    findings: Iterable[tuple[Claim, Finding]], question: Iterable[tuple[str, str]] = ()
) -> str:
    """Return the page that says of each claim what was found, with links to figures and tables.

    Args:
        findings: in the order in which they are written; those of a claim stand together.
        question: what the post asked, answered for several models: the model, and the answer.
    """
    parts = [_HEAD]
    for claim, group in itertools.groupby(findings, key=lambda pair: pair[0]):
        lines = "\n".join(_line(finding) for _, finding in group)
        parts.append(f"## {claim.statement}\n\n{lines}\n")
    answers = [f"* **{_escape(model)}.** {_escape(answer)}" for model, answer in question]
    if answers:
        parts.append("## The post's own question, for cards that are not at hand\n")
        parts.append("\n".join(answers) + "\n")
    return "\n".join(parts)


def _line(finding: Finding) -> str:
    words = [f"* **{finding.verdict}**"]
    if finding.subject:
        words.append(f": {_escape(finding.subject)}")
    if finding.estimate is not None:
        words.append(f": {estimate_text(finding.estimate)} {finding.unit}")
    if finding.reason:
        words.append(f" ({_escape(finding.reason)})")
    links = [f"[figure](figures/{finding.figure})"] if finding.figure else []
    for part in filter(None, finding.rows.split("; ")):
        name, _, rows = part.partition(": ")
        links.append(f"[{name}](tables/{name}), lines {rows}")
    return f"{''.join(words)}.{' ' + ', '.join(links) + '.' if links else ''}"


def estimate_text(estimate: Estimate) -> str:
    """Return a number with three significant digits, and its interval where it has one."""
    text = _told(estimate.value)
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} ({_told(estimate.low)} to {_told(estimate.high)})"


def _told(value: float) -> str:
    return number(value) if math.isfinite(value) else "unlimited"


def _escape(text: str) -> str:
    """Return text that Markdown shows as it is: names of devices and models are anybody's."""
    for sign in "\\`*_[]<>&#|":
        text = text.replace(sign, f"\\{sign}" if sign not in "<>&" else f"&#{ord(sign)};")
    return text
