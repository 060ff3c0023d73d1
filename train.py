"""Train a character-level LSTM on a book, as Jason Brownlee's Keras tutorial does.

    python train.py                 # Alice in Wonderland, the tutorial's first network
    python train.py --bigger        # the tutorial's larger network
    python train.py --modern        # not the tutorial's, for readable text
    python train.py --epochs 60     # go on after a finished or interrupted run
    python train.py mybook.txt      # your own text

The network reads windows of 100 characters and learns to predict the character that
follows. Whenever the loss of an epoch is the lowest so far, the whole network is saved
in weights/<text>-<flags>/, where the text is, too. generate.py writes with the one of
the lowest loss, and the same command goes on from it. The tutorial: "Text Generation
With LSTM Recurrent Neural Networks in Python with Keras",
https://machinelearningmastery.com/text-generation-lstm-recurrent-neural-networks-python-keras/
"""

import argparse
import io
import json
import os
import re
import shlex
import shutil
import sys
import zipfile
import zlib
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # warnings, but no chatter
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")  # keeps memory between steps
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # faster on older CPUs
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # GPU memory as needed
if os.cpu_count() == 2:  # on small servers, one thread was faster than two
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

import keras
import numpy as np
import tensorflow as tf
from keras import layers

HERE = Path(__file__).resolve().parent  # data/ and weights/ are found from anywhere
SEQ_LENGTH = 100  # characters in a pattern
PRESETS = {  # what a flag sets at once; numbers beside it still win
    "bigger": {"layers": 2, "epochs": 50, "batch_size": 64},
    "modern": {
        "one_hot": True,
        "every_character": True,
        "units": 192,
        "layers": 3,
        "dropout": 0.5,
        "input_dropout": 0.1,
        "clip_norm": 1.0,
        "learning_rate": 0.003,
        "epochs": 2,
        "batch_size": 32,
    },
}


def main(argv=None):
    """Train as the command line says."""
    args = parse_arguments(argv)
    keras.utils.clear_session()  # gives layers the same names in every run
    if args.random_seed is not None:
        keras.utils.set_random_seed(args.random_seed)

    # load ascii text and convert to lowercase
    raw_text = load_text(args.text, args.encoding)

    # create mapping of unique chars to integers
    chars = sorted(set(raw_text))
    char_to_int = {char: index for index, char in enumerate(chars)}

    # summarize the loaded data
    n_chars, n_vocab = len(raw_text), len(chars)
    print("Total Characters: ", n_chars)
    print("Total Vocab: ", n_vocab)

    # prepare the dataset of input to output pairs encoded as integers
    dtype = np.min_scalar_type(n_vocab)  # for most texts, one byte a character
    encoded = np.array([char_to_int[char] for char in raw_text], dtype)
    # each window is a pattern of 100 characters and the one that follows. All are views
    # of encoded, as are X and y: nothing is copied until batches()
    windows = np.lib.stride_tricks.sliding_window_view(encoded, SEQ_LENGTH + 1)
    n_patterns = len(windows)
    print("Total Patterns: ", n_patterns)

    # reshape X to be [samples, time steps, features]; build_model() will normalize it
    X = windows[:, :-1, np.newaxis]
    y = windows[:, 1:] if args.every_character else windows[:, -1]

    # hold out the end, if asked to
    assert len(X) == len(y)
    n = int(len(X) * (1 - args.validation_split))
    if not n:
        sys.exit("--validation-split leaves no pattern to train on. Lower or omit it.")
    training = batches(X[:n], y[:n], args.batch_size, shuffle=True)
    validation = batches(X[n:], y[n:], args.batch_size) if n < len(X) else None

    # define the LSTM model; its loss takes integers, so y needs no one-hot encoding
    model = build_model(args, n_vocab)
    model.name = name_with_checksum(chars)  # generate.py checks its characters by it
    adam = keras.optimizers.Adam(args.learning_rate, global_clipnorm=args.clip_norm)
    model.compile(loss="sparse_categorical_crossentropy", optimizer=adam)

    # go on from the best checkpoint, if the run has been started before
    monitor = "val_loss" if validation else "loss"
    epoch, lowest = go_on_or_start(model, args.weights, raw_text, monitor)

    # define the checkpoint
    name = "weights-improvement-{epoch:02d}-{" + monitor + ":.4f}"
    ending = "-bigger.keras" if args.bigger else ".keras"
    folder = str(args.weights).replace("{", "{{").replace("}", "}}")  # for format
    checkpoint = keras.callbacks.ModelCheckpoint(
        f"{folder}/{name}{ending}",
        monitor=monitor,
        verbose=1,
        save_best_only=True,
        mode="min",
        initial_value_threshold=lowest,
    )
    log = keras.callbacks.CSVLogger(args.weights / "log.csv", append=True)

    # fit the model
    device = keras.distribution.list_devices()[0]
    print(f"Keras runs on {device}, with {epoch} of {args.epochs} epochs done")
    if device.startswith("cpu") and shutil.which("nvidia-smi"):
        print(
            "Keras has found no GPU, but NVIDIA's driver is here. On Linux and WSL 2, "
            'this helps: pip install "tensorflow[and-cuda]!=2.21.*"',
            file=sys.stderr,
        )
    if epoch >= args.epochs:
        print("Nothing to train: more --epochs go on, a new --weights begins anew")
    history = model.fit(
        training,
        validation_data=validation,
        shuffle=False,  # batches() does it; of True, Keras would warn
        epochs=args.epochs,
        initial_epoch=epoch,
        callbacks=[checkpoint, log, keras.callbacks.TerminateOnNaN()],
        verbose=1 if os.isatty(1) else 2,  # no bar in a log file
    )
    path = str(args.weights)
    quoted = shlex.quote(path) if os.name == "posix" else f'"{path}"'
    losses = history.history.get("loss", [])  # Keras has none if nothing was trained
    if not np.isfinite(losses).all():
        sys.exit(
            "The loss is no number any more. To go on from the best epoch, if any, "
            f"add --weights {quoted} and --clip-norm 1, or a lower --learning-rate."
        )
    temperature = " --temperature 0.5" if args.modern else ""  # its greedy texts loop
    print(f"To write with the best weights: python generate.py {quoted}{temperature}")


