"""Measure the loss without dropout of what runs have saved.

    python tests/measure_loss.py FOLDER ... [--validation-split 0.1]

Prints a row of a Markdown table for each checkpoint in the folders: the loss of the
101st character over every 50th window of the text that was trained on and, after a
training with --validation-split, over every 10th and over all of what was held out. The
last takes minutes, and is the figure to quote.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import keras

import train


def losses(model, windows):
    """Return model's loss of the last character of each of windows of 101 indices."""
    likelihoods = []
    for start in range(0, len(windows), 1024):  # all at once need GBs
        some = windows[start : start + 1024]
        prediction = model.predict(some[:, :-1, np.newaxis], verbose=0)
        prediction = prediction.reshape(len(some), -1, model.output_shape[-1])
        likelihoods.extend(prediction[np.arange(len(some)), -1, some[:, -1]])
    return -np.log(likelihoods)


def cut(folder):
    """Return the windows of 101 indices of a run's text."""
    raw_text = (folder / "text.txt").read_text("utf-8")
    char_to_int = {char: index for index, char in enumerate(sorted(set(raw_text)))}
    encoded = np.array([char_to_int[char] for char in raw_text])
    return np.lib.stride_tricks.sliding_window_view(encoded, train.SEQ_LENGTH + 1)


def print_losses(folder, validation_split):
    """Print the rows of a folder's checkpoints, by epoch."""
    windows = cut(folder)
    n_trained = int(len(windows) * (1 - validation_split))  # as train.py splits them
    for epoch, path in sorted(found[1:] for found in train.checkpoints(folder)):
        model = keras.models.load_model(path, compile=False)
        row = [losses(model, windows[:n_trained:50]).mean()]
        if validation_split:
            held_out = losses(model, windows[n_trained:])
            row += [held_out[::10].mean(), held_out.mean()]
        cells = " | ".join(f"{loss:.4f}" for loss in row)
        print(f"| {folder.name} | {epoch} | {cells} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--validation-split", type=float, default=0)
    args = parser.parse_args()
    print("| run | epoch | trained on | every 10th held out | all held out |")
    print("|---|---|---|---|---|")
    for each in args.folders:
        print_losses(each, args.validation_split)
