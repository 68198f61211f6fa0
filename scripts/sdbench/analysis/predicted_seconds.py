"""Seconds of a call on a card that nobody measured, from its datasheet.

A model of a few physical terms, each with one number, is fitted to what others published and
contributed. docs/method.md says how, and how far it was off where it was tried.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sdbench.cases.options import ATTENTION, AUTOCAST, COMPILE, TENSORRT
from sdbench.devices.datasheets import Datasheet, find_datasheet
from sdbench.models.architectures import Architecture
from sdbench.models.described import COUNTED, NETWORKS, WorkKey, find_described, work_key
from sdbench.runtime.errors import UnsupportedError
from sdbench.tables.files import Row

import numpy as np
from scipy.optimize import least_squares

Numbers = np.ndarray[Any, np.dtype[Any]]
Work = Mapping[WorkKey, Mapping[str, Row]]
"""What the networks of models take, as `work_of` returns it."""

ENGINES = {"comfyui": "pytorch", "oneflow": "onediff", "stable-fast": "onediff"}
"""Backends that compute as another does: ComfyUI is PyTorch, and the others compile as OneDiff."""
HALF_SUMS = ("onediff", "tensorrt")
"""Engines that add products of fp16 in fp16 where that is faster."""
EAGER = ("pytorch", "coreml")
"""Engines in which the host launches one operator after the other."""
IGNORED = {"vae-slicing", "fused-qkv", "channels-last", "cuda-graph", COMPILE, TENSORRT, AUTOCAST}
"""Options of which a row counts, besides those that choose an attention."""
ALL_TF32 = (
    ("lambda-2023-01", ""),
    ("diffusion-fast-2023-12", ""),
    ("diffusers-2023-03", "sdpa"),
)
"""Campaigns, by how their name begins and the attention, that are faster in "fp32" on an A100 than
its fp32 units: there TF32 was on for matrix products too, and not for convolutions alone."""
LINES = ("geforce", "radeon", "instinct", "apple", "intel", "arc")
"""Words of a name that say of what line a card is; others are NVIDIA's for workstations and data
centres."""
NEWEST = 99.0
NODES = {7.9: "power_12nm", 8.0: "power_7nm", 8.8: "power_8nm", NEWEST: "power_5nm"}
"""By the highest compute capability: the term for the energy of an operation, by the process."""

TERMS = {
    # Times as long as the datasheet's peaks allow.
    "products": (1.2, 0.1),
    "convolutions": (1.35, 0.2),
    "attention": (1.8, 0.4),
    "xformers": (1.1, 0.2),
    "bandwidth": (1.35, 0.3),
    "tf32": (1.2, 0.3),
    "winograd": (0.75, 0.3),
    "geforce": (0.85, 0.1),
    "instinct": (1.35, 0.5),
    # Operations on the fp32 units for each number that is moved, and shares of the numbers.
    "vector": (10.0, 1.0),
    "scores": (0.75, 0.4),
    "fused": (0.5, 0.4),
    "autocast": (1.35, 0.3),
    # Seconds of the host: for an operator, where it launches each, how many times that with vanilla
    # attention or xFormers, and in a graph; and for an image.
    "launch": (3e-5, 0.7),
    "attention_launches": (1.2, 0.2),
    "launch_graph": (8e-6, 0.7),
    "image": (0.03, 0.7),
    # Joules for 10^12 operations in half precision, and how many times that in fp32.
    "power_12nm": (3.0, 0.5),
    "power_8nm": (2.2, 0.5),
    "power_7nm": (0.8, 0.5),
    "power_5nm": (0.5, 0.5),
    "power_fp32": (3.0, 0.7),
}
"""The terms: what is expected of each before any row, and the standard deviation of the logarithm
of that, which holds a term in place that hardly any row tells of."""
ENGINE_SPREAD, CAMPAIGN_SPREAD, HOST_SPREAD = 0.3, 0.15, 0.5
"""Standard deviations of the logarithms of factors: of an engine, of a campaign around it, and of
the time in which the machine of a card launches an operator."""
ANY = "", ""
"""The host of what nobody published."""
ROW_SPREAD = 0.1
"""How far a row may be off, in logarithms, before it pulls less than its square."""
SHARP = 4
"""The exponent of the soft maximum of two times that overlap; and of that of clock and power."""
SHARP_POWER = 3
FEWEST_CARDS = 3
"""So many cards tell of an engine that is predicted, so that leaving one out leaves two."""


@dataclass(frozen=True)
class Question:
    """A call whose seconds are asked for, or published.

    `work`: model, size and prompts of a step; `family`: the pipeline; `evaluations`: of the
    denoiser; `products_tf32`, `convolutions_tf32`: whether fp32 is rounded to TF32 there.
    `campaign` is empty for what nobody published.
    """

    work: WorkKey
    family: str
    evaluations: int
    batch_size: int
    card: Datasheet
    engine: str
    precision: str
    attention: str
    autocast: bool = False
    sliced: bool = False
    products_tf32: bool = False
    convolutions_tf32: bool = False
    campaign: str = ""

    @property
    def line(self) -> str:
        """Of what line of cards its card is."""
        words = re.findall(r"[a-z]+", self.card.name.lower())
        return next((line for line in LINES if line in words), "nvidia")

    @property
    def vendor(self) -> str:
        """GeForce and other cards of NVIDIA are one; other lines are apart."""
        return "nvidia" if self.line == "geforce" else self.line

    @property
    def host(self) -> tuple[str, str]:
        """The machine that the card was in: of a campaign, one for each card."""
        return self.campaign, self.card.name

    @property
    def model(self) -> str:
        """The description of its networks."""
        return self.work[0]


def ask(
    architecture: Architecture,
    generation: Mapping[str, Any],
    card: Datasheet,
    variant: Mapping[str, Any],
) -> Question:
    """Return what is asked of a card.

    Args:
        architecture: of the model.
        generation: steps, scheduler, guidance, width and height in pixels.
        card: its datasheet.
        variant: `backend`, `precision`, `options` and `batch_size` of the call; of one that was
            published also `campaign`, `attention` and `tf32_convolutions`.

    Raises:
        UnsupportedError: if the datasheet lacks a number, or there is no term for an option.
    """
    switches = variant["options"].split("+") if variant["options"] != "none" else []
    other = next((s for s in switches if s not in IGNORED and s not in ATTENTION), None)
    if other or "attention-sliced" in switches:
        raise UnsupportedError(f"no published row says what {other or 'attention-sliced'} costs")
    backend, precision = variant["backend"], variant["precision"]
    engine = ENGINES.get(backend, backend)
    if engine == "onnxruntime" and TENSORRT in switches:
        engine = TENSORRT
    if engine == "pytorch" and COMPILE in switches:
        engine = "pytorch compiled"
    attention = variant.get("attention") or "sdpa"
    if "attention-vanilla" in switches:
        attention = "vanilla"
    campaign = variant.get("campaign") or ""
    convolutions_tf32 = precision == "tf32" or bool(variant.get("tf32_convolutions"))
    all_tf32 = any(campaign.startswith(name) and of in attention for name, of in ALL_TF32)
    question = Question(
        work=work_key(architecture, generation),
        family=architecture.pipeline,
        evaluations=int(generation["steps"]) + (generation["scheduler"] == "pndm"),
        batch_size=int(variant["batch_size"]),
        card=card,
        engine=engine,
        precision="fp32" if precision == "tf32" else precision,
        attention=attention,
        autocast=AUTOCAST in switches,
        sliced="vae-slicing" in switches,
        products_tf32=precision == "tf32" or (convolutions_tf32 and all_tf32),
        convolutions_tf32=convolutions_tf32,
        campaign=campaign,
    )
    lacking = {
        "memory bandwidth": card.bandwidth_gb_s,
        "peak in half precision": card.half_tflops or (precision == "fp32" and 1.0),
        "peak in fp32": card.fp32_tflops,
    }
    for what, value in lacking.items():
        if not value:
            raise UnsupportedError(f"the datasheet of {card.name} has no {what}")
    if precision == "bf16" and capability(card) < 8:
        raise UnsupportedError(f"{card.name} has no matrix units for bf16")
    return question


def published_questions(
    rows: Iterable[Row],
    architectures: Mapping[str, Architecture],
    sheets: Sequence[Datasheet],
    fewest: int = FEWEST_CARDS,
) -> list[tuple[Question, float]]:
    """Return what rows of PUBLISHED answer, each with its seconds; those of a card or model without
    description, or of an engine of fewer cards than `fewest`, are left out."""
    found = []
    for row in rows:
        model = find_described(row["model"])
        card = find_datasheet(row["device_name"], sheets)
        if row["status"] != "ok" or not row["latency_s"] or model is None or card is None:
            continue
        try:
            question = ask(architectures[model], row, card, row)
        except UnsupportedError:
            continue
        if question.engine == "pytorch" and question.line == "instinct":
            # PyTorch 2.0 for ROCm had no fused kernel: it wrote the scores out.
            question = replace(question, attention="vanilla")
        found.append((question, float(row["latency_s"])))
    enough = {q.engine for q, _ in found}
    enough = {e for e in enough if _cards(q for q, _ in found if q.engine == e) >= fewest}
    return [(question, seconds) for question, seconds in found if question.engine in enough]


def _cards(questions: Iterable[Question]) -> int:
    return len({question.card.name for question in questions})


class Arrays:
    """The numbers of questions that the terms are multiplied with, an array for each."""

    def __init__(self, questions: Sequence[Question], work: Work) -> None:
        """`work`: what `work_of` returned."""

        def array(value: Callable[[Question], Any]) -> Numbers:
            return np.array([value(question) for question in questions])

        self.batch = array(lambda q: float(q.batch_size))
        self.evaluations = array(lambda q: float(q.evaluations))
        self.is_fp32 = array(lambda q: q.precision == "fp32")
        self.convolutions_tf32 = array(lambda q: q.convolutions_tf32)
        half = array(_half_rate)
        fp32 = array(lambda q: q.card.fp32_tflops) * 1e12
        rate = np.where(self.is_fp32, fp32, half)
        tf32 = half / 2  # in tensor cores; GeForce has that rate in fp32 too
        self.products_rate = np.where(array(lambda q: q.products_tf32), tf32, rate)
        self.convolutions_rate = np.where(self.convolutions_tf32, tf32, rate)
        self.vector_rate = fp32
        self.bytes_rate = array(lambda q: q.card.bandwidth_gb_s) * 1e9
        self.bytes = np.where(self.is_fp32, 4.0, 2.0)
        self.watts = array(lambda q: q.card.tdp_w or np.inf)
        nodes = [_node(question) for question in questions]
        self.of_node = {node: np.array([n == node for n in nodes]) for node in NODES.values()}
        self.geforce = array(lambda q: q.line == "geforce")
        self.instinct = array(lambda q: q.line == "instinct")
        self.vanilla = array(lambda q: q.attention == "vanilla")
        self.xformers = array(lambda q: q.attention == "xformers")
        self.autocast = array(lambda q: q.autocast)
        self.is_graph = array(lambda q: q.engine not in EAGER)
        self.vae_calls = array(lambda q: float(q.batch_size if q.sliced else 1))
        self.networks = {
            network: {
                key: np.array([float(work[q.work][network][key]) for q in questions])
                for key in COUNTED
            }
            for network in NETWORKS
        }


def _half_rate(question: Question) -> float:
    card = question.card
    both = (card.half_sums_tflops,) if question.engine in HALF_SUMS else ()
    return max((x for x in (card.half_tflops, *both) if x), default=0.0) * 1e12


def _node(question: Question) -> str | None:
    if question.vendor != "nvidia":
        return None
    highest = capability(question.card)
    return next(node for most, node in NODES.items() if highest <= most)


def capability(card: Datasheet) -> float:
    """Return the compute capability; a card of the config is taken for one of today."""
    return card.compute_capability or NEWEST


@dataclass(frozen=True)
class Fit:
    """The terms as fitted, and by name the factors of engines, of campaigns, which are of the
    engine as well, and of the hosts of campaigns."""

    terms: Mapping[str, float]
    engines: Mapping[str, float]
    campaigns: Mapping[tuple[str, str], float]
    hosts: Mapping[tuple[str, str], float]

    def elsewhere(self) -> "Fit":
        """Return the same for machines of no campaign: without factors of campaigns, and with the
        fastest host, since what it takes is a bound from below."""
        return replace(self, campaigns={}, hosts={ANY: min(self.hosts.values(), default=1.0)})

    def seconds(self, questions: Sequence[Question], arrays: Arrays) -> Numbers:
        """Return the seconds of questions. A campaign that the fit does not know, and none, has no
        factor of its own."""
        factors = [
            self.engines.get(q.engine, 1.0) * self.campaigns.get((q.campaign, q.engine), 1.0)
            for q in questions
        ]
        hosts = [self.hosts.get(q.host, self.hosts.get(ANY, 1.0)) for q in questions]
        return seconds(self.terms, arrays, np.array(factors), np.array(hosts))


def seconds(terms: Mapping[str, Any], arrays: Arrays, factors: Numbers, hosts: Numbers) -> Numbers:
    """Return the seconds of calls by the terms; `factors` are those of their engines, `hosts` those
    of the time that their hosts take. With terms of shape (k, 1) and the others of (k, calls), the
    seconds by k sets of terms."""
    power = sum(np.where(mask, terms[node], 0.0) for node, mask in arrays.of_node.items()) / 1e12
    joules = power * np.where(arrays.is_fp32, terms["power_fp32"], 1.0)
    rated = np.where(arrays.geforce, terms["geforce"], 1.0)
    rated = np.where(arrays.instinct, terms["instinct"], rated)
    convolved = np.where(
        arrays.convolutions_tf32, terms["tf32"], np.where(arrays.is_fp32, terms["winograd"], 1.0)
    )
    attended = terms["attention"] * np.where(arrays.xformers, terms["xformers"], 1.0)
    # A fused kernel takes the rate of convolutions, as TF32 is on in it too.
    attended = np.where(
        arrays.vanilla,
        terms["products"] / arrays.products_rate,
        attended / arrays.convolutions_rate,
    )
    moved_share = np.where(arrays.is_graph, terms["fused"], 1.0)
    moved_share = moved_share * np.where(arrays.autocast, terms["autocast"], 1.0)
    # Around an attention that is not PyTorch's own, diffusers launches several operators more.
    more = np.where(arrays.vanilla | arrays.xformers, terms["attention_launches"], 1.0)
    launch = np.where(arrays.is_graph, terms["launch_graph"], terms["launch"] * hosts * more)
    total = terms["image"] * arrays.batch
    for network, counts in arrays.networks.items():
        batch = 1.0 if network == "text_encoder" else arrays.batch
        compute = (
            batch
            * rated
            * (
                counts["products_flop"] * terms["products"] / arrays.products_rate
                + counts["convolutions_flop"]
                * terms["convolutions"]
                * convolved
                / arrays.convolutions_rate
                + counts["attention_flop"] * attended
            )
        )
        flop = sum(counts[f"{kind}_flop"] for kind in ("products", "convolutions", "attention"))
        # Where the power does not suffice, the clock is lower, and all on the chip slower.
        cooled = batch * flop * joules / arrays.watts
        slower = (1 + (cooled / compute) ** SHARP_POWER) ** (1 / SHARP_POWER)
        moved = batch * counts["moved"] * moved_share
        scores = batch * counts["scores_moved"] * terms["scores"] * arrays.vanilla
        traffic = (moved + scores + counts["parameters"]) * arrays.bytes * terms["bandwidth"]
        vector = moved * terms["vector"] / arrays.vector_rate
        busy = factors * ((compute + vector) * slower + traffic / arrays.bytes_rate)
        calls = arrays.vae_calls if network == "vae_decoder" else 1.0
        waiting = calls * counts["operators"] * launch
        times = arrays.evaluations if network == "denoiser" else 1.0
        total = total + times * (busy**SHARP + waiting**SHARP) ** (1 / SHARP)
    return np.asarray(total)


Sample = tuple[Question, float]
"""A question, and the seconds that were published."""


def work_of(rows: Iterable[Row]) -> dict[WorkKey, dict[str, Row]]:
    """Return the rows that `models.operations.count_described` made, by what they are of and by
    network."""
    found: dict[WorkKey, dict[str, Row]] = {}
    for row in rows:
        key = row["model"], row["width"], row["height"], row["prompts"]
        found.setdefault(key, {})[row["network"]] = row
    return found


def fit(samples: Sequence[Sample], work: Work, start: Fit | None = None) -> Fit:
    """Fit the terms to what was published: the least squares of logarithms, robust, and with what
    is expected of each term as one more row.

    Rows of one campaign, card, engine, precision and attention tell much the same, and count as the
    root of their number together. `start`: a fit of nearly the same rows, which makes it faster.
    """
    questions = [question for question, _ in samples]
    arrays = Arrays(questions, work)
    published = np.log([latency for _, latency in samples])
    alike = [(q.campaign, q.card.name, q.engine, q.precision, q.attention) for q in questions]
    weights = np.array([alike.count(one) for one in alike]) ** -0.25
    engines = sorted({q.engine for q in questions})
    campaigns = sorted({(q.campaign, q.engine) for q in questions})
    of_engine = np.array([engines.index(q.engine) for q in questions])
    of_campaign = np.array([campaigns.index((q.campaign, q.engine)) for q in questions])
    names, (first, last) = list(TERMS), (len(TERMS), len(TERMS) + len(engines))
    named = sorted({q.host for q in questions})
    of_host = np.array([named.index(q.host) for q in questions])
    end = last + len(campaigns)
    expected = np.zeros(end + len(named))
    expected[:first] = np.log([value for value, _ in TERMS.values()])
    spread = np.full(len(expected), CAMPAIGN_SPREAD)
    spread[:first] = [sd for _, sd in TERMS.values()]
    # What the terms say themselves is PyTorch.
    spread[end:] = HOST_SPREAD
    spread[first:last] = [ENGINE_SPREAD if e != "pytorch" else 0.01 for e in engines]

    def differences(values: Numbers) -> Numbers:
        # The last axis is that of values; there may be many sets of them.
        terms = dict(zip(names, np.moveaxis(np.exp(values[..., :first, None]), -2, 0), strict=True))
        factors = np.exp(values[..., first + of_engine] + values[..., last + of_campaign])
        hosts = np.exp(values[..., end + of_host])
        off = (np.log(seconds(terms, arrays, factors, hosts)) - published) / ROW_SPREAD
        # The square, and beyond one deviation the distance: outliers pull less.
        robust = np.sign(off) * np.sqrt(2 * (np.sqrt(1 + off**2) - 1))
        return np.concatenate([weights * robust, (values - expected) / spread], axis=-1)

    def slopes(values: Numbers) -> Numbers:
        # As SciPy takes them, but all at once.
        steps = np.sqrt(np.finfo(float).eps) * np.maximum(1, abs(values))
        moved = differences(values + np.diag(steps))
        slope: Numbers = ((moved - differences(values)) / steps[:, None]).T
        return slope

    begin = expected.copy()
    if start is not None:
        begin[:first] = np.log(list(start.terms.values()))
        begin[first:last] = np.log([start.engines.get(e, 1.0) for e in engines])
        begin[last:end] = np.log([start.campaigns.get(c, 1.0) for c in campaigns])
        begin[end:] = np.log([start.hosts.get(name, 1.0) for name in named])
    # Fitted more closely, no predicted time moves by a thousandth.
    best = least_squares(differences, begin, slopes, x_scale=spread, ftol=1e-6, max_nfev=50).x
    found = np.exp(best)
    return Fit(
        dict(zip(names, found[:first].tolist(), strict=True)),
        dict(zip(engines, found[first:last].tolist(), strict=True)),
        dict(zip(campaigns, found[last:end].tolist(), strict=True)),
        dict(zip(named, found[end:].tolist(), strict=True)),
    )
