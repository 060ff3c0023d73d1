"""Train a character-level LSTM on a book, as the well-known Keras tutorial does.

    python train.py                      # Alice in Wonderland, 30 epochs, batches of 128
    python train.py --bigger             # the larger network, 50 epochs, batches of 64
    python train.py --epochs 60          # go on after a finished or interrupted run
    python train.py mybook.txt           # your own text: a file or an http(s) address

The network reads windows of 100 characters and learns to predict the character that
follows. After each epoch with the lowest loss so far, its weights are saved in
weights/<name of the text>/, from where generate.py takes them.
"""

import argparse
import hashlib
import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np

stderr = os.dup(2)
if "TF_CPP_MIN_LOG_LEVEL" not in os.environ:  # TensorFlow's start-up chatter
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # its first lines heed no level
try:
    import keras
except KeyboardInterrupt:  # it takes some seconds
    sys.exit(130)
finally:
    os.dup2(stderr, 2)

HERE = Path(__file__).resolve().parent  # data/ and weights/ are found from anywhere
TEXT = HERE / "data" / "wonderland.txt"
SEQ_LENGTH = 100  # characters in a pattern
UNITS = 256  # memory units of an LSTM layer
DROPOUT = 0.2  # share of an LSTM layer's outputs that training drops
RUN = {"text": str, "encoding": str, "sha256": str, "vocab": str}  # run.json's keys
RUN |= {"seq_length": int, "layers": int, "units": int, "dropout": float}


