"""Measure this project against the tutorial's way of doing the same, side by side.

    python tests/benchmark.py [ROUNDS]
    python tests/benchmark.py --loss FOLDER ...

The second prints the loss of the 101st character without dropout after each epoch of
the folders' runs, over every 50th window trained on and every 10th held out.

The first prints a Markdown table of medians over ROUNDS (5), and medians of the ratios by round.
The two sides alternate, each in a process of its own and timed from outside by what it
prints: ours are the scripts, the tutorial's its listing as Keras 3 takes it.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "data" / "wonderland.txt"
BYTES_A_PATTERN = 2600  # of the tutorial's lists, measured on a text of 1 MB


def listing(job, path):
    """Train or generate as the tutorial does."""
    import keras
    import numpy as np
    from keras.layers import LSTM, Dense, Dropout

    raw_text = Path(path).read_text(encoding="utf-8").lower()
    chars = sorted(set(raw_text))
    char_to_int = {c: i for i, c in enumerate(chars)}
    n_vocab = len(chars)
    dataX, dataY = [], []
    for i in range(len(raw_text) - 100):
        dataX.append([char_to_int[char] for char in raw_text[i : i + 100]])
        dataY.append(char_to_int[raw_text[i + 100]])
    X = np.reshape(dataX, (len(dataX), 100, 1)) / float(n_vocab)
    y = keras.utils.to_categorical(dataY)
    model = keras.Sequential([keras.Input((X.shape[1], X.shape[2]))])
    model.add(LSTM(256))
    model.add(Dropout(0.2))
    model.add(Dense(y.shape[1], activation="softmax"))
    model.compile(loss="categorical_crossentropy", optimizer="adam")
    if job == "train":
        name = "weights-improvement-{epoch:02d}-{loss:.4f}.weights.h5"
        options = {"monitor": "loss", "save_best_only": True, "mode": "min"}
        options["save_weights_only"] = True
        checkpoint = keras.callbacks.ModelCheckpoint(name, verbose=1, **options)
        model.fit(X, y, epochs=20, batch_size=128, callbacks=[checkpoint])
    pattern = dataX[np.random.randint(0, len(dataX) - 1)]
    print('Seed:\n"', "".join(chars[value] for value in pattern), '"')
    for _ in range(1000):
        x = np.reshape(pattern, (1, len(pattern), 1)) / float(n_vocab)
        index = np.argmax(model.predict(x, verbose=0))
        print(chars[index], end="", flush=True)
        pattern = [*pattern[1:], index]


def steps(output):
    """Return the number of training steps in what Keras has printed."""
    return int((re.findall(rb"(\d+)/\d+\x1b", output) or [0])[-1])


def characters(output):
    """Return the number of generated characters in what has been printed."""
    return len(output.partition(b' "\n')[2].decode(errors="ignore"))


def measure(command, progress, first, last):
    """Return ms a unit of progress from first to last, and the peak memory in GB."""
    command = [sys.executable, *map(str, command)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    begin, output = None, b""
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(command, cwd=folder, **pipes)
        while (done := progress(output)) < last:
            if begin is None and done >= first:
                begin, first = time.perf_counter(), done
            output += os.read(process.stdout.fileno(), 2**16) or sys.exit(command)
        milliseconds = (time.perf_counter() - begin) * 1000 / (done - first)
        process.kill()
        return milliseconds, os.wait4(process.pid, 0)[2].ru_maxrss / 1e6


def compare(what, theirs, ours, *measured, rounds, kind=0):
    """Print a table's row of a kind of figure that measure returns: 0 or 1."""
    pairs = [
        [measure(c, *measured)[kind] for c in (theirs, ours)] for _ in range(rounds)
    ]
    medians = [f"{statistics.median(side):.2f}" for side in zip(*pairs, strict=True)]
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"| {what} | {' | '.join(medians)} | {ratio:.2f} |", flush=True)


def loss(model, encoded, step):
    """Return model's loss of the 101st character over every step-th window of encoded."""
    import numpy as np

    windows = np.lib.stride_tricks.sliding_window_view(encoded, 101)[::step]
    prediction = model.predict(windows[:, :-1, np.newaxis], verbose=0)
    prediction = prediction.reshape(len(windows), -1, model.output_shape[-1])
    likelihood = prediction[np.arange(len(windows)), -1, windows[:, -1]]
    return -np.log(likelihood).mean()


def losses(folder):
    """Print a table's row for each of a folder's checkpoints."""
    sys.path.insert(0, str(ROOT))
    import train

    settings = train.read_settings(Path(folder))
    raw_text = train.load_text(ROOT / settings["text"], settings["encoding"])
    encoded = train.encode(raw_text, settings["vocab"])
    n_trained = len(encoded) - int(len(encoded) * settings["validation_split"])
    paths = {train.loss_and_epoch(p)[1]: p for p in train.checkpoints(Path(folder))}
    for epoch, path in sorted(paths.items()):
        model, _, _ = train.load_best(settings, [path])
        row = [Path(folder).name, str(epoch)]
        for part, step in ((encoded[:n_trained], 50), (encoded[n_trained:], 10)):
            if len(part) > train.SEQ_LENGTH:
                row.append(f"{loss(model, part, step):.3f}")
        print(f"| {' | '.join(row)} |", flush=True)


def main():
    if sys.argv[1:2] == ["--listing"]:
        return listing(*sys.argv[2:])
    if sys.argv[1:2] == ["--loss"]:
        print("| run | epoch | trained on | held out |\n|---|---|---|---|")
        return [losses(folder) for folder in sys.argv[2:]]
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    train, generate = [ROOT / "train.py", "--weights", "new"], [ROOT / "generate.py"]
    tutorials = [__file__, "--listing"]
    print("| | tutorial | here | ratio |\n|---|---|---|---|")
    sides = [*tutorials, "train", BOOK], train
    compare("training, ms a step", *sides, steps, 20, 120, rounds=rounds)
    sides = [*tutorials, "generate", BOOK], generate
    compare("decoding, ms a character", *sides, characters, 5, 105, rounds=rounds)
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        book = BOOK.read_text(encoding="utf-8")
        text.write_text((book * 7)[: 10**6], encoding="utf-8")
        sides, what = (
            ([*tutorials, "train", text], [*train, text]),
            "memory for 1 MB, GB",
        )
        compare(what, *sides, steps, 1, 5, rounds=1, kind=1)
        text.write_text((book * 350)[: 50 * 10**6], encoding="utf-8")
        theirs = 50e6 * BYTES_A_PATTERN / 1e9
        ours = measure([*train, text], steps, 1, 5)[1]
        print(
            f"| memory for 50 MB, GB | {theirs:.0f} | {ours:.2f} | {theirs / ours:.0f} |"
        )


if __name__ == "__main__":
    main()