def parse_arguments(argv=None):
    """Return the command line's arguments, by default the tutorial's, but 30 epochs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    whole, fraction = in_range(int, 1), in_range(float, 0, 1)
    positive, seed = in_range(float, 1e-9), in_range(int, 0, 2**32)
    alice = HERE / "data" / "wonderland.txt"

    flag = parser.add_argument
    flag("text", nargs="?", type=Path, default=alice, help="a book (wonderland.txt)")
    preset = parser.add_mutually_exclusive_group().add_argument
    preset("--bigger", action="store_true", help="the tutorial's larger, 50 epochs")
    preset("--modern", action="store_true", help="for readable text, 2 epochs")
    flag("--epochs", type=whole, default=30, help="epochs in all (%(default)s)")
    flag("--batch-size", type=whole, default=128, help="patterns a step (%(default)s)")
    flag("--encoding", default="utf-8", help="encoding of the book (%(default)s)")
    flag("--weights", type=Path, help="folder to save in (weights/<text>-<flags>)")
    flag("--random-seed", type=seed, help="repeat the random choices")

    idea = parser.add_argument_group("the tutorial's ideas").add_argument
    idea("--one-hot", action="store_true", help="feed one-hot rows, not numbers")
    idea("--units", type=whole, default=256, help="units of a layer (%(default)s)")
    idea("--layers", type=whole, default=1, help="LSTM layers (%(default)s)")
    idea("--dropout", type=fraction, default=0.2, help="after a layer (%(default)s)")
    idea("--input-dropout", type=fraction, default=0.0, help="of input (%(default)s)")

    extra = parser.add_argument_group("not in the tutorial").add_argument
    extra("--every-character", action="store_true", help="predict after each character")
    extra("--validation-split", type=fraction, default=0.0, help="hold out the end")
    extra("--clip-norm", type=positive, help="limit the gradient's length")
    extra("--learning-rate", type=positive, default=0.001, help="Adam's (%(default)s)")

    args = parser.parse_args(argv)
    for name, values in PRESETS.items():
        if getattr(args, name):
            parser.set_defaults(**values)
    args = parser.parse_args(argv)  # again, now with a preset's defaults

    if not args.weights:  # a folder for each text, network and way to train it
        name = args.text.stem
        for key, value in vars(args).items():
            changed = value != parser.get_default(key)
            if changed and key not in ("text", "encoding", "epochs"):
                name += "-" + key.replace("_", "-")
                name += "" if value is True else f"-{value}"
        args.weights = HERE / "weights" / name
    return args


def in_range(kind, low, below=float("inf")):
    """Return a converter, for argparse, to a kind of number in [low, below)."""

    def convert(value):
        if low <= kind(value) < below:
            return kind(value)
        raise argparse.ArgumentTypeError(f"{value!r} is not in [{low}, {below})")

    convert.__name__ = kind.__name__  # argparse says "invalid int value"
    return convert


def load_text(path, encoding):
    """Return a file's text in lower case, without Project Gutenberg's additions.

    Says on stderr how many characters they have. Ends the program if path holds no text
    in encoding, or too little for a pattern.
    """
    try:
        text = path.read_text(encoding).replace("\ufeff", "")  # byte order marks
        text.encode()  # fails for halves of an emoji, which text.txt could not keep
    except (OSError, LookupError, ValueError) as error:
        sys.exit(f"Cannot read {path}: {error}. Is it a text, and in {encoding}?")
    book = strip_gutenberg(text)
    n_all, n_cut = len(text), len(text) - len(book)
    if n_cut:
        print(f"Left out Gutenberg's {n_cut} of {n_all} characters", file=sys.stderr)
    if len(book) <= SEQ_LENGTH:
        sys.exit(f"{path} has {len(book)} characters. It needs {SEQ_LENGTH + 1}.")
    return book.lower()


def strip_gutenberg(text):
    """Return a text without Project Gutenberg's headers and footers.

    If it holds several books, all of them are kept. The lines that are looked for:

    *** START OF THE PROJECT GUTENBERG EBOOK ALICE'S ADVENTURES IN WONDERLAND ***
    *END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*
    End of the Project Gutenberg EBook of Alice's Adventures in Wonderland

    Texts of the 1990s have the second line instead of the first. In later texts the
    second can come after the book.
    """
    gutenberg = "of (?:th(?:e|is) )?project gutenberg"
    title = r"[^*\n]{0,200}\n?[^*\n]{0,200}\*\*\*"  # it may go on in the next line
    start = rf"(?mi:^[* ]*start {gutenberg}(?:{title}|.*))"
    if not re.search(start, text):
        start = r"(?mi:^\*end[* ]*the small print!.*)"
    footer = rf"(?mi:^[* ]*end {gutenberg})[\s\S]*?({start}|\Z)"  # to the next book
    header, *books = re.split(start, re.sub(footer, r"\1", text))
    return "".join(books) or header  # which is all of it if there is no start


def batches(X, y, batch_size, shuffle=False):
    """Return a dataset of batches of X and y, with shuffle in a new order each epoch.

    X has shape (n, SEQ_LENGTH, 1), and y (n,) or (n, SEQ_LENGTH). Given X and y
    themselves, fit would make such a dataset, but could stand still between epochs.
    """
    with tf.device("CPU"):  # not in a GPU's memory, which a long text would fill
        X, y = tf.constant(X), tf.constant(y)

    def pick(rows):  # a batch of their numbers
        return tf.gather(X, rows), tf.gather(y, rows)

    rows = tf.data.Dataset.range(len(X))
    if shuffle:
        rows = rows.shuffle(1_000_000)  # of a longer text, not all at once
    options = tf.data.Options()
    options.autotune.enabled = False  # fit would wait for its thread between epochs
    return rows.batch(batch_size).map(pick).prefetch(2).with_options(options)


def build_model(args, n_vocab):
    """Return the network that args describe, for n_vocab characters, not yet trained.

    Input: characters' indices, (batch, SEQ_LENGTH, 1). Output: the probabilities of the
    next character, (batch, n_vocab), or with every_character of what follows each
    character, (batch, SEQ_LENGTH, n_vocab).
    """
    model = keras.Sequential([keras.Input((SEQ_LENGTH, 1))])
    if args.one_hot:
        model.add(layers.CategoryEncoding(n_vocab, output_mode="one_hot"))
    else:
        model.add(layers.Rescaling(1 / n_vocab))  # normalize
    if args.input_dropout:
        model.add(layers.Dropout(args.input_dropout))
    sizes = [args.units] * args.layers  # of the LSTM layers
    for layer, units in enumerate(sizes, 1):
        sequences = args.every_character or layer < len(sizes)
        model.add(layers.LSTM(units, return_sequences=sequences))
        model.add(layers.Dropout(args.dropout))
    model.add(layers.Dense(n_vocab, activation="softmax"))
    return model


def name_with_checksum(chars):
    """Return a name with a checksum of chars, for generate.py to compare."""
    return f"lstm_{zlib.crc32(''.join(chars).encode()):08x}"


def go_on_or_start(model, folder, raw_text, monitor):
    """Load folder's best checkpoint into model, and return its epoch and loss.

    Without one, puts raw_text into folder, and returns 0 and infinity. If folder holds
    other files, or a run of another text, network or loss than monitor, ends the
    program and changes nothing.
    """
    advice = "Name another folder by --weights, or move this one away."
    text, half_written = folder / "text.txt", folder / "text.txt.new"
    log, existed = folder / "log.csv", folder.exists()
    if text.exists():
        if text.read_text("utf-8", "replace") != raw_text:
            sys.exit(f"{folder} holds a run of another text. {advice}")
    elif existed and (others := set(folder.iterdir()) - {half_written}):
        sys.exit(f"{folder} has {others.pop().name}, but no text.txt. {advice}")
    if log.exists() and (epochs := log.read_text()):
        held_out = ",NA" not in epochs  # which Keras logs where there is no val_loss
        if held_out != monitor.startswith("val_"):
            which = "with" if held_out else "without"
            sys.exit(f"{folder} holds a run {which} --validation-split. {advice}")
    best = load_best(folder)
    if not best:
        # a network that Keras could not load again fails here, before it is trained
        type(model).from_config(model.get_config())
        # of two runs that make the folder at once, one fails here
        folder.mkdir(parents=True, exist_ok=existed)
        # a disk that is full leaves half of this file, but no half text.txt
        half_written.write_text(raw_text, "utf-8")
        half_written.replace(text)
        return 0, float("inf")
    saved, loss, epoch, path = best
    if json.dumps(saved.get_config()) != json.dumps(model.get_config()):
        sys.exit(f"{folder} holds a run of another network. {advice}")
    rate = model.optimizer.learning_rate
    given = float(rate)
    model.optimizer.build(model.trainable_variables)  # else its state is not loaded
    model.load_weights(path)  # the optimizer's, too, which saved has not
    if hasattr(rate, "assign"):  # not a schedule's, which goes on by itself
        rate.assign(given)  # today's, not the saved one
    print("Going on from", path)
    return epoch, loss


def checkpoints(path):
    """Return (loss, epoch, path) of each checkpoint in a folder, or of path itself.

    First comes the best, with the lowest loss or, of equal ones, the latest.
    """
    name = r"weights-improvement-(\d+)-(\d+\.\d+)(?:-bigger)?\.keras"
    paths = path.iterdir() if path.is_dir() else [path]
    found = [
        (float(match[2]), int(match[1]), each)
        for each in paths
        if (match := re.fullmatch(name, each.name))
    ]
    return sorted(found, key=lambda entry: (entry[0], -entry[1]))


def load_best(path):
    """Return the network of the best checkpoint, and its loss, epoch and path.

    path is as in checkpoints. Passes over those that are damaged, and says so on
    stderr. None if none is whole. Ends the program if one cannot be read, or is not for
    this version of Keras.
    """
    for loss, epoch, checkpoint in checkpoints(path):
        try:
            # a checkpoint that was unpacked is a folder. If a file cannot be read,
            # read_bytes says why, which zipfile would not
            content = b"" if checkpoint.is_dir() else checkpoint.read_bytes()
        except OSError as error:
            sys.exit(str(error))
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as file:
                if file.testzip():  # Keras does not look at the checksums
                    raise ValueError("its checksum is wrong")
                if not file.getinfo("model.weights.h5").file_size:  # after Ctrl-C
                    raise ValueError("its weights are missing")
                version = json.loads(file.read("metadata.json"))["keras_version"]
        except Exception as error:  # noqa: BLE001 - damage raises many kinds
            print(f"Passed over {checkpoint}: {error}", file=sys.stderr)
            continue
        try:
            model = keras.models.load_model(checkpoint, compile=False)
            return model, loss, epoch, checkpoint
        except Exception as error:  # noqa: BLE001 - Keras raises many kinds
            reason = " ".join(str(error).split())[-200:]
            sys.exit(
                f"Keras {keras.__version__} cannot load {checkpoint}, which Keras "
                f"{version} saved. If that is newer, upgrade Keras. ({reason})"
            )
    return None


if __name__ == "__main__":
    if hasattr(sys.stdout, "reconfigure"):  # not so in notebooks
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    try:
        main()
    except KeyboardInterrupt:  # raised again, so that a shell's loop ends, too
        goes_on = "The same command goes on from the best epoch, if any."
        raise KeyboardInterrupt(goes_on) from None
    except FileNotFoundError:  # most likely in a student's line: show where
        raise
    except OSError as error:  # such as a full disk
        sys.exit(str(error))
