"""Time this project and the tutorial's listing, side by side.

    python tests/measure_speed.py [ROUNDS]

Prints what the machine is, and a Markdown table: medians and ranges over ROUNDS (5)
rounds, and the medians' ratio. In each round the two sides take turns, each in a process
of its own and timed from outside by what it prints. Ours are the scripts. The tutorial's
is its listing with the changes that Keras 3 forces, for bigger with a second layer. For
modern, which is not the tutorial's, it is the same network, fed from arrays.
"""

import importlib
import os
import platform
import pty
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "data" / "wonderland.txt"
LISTING = [__file__, "--listing"]
ARRAYS_A_CHARACTER = 2600  # bytes of the tutorial's lists and arrays, on 1 MB of text


def listing(job, path):
    """Train first, bigger or modern, or generate, as the tutorial does."""
    import keras
    import numpy as np
    from keras import layers
    from keras.layers import LSTM, Dense, Dropout

    with mock.patch.dict(os.environ):  # without the switches that train.py sets
        sys.path.insert(0, str(ROOT))
        presets = importlib.import_module("train").PRESETS

    raw_text = Path(path).read_text(encoding="utf-8").lower()
    chars = sorted(set(raw_text))
    char_to_int = {c: i for i, c in enumerate(chars)}
    n_vocab = len(chars)
    dataX, dataY = [], []
    for i in range(len(raw_text) - 100):
        dataX.append([char_to_int[char] for char in raw_text[i : i + 100]])
        dataY.append(char_to_int[raw_text[i + 100]])
    loss, optimizer = "categorical_crossentropy", "adam"
    if job == "modern":
        modern = presets["modern"]
        X = np.reshape(dataX, (len(dataX), 100, 1))
        y = np.column_stack([X[:, 1:, 0], dataY])
        model = keras.Sequential([keras.Input((100, 1))])
        model.add(layers.CategoryEncoding(n_vocab, output_mode="one_hot"))
        model.add(Dropout(modern["input_dropout"]))
        for _ in range(modern["layers"]):
            model.add(LSTM(modern["units"], return_sequences=True))
            model.add(Dropout(modern["dropout"]))
        model.add(Dense(n_vocab, activation="softmax"))
        loss = "sparse_categorical_crossentropy"
        optimizer = keras.optimizers.Adam(
            modern["learning_rate"], global_clipnorm=modern["clip_norm"]
        )
    else:
        X = np.reshape(dataX, (len(dataX), 100, 1)) / float(n_vocab)
        y = keras.utils.to_categorical(dataY)
        model = keras.Sequential([keras.Input((X.shape[1], X.shape[2]))])
        if job == "bigger":
            model.add(LSTM(256, return_sequences=True))
            model.add(Dropout(0.2))
        model.add(LSTM(256))
        model.add(Dropout(0.2))
        model.add(Dense(y.shape[1], activation="softmax"))
    model.compile(loss=loss, optimizer=optimizer)
    if job != "generate":
        checkpoint = keras.callbacks.ModelCheckpoint(
            "weights-improvement-{epoch:02d}-{loss:.4f}.keras",
            monitor="loss",
            verbose=1,
            save_best_only=True,
            mode="min",
        )
        batch_size = presets.get(job, {"batch_size": 128})["batch_size"]
        model.fit(X, y, epochs=20, batch_size=batch_size, callbacks=[checkpoint])
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
    return len(output.partition(b' "\r\n')[2].decode(errors="ignore"))


def measure(command, progress, first, last):
    """Return ms a unit of progress from first to last, and the peak memory in GB."""
    begin, output = None, b""
    terminal, stdout = pty.openpty()  # train.py has no progress bar for a pipe
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            cwd=folder,
            stdout=stdout,
            stderr=subprocess.DEVNULL,
        )
        os.close(stdout)  # so that reading fails, not waits, once the process has ended
        while (done := progress(output)) < last:
            if begin is None and done >= first:
                begin, first = time.perf_counter(), done
            output += os.read(terminal, 2**16)
        milliseconds = (time.perf_counter() - begin) * 1000 / (done - first)
        process.kill()
        peak = os.wait4(process.pid, 0)[2].ru_maxrss / 1e6
    os.close(terminal)
    return milliseconds, peak


def print_row(what, *cells):
    print(f"| {what} | {' | '.join(cells)} |", flush=True)


def compare_times(what, theirs, ours, progress, first, last, rounds):
    """Print the row of two commands' times, in ms a unit of progress."""
    sides = [], []
    for _ in range(rounds):
        for command, times in zip((theirs, ours), sides, strict=True):
            times.append(measure(command, progress, first, last)[0])
    digits = 0 if progress is steps else 1
    cells = [
        f"{statistics.median(times):.{digits}f} "
        f"({min(times):.{digits}f}–{max(times):.{digits}f})"
        for times in sides
    ]
    theirs, ours = map(statistics.median, sides)
    print_row(what, *cells, f"{theirs / ours:.2f}")


def machine():
    """Return the processor's name, whether it has AVX-512, and the number of cores."""
    facts = Path("/proc/cpuinfo")
    facts = facts.read_text() if facts.exists() else ""
    name = [
        re.search(rf"^{key}\s*: (.*)$", facts, re.MULTILINE)
        for key in ("model name", "cpu family", "model")
    ]
    name = ", ".join(found[1] for found in name if found) or platform.processor()
    avx = "with" if "avx512f" in facts else "without"
    return f"{name} (name, family, model), {avx} AVX-512, {os.cpu_count()} cores"


def main():
    if sys.argv[1:2] == ["--listing"]:
        return listing(*sys.argv[2:])
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    train = [ROOT / "train.py", "--weights", "new"]
    print(f"{machine()}\n\n| | tutorial | here | ratio |\n|---|---|---|---|")
    for network, flags in {
        "first": [],
        "bigger": ["--bigger"],
        "modern": ["--modern"],
    }.items():
        theirs, ours = [*LISTING, network, BOOK], [*train, *flags]
        what = f"training {network}, ms a step"
        compare_times(what, theirs, ours, steps, 10, 40, rounds)
    theirs, ours = [*LISTING, "generate", BOOK], [ROOT / "generate.py"]
    what = "decoding, ms a character"
    compare_times(what, theirs, ours, characters, 5, 105, rounds)
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        book = BOOK.read_text(encoding="utf-8")
        text.write_text((book * 7)[: 10**6], encoding="utf-8")
        theirs = measure([*LISTING, "first", text], steps, 1, 5)[1]
        ours = measure([*train, text], steps, 1, 5)[1]
        what = "memory for 1 MB of text, GB"
        print_row(what, f"{theirs:.2f}", f"{ours:.2f}", f"{theirs / ours:.1f}")
        text.write_text((book * 70)[: 10**7], encoding="utf-8")
        theirs = 10e6 * ARRAYS_A_CHARACTER / 1e9
        for flags in [], ["--modern"]:
            ours = measure([*train, text, *flags], steps, 1, 5)[1]
            print_row(
                f"memory for 10 MB{' of modern' if flags else ''}, GB",
                f"extrapolated: {theirs:.0f}",
                f"{ours:.2f}",
                f"{theirs / ours:.1f}",
            )


if __name__ == "__main__":
    main()
