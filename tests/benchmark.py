"""Measure this project against the tutorial's way of doing the same, side by side.

    python tests/benchmark.py [WEIGHTS]

Prints a Markdown table of medians. WEIGHTS is a run's folder (default:
weights/wonderland); where it has no checkpoint, the weights are random.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import train  # isort: skip - first, as it silences TensorFlow's start-up
import keras
import numpy as np

import generate

ROUNDS = 11
BYTES_A_PATTERN = 2600  # of the tutorial's lists, measured on the 1 MB text
SMALL = {"seq_length": train.SEQ_LENGTH, "layers": 1}  # the small network
SMALL |= {"units": train.UNITS, "dropout": train.DROPOUT}


def tutorials_arrays(raw_text):
    """Return X and y as the tutorial makes them, from lists of lists."""
    chars = sorted(set(raw_text))
    char_to_int = {char: index for index, char in enumerate(chars)}
    dataX, dataY = [], []
    for i in range(len(raw_text) - train.SEQ_LENGTH):
        window = raw_text[i : i + train.SEQ_LENGTH]
        dataX.append([char_to_int[char] for char in window])
        dataY.append(char_to_int[raw_text[i + train.SEQ_LENGTH]])
    X = np.reshape(dataX, (len(dataX), train.SEQ_LENGTH, 1))
    return X / float(len(chars)), keras.utils.to_categorical(dataY)


def row(what, unit, theirs, ours):
    """Print a table row with the medians and the median of the ratios by round."""
    ratio = statistics.median(a / b for a, b in zip(theirs, ours, strict=True))
    theirs, ours = statistics.median(theirs), statistics.median(ours)
    print(f"| {what}, {unit} | {theirs:.2f} | {ours:.2f} | {ratio:.2f} |", flush=True)


def decoding(model, pattern):
    """Compare ms a character, over 20 of the tutorial's and 200 of ours a round."""
    theirs, ours = [], []
    for _ in range(ROUNDS):
        start, window, characters = time.perf_counter(), list(pattern), []
        for _ in range(20):
            x = np.reshape(window, (1, len(window), 1)) / float(model.output_shape[-1])
            index = int(np.argmax(model.predict(x, verbose=0)))
            window = [*window[1:], index]
            characters.append(index)
        theirs.append((time.perf_counter() - start) / 20 * 1000)

        steps = generate.generate(model, pattern, 201)
        first = [next(steps)]  # comes after the seed's steps and the compilation
        start = time.perf_counter()
        first += steps
        ours.append((time.perf_counter() - start) / 200 * 1000)
        assert first[:20] == characters
    row("decoding", "ms a character", theirs, ours)


def training(model, raw_text):
    """Compare ms a step of fit on the same 10 batches of 128."""
    chars = sorted(set(raw_text))
    raw_text = raw_text[: 10 * 128 + train.SEQ_LENGTH]
    patterns = train.Patterns(train.encode(raw_text, chars), len(chars), 128)
    patterns.order.sort()
    batches = zip(*map(patterns.__getitem__, range(10)), strict=True)
    X, y = (np.concatenate(arrays) for arrays in batches)
    model.compile(loss="categorical_crossentropy", optimizer="adam")
    weights = model.get_weights()

    def milliseconds(*data, **options):
        model.set_weights(weights)
        patterns.order.sort()
        start = time.perf_counter()
        model.fit(*data, **options, verbose=0)
        return (time.perf_counter() - start) / 10 * 1000

    theirs, ours = [], []
    for _ in range(1 + ROUNDS):  # the first one compiles
        theirs.append(milliseconds(X, y, batch_size=128, shuffle=False))
        ours.append(milliseconds(patterns))
    theirs, ours = theirs[1:], ours[1:]
    row("training", "ms a step", theirs, ours)


def memory(megabytes):
    """Compare the peak memory, in GB, of a process up to its first training step."""
    needed = megabytes * 10**6 * BYTES_A_PATTERN
    fits = needed < os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.txt"
        book = train.TEXT.read_text(encoding="utf-8")
        path.write_text((book * (megabytes * 7))[: megabytes * 10**6], encoding="utf-8")
        os.environ.pop("TF_CPP_MIN_LOG_LEVEL", None)  # the children silence it, too
        peaks = []
        for way in ["tutorial"] * fits + ["ours"]:
            child = [sys.executable, __file__, "--first-step", way, path]
            peaks.append(float(subprocess.check_output(child, text=True)))
    theirs = f"{peaks[0]:.2f}" if fits else f"does not fit (about {needed / 1e9:.0f})"
    ratio = f"{peaks[0] / peaks[-1]:.2f}" if fits else ""
    print(f"| memory for {megabytes} MB, GB | {theirs} | {peaks[-1]:.2f} | {ratio} |")


def first_step(way, path):
    """Prepare the text at path, train one step and print the peak memory in GB."""
    raw_text = train.load_text(path, "utf-8")
    chars = sorted(set(raw_text))
    run = {**SMALL, "vocab": chars}
    model = train.build_model(run)
    model.compile(loss="categorical_crossentropy", optimizer="adam")
    if way == "tutorial":
        X, y = tutorials_arrays(raw_text)
        model.train_on_batch(X[:128], y[:128])
    else:
        encoded = train.encode(raw_text, chars)
        model.train_on_batch(*train.Patterns(encoded, len(chars), 128)[0])
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)


def main():
    if "--first-step" in sys.argv:
        return first_step(sys.argv[2], Path(sys.argv[3]))
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else generate.WEIGHTS)
    raw_text = train.load_text(train.TEXT, "utf-8")
    chars = "".join(sorted(set(raw_text)))
    run = {**SMALL, "vocab": chars}
    model = train.build_model(run)
    best = train.load_best(model, run, train.checkpoints(folder))
    print(f"{best or 'random weights'}, Keras {keras.__version__} on", end=" ")
    print(f"{keras.backend.backend()}, {train.describe_device()}\n")
    print("| | tutorial | here | ratio |\n|---|---|---|---|")
    decoding(model, train.encode(raw_text[5000:5100], chars).tolist())
    training(model, raw_text)
    for megabytes in (1, 10, 50):
        memory(megabytes)


if __name__ == "__main__":
    main()