def fail(message):
    """Print message on one line of stderr and end the program with status 2."""
    program = Path(sys.argv[0]).name
    print(f"{program}: error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def at_least(low, kind=int):
    """Return a converter of arguments to finite numbers of a kind, none below low."""

    def convert(value):
        if low <= kind(value) < math.inf:
            return kind(value)
        raise ValueError(value)

    convert.__name__ = f"{low}-or-more"  # as in "invalid 1-or-more value: '0'"
    return convert


def parse_arguments(argv=None):
    """Return the command line's arguments, with the tutorial's values as defaults."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.error = fail
    add = parser.add_argument
    add("text", nargs="?", default=TEXT, help="a file or an http(s) address")
    add("--bigger", action="store_true", help="train the larger network")
    add("--epochs", type=at_least(1), help="to train up to (30; 50 if --bigger)")
    add("--batch-size", type=at_least(1), help="patterns (128; 64 if --bigger)")
    add("--encoding", default="utf-8", help="of the text (utf-8)")
    add("--weights", type=Path, help="folder (weights/<name of the text>[-bigger])")
    args = parser.parse_args(argv)
    args.epochs = args.epochs or (50 if args.bigger else 30)
    args.batch_size = args.batch_size or (64 if args.bigger else 128)
    return args


def text_path(text):
    """Return a text's path, in data/ if it is an http(s) address, and whether it is."""
    address = re.match(r"https?://[^?#]*?([^/?#]+)/*(?:[?#]|$)", text, re.IGNORECASE)
    return (HERE / "data" / address[1], True) if address else (Path(text), False)


def download(url, path):
    """Fetch the text at url to path, unless it is there from an earlier use."""
    if os.path.exists(path):  # Path's own raises on names that are too long
        print(f"Using {path}, not downloading it again", file=sys.stderr)
        return
    try:  # under another name, or a download cut short would pass for the text
        part = path.with_name(f"{path.name}.part")
        part.unlink(missing_ok=True)
        keras.utils.get_file(part.name, url, cache_dir=HERE, cache_subdir="data")
        os.replace(part, path)
    except Exception as error:  # noqa: BLE001 - get_file raises nothing narrower
        fail(f"cannot download {url}: {error}; check it, or name a file")


def load_text(path, encoding):
    """Return a text file in lower case, with "\\n" line ends and no Gutenberg header.

    Ends the program if path holds no text in encoding, or too little for a pattern.
    """
    try:
        text = path.read_bytes().decode(encoding).removeprefix("\ufeff")
    except (OSError, LookupError, UnicodeError) as error:
        fail(f"cannot read {path}: {error}; name a text file, and its --encoding")
    if "\0" in text:
        fail(f"{path} is binary; name a text file, and its --encoding")
    text = strip_gutenberg(text.replace("\r\n", "\n").replace("\r", "\n").lower())
    if len(text) <= SEQ_LENGTH:
        fail(f"{path} has {len(text)} characters; name one of more than {SEQ_LENGTH}")
    return text


def strip_gutenberg(text):
    """Return what a lower-cased text has between Project Gutenberg's two markers.

    The first runs to its closing stars, over two lines where the title is long; in the
    oldest files the end of the "small print" stands for it.
    """
    gutenberg = "(?:th(?:e|is) )?project gutenberg"
    end = re.search(rf"^[* ]*end of {gutenberg}", text, re.MULTILINE)
    text = text[: end.start()] if end else text
    marker = rf"start of {gutenberg}(?:[^*]{{0,300}}\*\*\*|.*)"
    small_print = "end[* ]*the small print!.*"
    start = re.search(rf"^[* ]*(?:{marker}|{small_print})", text, re.MULTILINE)
    return text[start.end() :] if start else text


def sha256(text):
    """Return the SHA-256 of text in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def encode(text, chars):
    """Return text as a NumPy array of its characters' indices in chars."""
    char_to_int = {char: index for index, char in enumerate(chars)}
    return np.fromiter(map(char_to_int.get, text), np.int32, len(text))


class Patterns(keras.utils.PyDataset):
    """Every window of a text with the character after it, made a batch at a time.

    X has shape (batch, SEQ_LENGTH, 1), in [0, 1): index / n_vocab. y has shape (batch,
    n_vocab): one-hot. Each epoch has a random order of its own.
    """

    def __init__(self, encoded, n_vocab, batch_size):
        super().__init__()
        self.windows = np.lib.stride_tricks.sliding_window_view(encoded, SEQ_LENGTH + 1)
        self.order = np.arange(len(self.windows), dtype=np.int32)
        self.n_vocab = n_vocab
        self.batch_size = batch_size
        self.on_epoch_end()

    def __len__(self):
        return math.ceil(len(self.order) / self.batch_size)

    def __getitem__(self, index):
        start = index * self.batch_size
        batch = self.windows[self.order[start : start + self.batch_size]]
        X = batch[:, :-1, np.newaxis] / np.float32(self.n_vocab)
        y = keras.utils.to_categorical(batch[:, -1], self.n_vocab)
        return X, y

    def on_epoch_end(self):
        np.random.shuffle(self.order)


def build_model(run):
    """Return the network that run's settings describe, with random weights."""
    model = keras.Sequential([keras.Input((run["seq_length"], 1))])
    for layer in range(1, run["layers"] + 1):
        more = layer < run["layers"]
        model.add(keras.layers.LSTM(run["units"], return_sequences=more))
        model.add(keras.layers.Dropout(run["dropout"]))
    model.add(keras.layers.Dense(len(run["vocab"]), activation="softmax"))
    return model


def read_run(folder):
    """Return the settings in folder's run.json, or end the program."""
    path = folder / "run.json"
    try:
        run = {"encoding": "utf-8", **json.loads(path.read_text(encoding="utf-8"))}
    except (OSError, ValueError, TypeError) as error:
        fail(f"cannot read {path}: {error}; train in another --weights folder")
    if not all(isinstance(run.get(key), kind) for key, kind in RUN.items()):
        fail(f"{path} is incomplete; train in another --weights folder")
    return run


def open_run(folder, run):
    """Write folder's run.json; where there is one, its settings must be run's."""
    path = folder / "run.json"
    pretrained = HERE / "weights" / "pretrained"
    if Path(os.path.realpath(folder)).is_relative_to(pretrained):
        fail(f"{folder} is for the weights that ship; name another --weights folder")
    if os.path.exists(path) or checkpoints(folder):
        there = read_run(folder)
        differing = [
            f"{key} ({there[key]!r:.30} there, {run[key]!r:.30} here)"
            for key in RUN
            if key not in ("text", "encoding") and there[key] != run[key]
        ]
        if differing:
            differing = ", ".join(differing)
            fail(f"another run's {path} differs in {differing}; name other --weights")
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / "run.json.part"
        part.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        fail(f"cannot write {path}: {error}; name another --weights folder")


def loss_and_epoch(path):
    """Return the loss and the epoch in a checkpoint's name, or None for another file."""
    name = r"weights-improvement-(\d+)-(\d+\.\d+)(-bigger)?\.weights\.h5"
    match = re.fullmatch(name, path.name)
    return match and (float(match[2]), int(match[1]))


def checkpoints(folder):
    """Return the paths of folder's checkpoints, the one with the lowest loss first."""
    paths = folder.glob("*.h5") if os.path.isdir(folder) else ()
    return sorted(filter(loss_and_epoch, paths), key=loss_and_epoch)


def is_deeper(run, path):
    """Return whether path's network has more layers than run's: Keras ignores those."""
    try:
        build_model({**run, "layers": run["layers"] + 1}).load_weights(path)
    except ValueError:
        return False
    return True


def load_best(model, run, paths):
    """Load the first undamaged checkpoint of paths into run's model, return its path.

    Returns None if all are damaged. Ends the program if one is another network's.
    """
    damaged = []
    for path in paths:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a file without optimizer state
                model.load_weights(path)
            if is_deeper(run, path):
                raise ValueError("variables of a deeper network")
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            # Keras's words on shapes; h5py's, on damage, are of objects and links
            if isinstance(error, ValueError) and "variable" in str(error):
                fail(f"{path} does not fit the network in run.json; remove it")
            damaged.append(str(path))
        else:
            if damaged:
                damaged = ", ".join(damaged)
                print(f"Warning: passing over damaged {damaged}", file=sys.stderr)
            return path
    return None


def describe_device():
    """Return what Keras trains on and, where an NVIDIA card stands idle, a way out."""
    device = str(keras.ops.ones(1).device)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    query = f'nvidia-smi --query-gpu=name --format=csv,noheader --id="{visible}"'
    failed, card = subprocess.getstatusoutput(query)
    if "cpu" not in device.lower():
        return f"the GPU {device if failed else card}"
    cpu = f"the CPU, {os.cpu_count()} cores"
    if failed:
        return cpu
    return f'{cpu}: Keras sees no {card}, try pip install "tensorflow[and-cuda]"'


def main(argv=None):
    """Train as the command line says."""
    args = parse_arguments(argv)

    # Load the text and lower-case it
    path, is_url = text_path(str(args.text))
    if is_url:
        download(args.text, path)
    raw_text = load_text(path, args.encoding)

    # Summarize it: its characters are the vocabulary, its windows the patterns
    chars = sorted(set(raw_text))
    n_chars, n_vocab = len(raw_text), len(chars)
    n_patterns = n_chars - SEQ_LENGTH
    print("Total Characters: ", n_chars)
    print("Total Vocab: ", n_vocab)
    print("Total Patterns: ", n_patterns, flush=True)

    # Record what the weights are weights of
    bigger = "-bigger" if args.bigger else ""
    folder = args.weights or HERE / "weights" / f"{path.stem}{bigger}"
    path = path.resolve()
    path = path.relative_to(HERE) if path.is_relative_to(HERE) else path
    run = {
        "text": args.text if is_url else path.as_posix(),
        "encoding": args.encoding,
        "sha256": sha256(raw_text),
        "vocab": "".join(chars),
        "seq_length": SEQ_LENGTH,
        "layers": 2 if args.bigger else 1,
        "units": UNITS,
        "dropout": DROPOUT,
    }
    open_run(folder, run)

    # Define the LSTM model, as it was after its best epoch if the run goes on
    model = build_model(run)
    model.compile(loss="categorical_crossentropy", optimizer="adam")
    model.optimizer.build(model.trainable_variables)  # or its state is not loaded
    best = load_best(model, run, checkpoints(folder))
    loss, epoch = loss_and_epoch(best) if best else (None, 0)
    if best:
        print(f"Going on from {best}: epoch {epoch} of {args.epochs}", file=sys.stderr)
        if model.optimizer.iterations == 0:
            print(f"Warning: {best} has no optimizer state", file=sys.stderr)

    # Define the checkpoint
    name = f"weights-improvement-{{epoch:02d}}-{{loss:.4f}}{bigger}.weights.h5"
    checkpoint = keras.callbacks.ModelCheckpoint(
        str(folder).replace("{", "{{").replace("}", "}}") + f"/{name}",
        monitor="loss",
        verbose=1,
        save_best_only=True,
        save_weights_only=True,
        mode="min",
        initial_value_threshold=loss,
    )

    # Fit the model
    print("Training on", describe_device(), file=sys.stderr)
    patterns = Patterns(encode(raw_text, chars), n_vocab, args.batch_size)
    try:
        model.fit(
            patterns, epochs=args.epochs, initial_epoch=epoch, callbacks=[checkpoint]
        )
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        try:
            fail(f"cannot write to {folder}: {reason}; earlier checkpoints are intact")
        finally:
            os._exit(2)  # closing what a full disk cut short would crash HDF5


def interrupted(*_):
    """End the program at once with status 130, saying how to go on."""
    again = shlex.join(["python", *sys.argv])
    os.write(2, f"\nInterrupted. To go on: {again}\n".encode())
    os._exit(130)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, interrupted)  # JAX swallows a KeyboardInterrupt
    try:
        main()
    except BrokenPipeError:  # `| head` has enough
        interrupted()
