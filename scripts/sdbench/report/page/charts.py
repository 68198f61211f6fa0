"""The charts that answer to the filters, in Vega-Lite. Every point is a row of the table of cases.

Data are put in by the page: the rows of `sdbench.report.page.rows` that the filters let through,
each with its `tip`, what is shown when it is pointed at, and its `place`, the line that it stands
on.
"""

from typing import Any

from sdbench.report.figures import style

SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
MARKS = ("●", "■", "▲", "◆", "✚", "▼")
"""The shapes of the backends in the order in which they come, and how the filters show them."""

_MEASURED = "datum.origin === 'measured here'"
_FILL = {"condition": {"test": _MEASURED, "value": 0.9}, "value": 0}
"""Published points are hollow."""


def charts(precisions: list[str], backends: list[str]) -> dict[str, dict[str, Any]]:
    """Return the charts by name, without data.

    Args:
        precisions: every precision of the rows.
        backends: every backend of the rows.
    """
    colour = {
        "field": "precision",
        "type": "nominal",
        "scale": {"domain": precisions, "range": [style.colour(name) for name in precisions]},
        "legend": None,
    }
    shape = {
        "field": "backend",
        "type": "nominal",
        "scale": {
            "domain": backends,
            "range": [SHAPES[i % len(SHAPES)] for i in range(len(backends))],
        },
        "legend": None,
    }
    marks = {"color": colour, "shape": shape, "fillOpacity": _FILL, "tooltip": {"field": "tip"}}
    point = {"type": "point", "size": 70, "filled": False, "strokeWidth": 1.5}
    filled = {**marks, "fill": colour}
    return {
        "time": _chart(
            "datum.batch_size === 1 && isValid(datum.latency_s)",
            {"y": _place()},
            [
                {
                    "transform": [{"filter": "isValid(datum.latency_q1_s)"}],
                    "mark": {"type": "rule", "strokeWidth": 1.5},
                    "encoding": {
                        "x": _axis("latency_q1_s", "seconds for one image"),
                        "x2": {"field": "latency_q3_s"},
                        "color": colour,
                    },
                },
                {
                    "mark": point,
                    "encoding": {"x": _axis("latency_s", "seconds for one image"), **filled},
                },
            ],
            height={"step": 20},
        ),
        "throughput": _chart(
            "isValid(datum.images_per_minute)",
            {
                "x": _batch_sizes(),
                "detail": [
                    {"field": name} for name in ("origin", "device", "backend", "options", "model")
                ],
            },
            [
                {
                    "mark": {"type": "line", "strokeWidth": 1.2, "opacity": 0.6},
                    "encoding": {
                        "y": _axis("images_per_minute", "images per minute"),
                        "color": colour,
                    },
                },
                {
                    "transform": [{"filter": "isValid(datum.images_per_minute_ci_low)"}],
                    "mark": {"type": "rule", "strokeWidth": 1.5},
                    "encoding": {
                        "y": _axis("images_per_minute_ci_low", "images per minute"),
                        "y2": {"field": "images_per_minute_ci_high"},
                        "color": colour,
                    },
                },
                {
                    "mark": point,
                    "encoding": {"y": _axis("images_per_minute", "images per minute"), **filled},
                },
            ],
        ),
        "memory": _chart(
            "datum.batch_size === 1 && isValid(datum.latency_s) && isValid(datum.memory_gb)",
            {},
            [
                {
                    "mark": point,
                    "encoding": {
                        "x": _from_zero("memory_gb", "GB (10⁹ bytes) for one image"),
                        "y": _axis("latency_s", "seconds for one image"),
                        **filled,
                    },
                }
            ],
        ),
    }


def _axis(field: str, title: str) -> dict[str, Any]:
    scale = {"type": "log", "nice": False, "padding": 16}
    return {"field": field, "type": "quantitative", "title": title, "scale": scale}


def _batch_sizes() -> dict[str, Any]:
    """Return a logarithmic axis that names the powers of two."""
    power = "abs(log(datum.value) / LN2 - round(log(datum.value) / LN2)) < 1e-6"
    labels = {"labelExpr": f"{power} ? datum.label : ''", "grid": False, "ticks": False}
    return _axis("batch_size", "batch size") | {
        "scale": {"type": "log", "base": 2, "nice": False, "padding": 16},
        "axis": labels,
    }


def _from_zero(field: str, title: str) -> dict[str, Any]:
    return _axis(field, title) | {"scale": {"zero": True, "padding": 0}}


def _place() -> dict[str, Any]:
    return {
        "field": "place",
        "type": "nominal",
        "title": None,
        "sort": {"field": "latency_s", "op": "min"},
    }


def _chart(
    shown: str, encoding: dict[str, Any], layer: list[dict[str, Any]], height: Any = 300
) -> dict[str, Any]:
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
