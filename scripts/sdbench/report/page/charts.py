"""The charts that answer to the filters, in Vega-Lite. Every point is a row of the table of cases.

Data are put in by the page: the rows of `sdbench.report.page.rows` that the filters let through,
each with its `tip`, what is shown when it is pointed at, and its `place`, the line that it stands
on.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from sdbench.report.figures import style

Spec = dict[str, Any]

SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
MARKS = ("●", "■", "▲", "◆", "✚", "▼")
"""The shapes of the backends in the order in which they come, and how the filters show them."""

_MEASURED = "datum.origin === 'measured here'"
_FILL = {"condition": {"test": _MEASURED, "value": 0.9}, "value": 0}
"""Published points are hollow."""
_PLACE = {
    "field": "place",
    "type": "nominal",
    "title": None,
    "sort": {"field": "latency_s", "op": "min"},
}


def charts(precisions: Sequence[str], backends: Sequence[str]) -> dict[str, Spec]:
    """Return the charts by name, without data, for rows of these precisions and backends."""
    colour = _nominal("precision", precisions, map(style.colour, precisions))
    shape = _nominal("backend", backends, itertools.islice(itertools.cycle(SHAPES), len(backends)))
    marks = {"color": colour, "shape": shape, "fill": colour, "fillOpacity": _FILL,
             "tooltip": {"field": "tip"}}  # fmt: skip

    def points(axes: Spec) -> Spec:
        mark = {"type": "point", "size": 70, "filled": False, "strokeWidth": 1.5}
        return {"mark": mark, "encoding": axes | marks}

    def interval(axis: str, low: str, high: str, title: str) -> Spec:
        ends = {axis: _axis(low, title), f"{axis}2": {"field": high}, "color": colour}
        return {
            "transform": [{"filter": f"isValid(datum.{low})"}],
            "mark": {"type": "rule", "strokeWidth": 1.5},
            "encoding": ends,
        }

    seconds = _axis("latency_s", "seconds for one image")
    rate = _axis("images_per_minute", "images per minute")
    memory = _axis("memory_gb", "GB (10⁹ bytes) for one image", zero=True, padding=0)
    line = {"type": "line", "strokeWidth": 1.2, "opacity": 0.6}
    series = [{"field": name} for name in ("origin", "device", "backend", "options", "model")]
    times = interval("x", "latency_ci_low_s", "latency_ci_high_s", seconds["title"])
    ends = ("images_per_minute_ci_low", "images_per_minute_ci_high")
    rates = [
        {"mark": line, "encoding": {"y": rate, "color": colour}},
        interval("y", *ends, rate["title"]),
        points({"y": rate}),
    ]
    one = "datum.batch_size === 1 && isValid(datum.latency_s)"
    some = "isValid(datum.images_per_minute)"
    both = [points({"x": memory, "y": seconds})]
    return {
        "time": _chart(one, {"y": _PLACE}, [times, points({"x": seconds})], {"step": 20}),
        "throughput": _chart(some, {"x": _batch_sizes(), "detail": series}, rates),
        "memory": _chart(f"{one} && isValid(datum.memory_gb)", {}, both),
    }


def _nominal(field: str, values: Sequence[str], looks: Iterable[str]) -> Spec:
    scale = {"domain": values, "range": list(looks)}
    return {"field": field, "type": "nominal", "scale": scale, "legend": None}


def _axis(field: str, title: str, **scale: Any) -> Spec:
    """Return an axis of numbers, logarithmic unless its scale is given."""
    scale = scale or {"type": "log", "nice": False, "padding": 16}
    return {"field": field, "type": "quantitative", "title": title, "scale": scale}


def _batch_sizes() -> Spec:
    """Return a logarithmic axis that names the powers of two."""
    power = "abs(log(datum.value) / LN2 - round(log(datum.value) / LN2)) < 1e-6"
    labels = {"labelExpr": f"{power} ? datum.label : ''", "grid": False, "ticks": False}
    axis = _axis("batch_size", "batch size", type="log", base=2, nice=False, padding=16)
    return axis | {"axis": labels}


def _chart(shown: str, encoding: Spec, layer: Sequence[Spec], height: Any = 300) -> Spec:
    return {
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "transform": [{"filter": shown}],
        "encoding": encoding,
        "layer": layer,
        "config": {
            "background": style.PAPER,
            "font": "system-ui, sans-serif",
            "view": {"stroke": None},
            "axis": {
                "gridColor": style.GRID,
                "domainColor": style.GREY,
                "tickColor": style.GREY,
                "labelColor": style.INK,
                "titleColor": style.INK,
                "labelFontSize": 12,
                "titleFontSize": 12,
                "titleFontWeight": "normal",
                "labelLimit": 260,
            },
            # A label that would be cut off at the edge is left out.
            "axisX": {"labelBound": True},
        },
    }
