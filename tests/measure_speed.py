"""Time this project and the tutorial's listing, side by side.

    python tests/measure_speed.py [ROUNDS]

Prints what the machine is, and a Markdown table: medians and ranges over ROUNDS (5)
rounds, and the medians' ratio. In each round the two sides take turns, each in a process
of its own and timed from outside by what it prints. Ours are the scripts. The tutorial's
is listing.py, for bigger with a second layer. For modern, which is not the tutorial's,
it is the same network, fed from arrays.
"""

import ast
import itertools
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

ROOT = Path(__file__).resolve().parents[1]
BOOK = (ROOT / "data" / "wonderland.txt").read_text(encoding="utf-8")
TEXT = "data/wonderland.txt"  # as listing.py has it, in the folder of a measurement
LISTING = [__file__, "--listing"]
ARRAYS_A_CHARACTER = 2600  # bytes of the tutorial's lists and arrays, on 1 MB of text

LAYER = "model.add(LSTM(256, input_shape=(X.shape[1], X.shape[2])))\n"
FIT = "model.fit(X, y, epochs=20, batch_size=128, callbacks=callbacks_list)"
BEST = 'filename = max(glob.glob("weights-improvement-*.keras"), key=os.path.getmtime)'
CHANGES = {  # of listing.py, for what else is timed
    "first": {},
    "bigger": {
        LAYER: f"{LAYER[:-3]}, return_sequences=True))\n"
        "model.add(Dropout(0.2))\nmodel.add(LSTM(256))\n",
        "batch_size=128": "batch_size=64",
    },
    "modern": {
        "X = X / float(n_vocab)\n": "",
        "y = to_categorical(dataY)": "y = numpy.column_stack([X[:, 1:, 0], dataY])",
        LAYER: """
import keras
model.add(keras.Input((100, 1)))
model.add(keras.layers.CategoryEncoding(n_vocab, output_mode="one_hot"))
model.add(Dropout(modern["input_dropout"]))
for _ in range(modern["layers"]):
    model.add(LSTM(modern["units"], return_sequences=True))
    model.add(Dropout(modern["dropout"]))
""",
        "model.add(Dropout(0.2))\n": "",
        "Dense(y.shape[1]": "Dense(n_vocab",
        'loss="categorical_crossentropy", optimizer="adam"': """
loss="sparse_categorical_crossentropy", optimizer=keras.optimizers.Adam(
    modern["learning_rate"], global_clipnorm=modern["clip_norm"]
)""",
        "batch_size=128": "batch_size=modern['batch_size']",
    },
    "generate": {  # with weights as they begin
        FIT: "",
        BEST: "",
        "model.load_weights(filename)": "",
    },
}


def run_listing(job):
    """Run listing.py, in the current folder, with the changes for a job."""
    ours = (ROOT / "train.py").read_text(encoding="utf-8")  # importing it sets switches
    presets = re.search(r"^PRESETS = ({.*?^})", ours, re.MULTILINE | re.DOTALL)[1]
    modern = ast.literal_eval(presets)["modern"]
    code = Path(__file__).with_name("listing.py").read_text(encoding="utf-8")
    for old, new in CHANGES[job].items():
        assert code.count(old) == 1, old
        code = code.replace(old, new)
    exec(code, {"modern": modern})  # noqa: S102 - our own code


def steps(output):
    """Return the number of training steps in what Keras has printed."""
    return int((re.findall(rb"(\d+)/\d+\x1b", output) or [0])[-1])


def characters(output):
    """Return the number of generated characters in what has been printed."""
    return len(output.partition(b' "\r\n')[2].decode(errors="ignore"))


def turns(output):
    """Return how often an epoch's first or last step has been printed."""
    steps = re.findall(rb"(\d+)/(\d+)\x1b", output)
    steps = [step for step, all_steps in steps if step in (b"1", all_steps)]
    return sum(a != b for a, b in itertools.pairwise([b"", *steps]))


def measure(command, progress, first, last, text=BOOK):
    """Return ms a unit of progress from first to last, and the peak memory in GB.

    Runs the command in a folder that has the text in TEXT.
    """
    begin, output = None, b""
    terminal, stdout = pty.openpty()  # train.py has no progress bar for a pipe
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / TEXT
        path.parent.mkdir()
        path.write_text(text, encoding="utf-8")
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


def compare_times(what, theirs, ours, rounds, *progress):
    """Print the row of two commands' times, in ms a unit of progress, as in measure."""
    sides = [], []
    for _ in range(rounds):
        for command, times in zip((theirs, ours), sides, strict=True):
            times.append(measure(command, *progress)[0])
    digits = 1 if progress[0] is characters else 0
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
        return run_listing(sys.argv[2])
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    train = [ROOT / "train.py", TEXT, "--weights", "new"]
    print(f"{machine()}\n\n| | tutorial | here | ratio |\n|---|---|---|---|")
    for network in "first", "bigger", "modern":
        theirs = [*LISTING, network]
        ours = [*train, f"--{network}"] if network != "first" else train
        what = f"training {network}, ms a step"
        compare_times(what, theirs, ours, rounds, steps, 10, 40)
    theirs, ours = [*LISTING, "generate"], [ROOT / "generate.py"]
    what = "decoding, ms a character"
    compare_times(what, theirs, ours, rounds, characters, 5, 105)
    what = "first step of an epoch of 78, ms"
    short = turns, 2, 3, BOOK[:10_000]
    compare_times(what, [*LISTING, "first"], train, rounds, *short)
    million = (BOOK * 7)[: 10**6]
    theirs = measure([*LISTING, "first"], steps, 1, 5, million)[1]
    ours = measure(train, steps, 1, 5, million)[1]
    what = "memory for 1 MB of text, GB"
    print_row(what, f"{theirs:.2f}", f"{ours:.2f}", f"{theirs / ours:.1f}")
    theirs = 10e6 * ARRAYS_A_CHARACTER / 1e9
    for flags in [], ["--modern"]:
        ours = measure([*train, *flags], steps, 1, 5, million * 10)[1]
        print_row(
            f"memory for 10 MB{' of modern' if flags else ''}, GB",
            f"extrapolated: {theirs:.0f}",
            f"{ours:.2f}",
            f"{theirs / ours:.1f}",
        )


if __name__ == "__main__":
    main()
