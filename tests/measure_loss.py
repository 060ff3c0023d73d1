"""Measure the loss without dropout of what runs have saved.

    python tests/measure_loss.py FOLDER ...

Prints a row of a Markdown table for each checkpoint in the folders: the loss of the
101st character over every 50th window of the text that was trained on and, after
--validation-split, over every 10th and over all of what was held out. The last takes
minutes, and is the figure to quote.
"""

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import train


def loss(model, encoded, step):
    """Return model's loss of the 101st character over every step-th window of encoded."""
    windows = np.lib.stride_tricks.sliding_window_view(encoded, 101)[::step]
    likelihoods = []
    for start in range(0, len(windows), 1024):  # all at once need GBs
        some = windows[start : start + 1024]
        prediction = model.predict(some[:, :-1, np.newaxis], verbose=0)
        prediction = prediction.reshape(len(some), -1, model.output_shape[-1])
        likelihoods.extend(prediction[np.arange(len(some)), -1, some[:, -1]])
    return -np.log(likelihoods).mean()


def encode(config):
    """Return the indices of the characters of a run's text, as a NumPy array."""
    raw_text = train.load_text(ROOT / config["text"], config["encoding"])
    return np.array([config["vocab"].index(char) for char in raw_text])


def print_losses(folder):
    """Print the rows of a folder's checkpoints, by epoch."""
    config = train.read_config(folder)
    encoded = encode(config)
    n_trained = len(encoded) - int(len(encoded) * config["validation_split"])
    model = train.build_model(config)
    for epoch, path in sorted(found[1:] for found in train.checkpoints(folder)):
        model.load_weights(path)
        row = [folder.name, str(epoch), f"{loss(model, encoded[:n_trained], 50):.4f}"]
        if n_trained < len(encoded):
            row += [f"{loss(model, encoded[n_trained:], step):.4f}" for step in (10, 1)]
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    print("| run | epoch | trained on | every 10th held out | all held out |")
    print("|---|---|---|---|---|")
    for name in sys.argv[1:]:
        print_losses(Path(name))
