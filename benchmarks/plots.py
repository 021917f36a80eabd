"""The figures as plots: SVG, the same bytes for the same figures."""

import math
from collections.abc import Sequence
from pathlib import Path

from benchmarks.results import Drain, Floor, Latency, Results

METADATA = {"Date": None, "Creator": None}


def plot(results: Results, folder: Path) -> list[Path]:
    """Write the plots that there are figures for, and return where."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update(
        {"svg.hashsalt": "walletq", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    folder.mkdir(parents=True, exist_ok=True)
    return [*_throughput(results, folder / "throughput.svg"), *_latency(results, folder / "latency.svg")]


def _throughput(results: Results, path: Path) -> Sequence[Path]:
    """Bars on a logarithmic scale, the floors below the contenders."""
    from matplotlib import pyplot

    contenders = [(row.name, row.drain.events_per_second) for row in results.contenders if isinstance(row.drain, Drain)]
    floors = [(one.name, one.events_per_second) for one in results.floors if isinstance(one, Floor)]
    bars = [*sorted(contenders, key=lambda bar: -bar[1]), *floors]
    if not bars:
        return []
    figure, axes = pyplot.subplots(figsize=(8, 0.6 + 0.35 * len(bars)), layout="constrained")
    colours = ["tab:blue" if name == "walletq" else "tab:gray" for name, _ in bars[: len(contenders)]]
    drawn = axes.barh([name for name, _ in bars], [speed for _, speed in bars])
    for patch, colour in zip(drawn, [*colours, *["lightgray"] * len(floors)], strict=True):
        patch.set_color(colour)
    axes.bar_label(drawn, [f" {speed:,.0f}" for _, speed in bars])
    axes.set_xscale("log")
    axes.set_xlim(left=10 ** math.floor(math.log10(min(speed for _, speed in bars)) - 0.1))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.margins(x=0.15)
    axes.invert_yaxis()
    axes.set_xlabel("events a second (light: a part of the job alone)")
    figure.savefig(path, metadata=METADATA)
    pyplot.close(figure)
    return [path]


def _latency(results: Results, path: Path) -> Sequence[Path]:
    """p50 and p99 by rate, where the contender keeps up."""
    from matplotlib import pyplot
    from matplotlib.ticker import LogFormatter, NullFormatter

    lines = {
        row.name: kept
        for row in results.contenders
        if (kept := [one for one in row.latency if isinstance(one, Latency) and one.falls_behind_by is None])
    }
    if not lines:
        return []
    figure, axes = pyplot.subplots(figsize=(8, 4), layout="constrained")
    for name, kept in lines.items():
        rates = [one.rate for one in kept]
        (line,) = axes.plot(rates, [one.p50_ms for one in kept], marker="o", label=f"{name}, p50")
        axes.plot(
            rates,
            [one.p99_ms for one in kept],
            marker="o",
            linestyle="--",
            color=line.get_color(),
            label=f"{name}, p99",
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(sorted({one.rate for kept in lines.values() for one in kept}), minor=False)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.5)))
    axes.set_xlabel("events a second")
    axes.set_ylabel("event to notification, ms")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, metadata=METADATA)
    pyplot.close(figure)
    return [path]
