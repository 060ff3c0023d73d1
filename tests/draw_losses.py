"""Draw the losses of the runs behind the weights that ship, and the published ones.

    pip install matplotlib
    python tests/draw_losses.py

Writes weights/pretrained/losses.svg from the log.csv files beside the weights.
"""

import csv
from pathlib import Path

import matplotlib.pyplot as plt

PRETRAINED = Path(__file__).resolve().parents[1] / "weights" / "pretrained"
NETWORKS = {
    "wonderland": "first",
    "wonderland-bigger": "bigger",
    "wonderland-modern": "modern",
    "christmas-carol": "Carol",
}
PUBLISHED = {
    "tutorial": {20: 1.9435, 48: 1.2219},  # named 19 and 47, as old Keras counted
    "course project": {28: 1.7485, 29: 1.7307, 30: 1.7170},
}


def main():
    plt.rcParams["svg.hashsalt"] = "losses"  # the same logs give the same file
    plt.rcParams["svg.fonttype"] = "none"  # text stays text
    _, axes = plt.subplots(figsize=(8, 4.5))
    for folder, label in NETWORKS.items():
        with (PRETRAINED / folder / "log.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        epochs = [int(row["epoch"]) + 1 for row in rows]
        axes.plot(epochs, [float(row["loss"]) for row in rows], ".-", label=label)
    for marker, (source, losses) in zip("xo", PUBLISHED.items(), strict=True):
        axes.plot(
            losses.keys(),
            losses.values(),
            marker,
            color="black",
            fillstyle="none",
            label=f"published: {source}",
        )
    axes.set(xlabel="epoch", ylabel="loss, with dropout", xlim=(0, 51))
    axes.grid(alpha=0.3)
    axes.legend()
    plt.savefig(PRETRAINED / "losses.svg", bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    main()
