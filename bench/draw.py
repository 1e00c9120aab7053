"""Draws one plot: `draw.py FILE.svg`, with the plot (see plots.py) as JSON on standard input. Runs in bench/.venv-plots."""

import json
import sys

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "roadbalancer", "font.family": "sans-serif", "font.size": 9})
from matplotlib import pyplot  # noqa: E402

plot = json.load(sys.stdin)
figure, axes = pyplot.subplots(figsize=(7, 2.6), layout="constrained")
for line in plot["lines"]:
    times, values = zip(*line["points"], strict=True)
    axes.plot(times, values, label=line["label"], drawstyle="steps-post" if line["stepped"] else "default", linewidth=1.2)
axes.set_title(plot["title"], loc="left")
axes.set_xlabel("seconds")
axes.set_ylabel(plot["unit"])
axes.set_ylim(bottom=0)
axes.grid(alpha=0.25)
axes.legend(frameon=False)
figure.savefig(sys.argv[1], metadata={"Date": None})
