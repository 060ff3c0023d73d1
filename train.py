"""Train a character-level LSTM on a book, as Jason Brownlee's Keras tutorial does.

    python train.py                 # Alice in Wonderland, the tutorial's first network
    python train.py --bigger        # the tutorial's larger network
    python train.py --modern        # not the tutorial's, but the best one
    python train.py --epochs 60     # go on after a finished or interrupted run
    python train.py mybook.txt      # your own text

The network reads windows of 100 characters and learns to predict the character that
follows. Whenever the loss of an epoch is the lowest so far, the whole network is saved
in weights/<text>-<flags>/, and the text beside it. generate.py writes with it, and the
same command goes on from it. The tutorial: "Text Generation With LSTM Recurrent Neural
Networks in Python with Keras",
https://machinelearningmastery.com/text-generation-lstm-recurrent-neural-networks-python-keras/
"""

import argparse
import io
import json
import os
import re
import shlex
import sys
import zipfile
import zlib
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # less start-up chatter
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")  # keeps memory between steps
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # faster products on older CPUs
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # GPU memory as needed
if os.cpu_count() == 2:  # where one thread was faster than two
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
    keras.utils.clear_session()  # numbers layers as a new process does
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
    n_patterns = n_chars - SEQ_LENGTH
    print("Total Patterns: ", n_patterns)
    n_training = int(n_patterns * (1 - args.validation_split))
    if not n_training:
        sys.exit("--validation-split leaves no pattern to train on. Lower or omit it.")

    # cut X and y from it, batch by batch
    training = batches(encoded[: n_training + SEQ_LENGTH], args)
    validation = batches(encoded[n_training:], args) if args.validation_split else None

    # define the LSTM model; its loss takes integers, so y needs no one-hot encoding
    model = build_model(args, n_vocab)
    model.name = name_of(chars)  # by which generate.py knows its characters
    adam = keras.optimizers.Adam(global_clipnorm=args.clip_norm)
    model.compile(loss="sparse_categorical_crossentropy", optimizer=adam)

    # go on from the best checkpoint, if the run has been started before
    epoch, lowest = go_on_or_start(model, args.weights, raw_text)
    adam.learning_rate = args.learning_rate  # now, as going on loads the old one

    # define the checkpoint
    monitor = "val_loss" if validation else "loss"
    name = "weights-improvement-{epoch:02d}-{loss:.4f}".replace("loss", monitor)
    ending = "-bigger.keras" if args.bigger else ".keras"
    folder = str(args.weights).replace("{", "{{").replace("}", "}}")  # not to fill in
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
    history = model.fit(
        training,
        validation_data=validation,
        shuffle=False,  # done in batches; else Keras warns
        epochs=args.epochs,
        initial_epoch=epoch,
        callbacks=[checkpoint, log, keras.callbacks.TerminateOnNaN()],
        verbose=1 if os.isatty(1) else 2,  # no bar in a log file
    )
    path = str(args.weights)
    quoted = shlex.quote(path) if os.name == "posix" else f'"{path}"'
    if not np.isfinite(history.history.get("loss", 0)).all():
        sys.exit(
            "The loss is no number any more. To go on from the best epoch, if any, "
            f"add --weights {quoted} and --clip-norm 1, or a lower --learning-rate."
        )
    flag = " --temperature 0.5" if args.modern else ""  # as its greedy texts loop
    print(f"To write with the best weights: python generate.py {quoted}{flag}")


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
    preset("--bigger", action="store_true", help="the tutorial's larger network")
    preset("--modern", action="store_true", help="the best network, in under an hour")
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

    Says on stderr how many characters they have. Ends the program if path holds no text in
    encoding, or too little for a pattern.
    """
    try:
        text = path.read_text(encoding).replace("\ufeff", "")
    except (OSError, LookupError, ValueError) as error:
        sys.exit(f"Cannot read {path}: {error}. Is it a text, and in {encoding}?")
    book = strip_gutenberg(text)
    n_all, n_cut = len(text), len(text) - len(book)
    if n_cut:
        print(f"Left out Gutenberg's {n_cut} of {n_all} characters", file=sys.stderr)
    if len(book) <= SEQ_LENGTH:
        sys.exit(f"{path} has {len(book)} characters. It takes {SEQ_LENGTH + 1}.")
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


def batches(encoded, args):
    """Return a dataset of the windows of encoded, an array, in a new order each epoch.

    A batch is X, of shape (batch, SEQ_LENGTH, 1), and y, the character that follows:
    (batch,) or, for every_character, the one after each of X, (batch, SEQ_LENGTH).
    """
    # each epoch draws a seed, by which it shuffles the places where windows start
    n_patterns = len(encoded) - SEQ_LENGTH
    shuffle = tf.random.experimental.stateless_shuffle
    seeds = tf.data.Dataset.random(rerandomize_each_iteration=True).take(1)
    places = seeds.map(lambda seed: shuffle(tf.range(n_patterns), [seed, 0])).unbatch()

    def cut(starts):
        windows = tf.gather(encoded, starts[:, tf.newaxis] + tf.range(SEQ_LENGTH + 1))
        X = windows[:, :-1, tf.newaxis]  # [samples, time steps, features]
        y = windows[:, 1:] if args.every_character else windows[:, -1]
        return X, y

    dataset = places.batch(args.batch_size).map(cut).prefetch(2)
    n_batches = -(-n_patterns // args.batch_size)  # rounded up, for the progress bar
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(n_batches))
    options = tf.data.Options()
    options.autotune.enabled = False  # fit can wait a minute for its thread
    return dataset.with_options(options)


def build_model(args, n_vocab):
    """Return the network that args describe, for n_vocab characters, not yet trained.

    Input: characters' indices, (batch, SEQ_LENGTH, 1). Output: the probabilities of the
    next character, (batch, n_vocab) or, for every_character, of the one after each of
    the window, (batch, SEQ_LENGTH, n_vocab).
    """
    model = keras.Sequential([keras.Input((SEQ_LENGTH, 1))])
    if args.one_hot:
        model.add(layers.CategoryEncoding(n_vocab, output_mode="one_hot"))
    else:
        model.add(layers.Rescaling(1 / n_vocab))  # normalize
    if args.input_dropout:
        model.add(layers.Dropout(args.input_dropout))
    for layer in range(1, args.layers + 1):
        sequences = args.every_character or layer < args.layers
        model.add(layers.LSTM(args.units, return_sequences=sequences))
        model.add(layers.Dropout(args.dropout))
    model.add(layers.Dense(n_vocab, activation="softmax"))
    return model


def name_of(chars):
    """Return a name with a checksum of chars, for generate.py to compare."""
    return f"lstm_{zlib.crc32(''.join(chars).encode()):08x}"


def go_on_or_start(model, folder, raw_text):
    """Load folder's best checkpoint into model, and return its epoch and loss.

    Without one, returns 0 and infinity, and puts raw_text into the folder. If that holds
    anything but a run of this text and network, ends the program and changes nothing.
    """
    advice = "Name another folder by --weights, or move this one away."
    text, unfinished = folder / "text.txt", folder / "text.txt.new"
    existed = folder.exists()
    if text.exists():
        if text.read_text("utf-8", "replace") != raw_text:
            sys.exit(f"{folder} holds a run of another text. {advice}")
    elif existed and (others := set(folder.iterdir()) - {unfinished}):
        sys.exit(f"{folder} has {max(others).name}, but no text.txt. {advice}")
    best = load_best(folder)
    if not best:
        keras.models.model_from_json(model.to_json())  # if it cannot, fail now
        folder.mkdir(parents=True, exist_ok=existed)  # of two new runs, one fails
        unfinished.write_text(raw_text, "utf-8")
        unfinished.replace(text)  # so that a full disk cannot leave half of it
        return 0, float("inf")
    saved, loss, epoch, path = best
    if json.dumps(saved.get_config()) != json.dumps(model.get_config()):
        sys.exit(f"{folder} holds a run of another network. {advice}")
    model.optimizer.build(model.trainable_variables)  # or its state is not loaded
    model.load_weights(path)  # the optimizer's, too
    print("Going on from", path)
    return epoch, loss


def checkpoints(path):
    """Return (loss, epoch, path) of each checkpoint in path, a folder, or of path itself.

    First comes the best, with the lowest loss or, of equal ones, the latest. Ends the
    program if path leads to a drive that is not there.
    """
    name = r"weights-improvement-(\d+)-(\d+\.\d+)(?:-bigger)?\.keras"
    for link in filter(Path.is_symlink, (path, *path.parents)):
        if not link.exists():
            sys.exit(f"{link} leads to {link.resolve()}, which is not there.")
    paths = path.iterdir() if path.is_dir() else [path]
    found = [
        (float(match[2]), int(match[1]), each)
        for each in paths
        if (match := re.fullmatch(name, each.name))
    ]
    return sorted(found, key=lambda entry: (entry[0], -entry[1]))


def load_best(path):
    """Return the network of the best checkpoint, and its loss, epoch and path.

    path is as in checkpoints. Passes over those that are damaged, and says so on stderr.
    None if none is whole. Ends the program if one cannot be read, or is not for this
    version of Keras.
    """
    for loss, epoch, checkpoint in checkpoints(path):
        try:
            content = io.BytesIO(checkpoint.read_bytes())  # zipfile hides such errors
        except OSError as error:  # such as one without permission
            sys.exit(f"Cannot read {checkpoint}: {error}")
        try:
            with zipfile.ZipFile(content) as file:
                if file.testzip():  # Keras does not look at the checksums
                    raise ValueError("its checksum is wrong")
                version = json.loads(file.read("metadata.json"))["keras_version"]
        except Exception as error:  # noqa: BLE001 - damaged files have many
            print(f"Passed over {checkpoint}: {error}", file=sys.stderr)
            continue
        try:
            model = keras.models.load_model(checkpoint, compile=False)
            return model, loss, epoch, checkpoint
        except Exception as error:  # noqa: BLE001 - Keras has many
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
        sys.tracebacklimit = 0
        goes_on = "The same command goes on from the best epoch, if any."
        raise KeyboardInterrupt(goes_on) from None
    except FileNotFoundError:  # most likely a student's own
        raise
    except OSError as error:  # such as a full disk
        sys.exit(str(error))
