"""Train a character-level LSTM on a book, as Jason Brownlee's Keras tutorial does.

    python train.py                 # Alice in Wonderland, the tutorial's first network
    python train.py --bigger        # the tutorial's larger network
    python train.py --modern        # not the tutorial's, but the best in half an hour
    python train.py --epochs 60     # go on after a finished or interrupted run
    python train.py mybook.txt      # your own text

The network reads windows of 100 characters and learns to predict the character that
follows. Whenever the loss of an epoch is the lowest so far, the weights are saved in
weights/<name of the text>/. generate.py reads them, and the same command goes on from
them. The tutorial: "Text Generation With LSTM Recurrent Neural Networks in Python with
Keras", https://machinelearningmastery.com/text-generation-lstm-recurrent-neural-networks-python-keras/
"""

import argparse
import hashlib
import json
import math
import os
import re
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # less start-up chatter
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")  # keeps memory between steps
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # faster on CPUs without AVX-512
if os.cpu_count() == 2:  # where one thread was faster than two
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

import keras
import numpy as np
import tensorflow as tf
from keras import layers

HERE = Path(__file__).resolve().parent  # data/ and weights/ are found from anywhere
SEQ_LENGTH = 100  # characters in a pattern
PRESETS = {  # what a flag sets at once; the flags beside it still win
    "bigger": {"layers": 2, "epochs": 50, "batch_size": 64},
    "modern": {
        "one_hot": True,
        "every_character": True,
        "layers": 2,
        "dropout": 0.6,
        "input_dropout": 0.1,
        "clip_norm": 1.0,
        "epochs": 2,
        "batch_size": 64,
    },
}


def in_range(kind, low, below=math.inf):
    """Return a converter, for argparse, to a kind of number in [low, below)."""

    def convert(value):
        if low <= kind(value) < below:
            return kind(value)
        raise argparse.ArgumentTypeError(f"{value!r} is not in [{low}, {below})")

    convert.__name__ = kind.__name__  # argparse says "invalid int value"
    return convert


def parse_arguments(argv=None):
    """Return the command line's arguments, by default the tutorial's, but 30 epochs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    whole, fraction = in_range(int, 1), in_range(float, 0, 1)
    alice = HERE / "data" / "wonderland.txt"

    add = parser.add_argument
    add("text", nargs="?", type=Path, default=alice, help="a book (wonderland.txt)")
    preset = parser.add_mutually_exclusive_group().add_argument
    preset("--bigger", action="store_true", help="the tutorial's larger network")
    preset("--modern", action="store_true", help="the best network in half an hour")
    add("--epochs", type=whole, default=30, help="train until epoch N (30)")
    add("--batch-size", type=whole, default=128, help="patterns in a step (128)")
    add("--encoding", default="utf-8", help="encoding of the book (utf-8)")
    add("--weights", type=Path, help="folder to save in (weights/<book>-<flags>)")
    add("--random-seed", type=in_range(int, 0, 2**32), help="repeat random choices")

    add = parser.add_argument_group("the tutorial's ideas").add_argument
    add("--one-hot", action="store_true", help="feed one-hot rows, not numbers")
    add("--units", type=whole, default=256, help="memory units of an LSTM layer (256)")
    add("--layers", type=whole, default=1, help="number of LSTM layers (1)")
    add("--dropout", type=fraction, default=0.2, help="after each LSTM layer (0.2)")
    add("--input-dropout", type=fraction, default=0.0, help="of the input (0)")

    add = parser.add_argument_group("not in the tutorial").add_argument
    add("--every-character", action="store_true", help="predict after each character")
    add(
        "--validation-split", type=fraction, default=0.0, help="do not train on the end"
    )
    add("--clip-norm", type=in_range(float, 1e-9), help="limit the gradient's length")

    args = parser.parse_args(argv)
    for name, values in PRESETS.items():
        if getattr(args, name):
            parser.set_defaults(**values)
    return parser.parse_args(argv)


def main(argv=None):
    """Train as the command line says."""
    args = parse_arguments(argv)
    if args.random_seed is not None:
        keras.utils.set_random_seed(args.random_seed)

    # load ascii text and convert to lowercase
    raw_text = load_text(args.text, args.encoding)

    # create mapping of unique chars to integers
    chars = sorted(set(raw_text))
    char_to_int = {char: index for index, char in enumerate(chars)}

    # summarize the loaded data
    n_chars, n_vocab = len(raw_text), len(chars)
    n_trained = n_chars - int(n_chars * args.validation_split)
    print("Total Characters: ", n_chars)
    print("Total Vocab: ", n_vocab)

    # prepare the dataset of input to output pairs encoded as integers
    small = np.min_scalar_type(n_vocab)  # a byte for a character, of most texts
    encoded = np.fromiter((char_to_int[char] for char in raw_text), small, n_chars)
    patterns, steps = make_patterns(
        encoded[:n_trained], args.batch_size, args.every_character
    )
    held_out, held_out_steps = None, None
    if args.validation_split:
        held_out, held_out_steps = make_patterns(
            encoded[n_trained:], args.batch_size, args.every_character
        )
    print("Total Patterns: ", n_trained - SEQ_LENGTH)

    # define the LSTM model; its loss one-hot encodes the output variable
    config = describe_run(args, raw_text, chars)
    model = build_model(config)
    adam = keras.optimizers.Adam(global_clipnorm=args.clip_norm)
    model.compile(loss="sparse_categorical_crossentropy", optimizer=adam)

    # go on from the best checkpoint, if the run has been started before
    folder = args.weights or run_folder(args)
    epoch, loss = go_on_or_start(model, folder, config)

    # define the checkpoint
    checkpoint = keras.callbacks.ModelCheckpoint(
        checkpoint_path(folder, args.bigger),
        monitor="loss",
        verbose=1,
        save_best_only=True,
        save_weights_only=True,
        mode="min",
        initial_value_threshold=loss,
    )
    log = keras.callbacks.CSVLogger(folder / "log.csv", append=epoch > 0)

    # fit the model
    print("Keras runs on", *keras.distribution.list_devices())
    model.fit(
        patterns,
        epochs=args.epochs,
        initial_epoch=epoch,
        steps_per_epoch=steps,
        callbacks=[checkpoint, log, keras.callbacks.TerminateOnNaN()],
        shuffle=False,  # make_patterns does
        validation_data=held_out,
        validation_steps=held_out_steps,
        verbose="auto" if sys.stdout.isatty() else 2,  # no bar in a log file
    )
    if model.stop_training:
        sys.exit(f'The loss is NaN. Go on with --clip-norm 1 --weights "{folder}".')
    flag = " --temperature 0.45" if args.modern else ""  # as its greedy texts loop
    print(f'To write with the best weights: python generate.py "{folder}"{flag}')


def load_text(path, encoding):
    """Return a file's text in lower case, without Project Gutenberg's additions.

    Ends the program if path holds no text in encoding, or too little for a pattern.
    """
    try:
        text = path.read_text(encoding).removeprefix("\ufeff").lower()
    except (OSError, LookupError, ValueError) as error:
        sys.exit(f"Cannot read {path}: {error}. Name a text and its --encoding.")
    text = strip_gutenberg(text)
    if len(text) <= SEQ_LENGTH:
        sys.exit(f"{path} has only {len(text)} characters. Name a longer text.")
    return text


def strip_gutenberg(text):
    """Return a text in lower case without Project Gutenberg's headers and footers.

    If it holds several books, all of them are kept. The lines that are looked for:

    *** start of the project gutenberg ebook alice's adventures in wonderland ***
    *end*the small print! for public domain etexts*ver.04.29.93*end*
    end of the project gutenberg ebook of alice's adventures in wonderland

    The first may go on in the next line. Texts of the 1990s have the second instead,
    which in later ones can stand behind the book.
    """
    gutenberg = "of (?:th(?:e|is) )?project gutenberg"
    start = rf"(?m:^[* ]*start {gutenberg}(?:[^*\n]*\n?[^*\n]*\*\*\*|.*))"
    end = rf"(?m:^[* ]*end {gutenberg})"
    if not re.search(start, text):
        start = r"(?m:^\*end[* ]*the small print!.*)"
    footer = rf"{end}[\s\S]*?({start}|\Z)"  # with the header of the book after it
    header, *books = re.split(start, re.sub(footer, r"\1", text))
    return "".join(books) or header


def make_patterns(encoded, batch_size, every_character=False):
    """Return an endless dataset of a text's patterns, and the steps of an epoch.

    encoded holds the indices of the text's characters, and so do the two arrays of a
    batch: X of shape (batch, SEQ_LENGTH, 1), the windows, and y of shape (batch,), the
    characters after them, or, for every_character, (batch, SEQ_LENGTH), those after
    each of X. An epoch has each pattern once, in a new random order. Windows are cut
    when their batch comes, so memory holds no more than the text and an order.
    """
    n_patterns = len(encoded) - SEQ_LENGTH
    if n_patterns < 1:
        sys.exit("--validation-split leaves no pattern on a side. Name another one.")
    text = tf.constant(encoded)

    def cut(starts):
        windows = tf.gather(text, starts[:, None] + tf.range(SEQ_LENGTH + 1))
        y = windows[:, 1:] if every_character else windows[:, -1]
        # reshape X to be [samples, time steps, features]
        return windows[:, :-1, None], y

    # for each epoch an order of the windows, in batches of where they start
    orders = tf.data.Dataset.from_tensors(n_patterns).repeat()
    orders = orders.map(lambda n: tf.random.shuffle(tf.range(n)))
    starts = orders.flat_map(
        lambda order: tf.data.Dataset.from_tensor_slices(order).batch(batch_size)
    )
    return starts.map(cut).prefetch(2), math.ceil(n_patterns / batch_size)


def build_model(config):
    """Return the network that config, a run.json, describes, with random weights.

    Input: characters' indices, (batch, seq_length, 1). Output: the probabilities of the
    next character, (batch, n_vocab) or, for every_character, of the one after each of
    the window, (batch, seq_length, n_vocab).
    """
    n_vocab = len(config["vocab"])
    model = keras.Sequential([keras.Input((config["seq_length"], 1))])
    if config["one_hot"]:
        model.add(layers.CategoryEncoding(n_vocab, output_mode="one_hot"))
    else:
        model.add(layers.Rescaling(1 / n_vocab))  # normalize
    if config["input_dropout"]:
        model.add(layers.Dropout(config["input_dropout"]))
    for layer in range(1, config["layers"] + 1):
        sequences = config["every_character"] or layer < config["layers"]
        model.add(layers.LSTM(config["units"], return_sequences=sequences))
        model.add(layers.Dropout(config["dropout"]))
    model.add(layers.Dense(n_vocab, activation="softmax"))
    return model


def describe_run(args, raw_text, chars):
    """Return what run.json records: the flags, the text and its characters chars."""
    path = args.text.resolve()
    path = path.relative_to(HERE) if path.is_relative_to(HERE) else path
    return {
        **vars(args),
        "text": path.as_posix(),
        "sha256": hashlib.sha256(raw_text.encode("utf-8", "replace")).hexdigest(),
        "vocab": "".join(chars),
        "seq_length": SEQ_LENGTH,
    }


def run_folder(args):
    """Return weights/<text>-<preset>-<flags>, with each flag that differs from usual."""
    presets = [name for name in PRESETS if getattr(args, name)]
    usual = vars(parse_arguments([f"--{name}" for name in presets]))
    name = "-".join([args.text.stem, *presets])
    for flag, value in vars(args).items():
        same_run = flag in ("text", "encoding", "weights", "epochs")
        if not same_run and value != usual[flag]:
            flag = flag.replace("_", "-")
            name += f"-{flag}" if value is True else f"-{flag}-{value}"
    return HERE / "weights" / name


def go_on_or_start(model, folder, config):
    """Load folder's best checkpoint into model, and return its epoch and loss.

    They are 0 and infinity if there is none. Records config in folder's run.json. Ends
    the program, and changes nothing, if the files there are of something else.
    """
    epoch, loss, there = 0, math.inf, config
    if checkpoints(folder) or (folder / "log.csv").exists():
        there = read_config(folder)
    if checkpoints(folder):
        if there["sha256"] != config["sha256"]:
            sys.exit(f"{folder} is of another text. Name another folder by --weights.")
        for key in ("seq_length", "one_hot", "every_character", "units", "layers"):
            if there[key] != config[key]:
                sys.exit(f"{folder} has other {key}. Name another folder by --weights.")
        model.optimizer.build(model.trainable_variables)  # or its state is not loaded
        loss, epoch, path = load_best(model, folder)
        print(f"Going on from {path}, after epoch {epoch} of {config['epochs']}")
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / "run.json.new"
    new.write_text(json.dumps(config, default=str, indent=1) + "\n", "utf-8")
    new.replace(folder / "run.json")  # so that a full disk cannot spoil it
    return epoch, loss


def read_config(folder):
    """Return what folder's run.json says of the run, or end the program."""
    try:
        return json.loads((folder / "run.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        sys.exit(f"{folder} has no run.json to read: {error}. Name another folder.")


def checkpoint_path(folder, bigger):
    """Return the path, for Keras to fill in, of folder's checkpoints."""
    folder = str(folder).replace("{", "{{").replace("}", "}}")  # Keras fills in {…}
    name = "weights-improvement-{epoch:02d}-{loss:.4f}"
    return f"{folder}/{name}{'-bigger' if bigger else ''}.weights.h5"


def checkpoints(path):
    """Return (loss, epoch, path) of each checkpoint in a folder, or of one, best first.

    The best has the lowest loss or, of equal ones, is the latest.
    """
    name = r"weights-improvement-(\d+)-(\d+\.\d+)(?:-bigger)?\.weights\.h5"
    paths = path.glob("*.h5") if path.is_dir() else [path]
    found = [
        (float(match[2]), int(match[1]), path)
        for path in paths
        if path.exists() and (match := re.fullmatch(name, path.name))
    ]
    return sorted(found, key=lambda each: (each[0], -each[1]))


def load_best(model, path):
    """Load the best checkpoint at path that is whole; return its loss, epoch and path.

    Says on stderr which ones it passes over. Ends the program if none can be loaded.
    """
    for loss, epoch, checkpoint in checkpoints(path):
        try:
            model.load_weights(checkpoint)
            return loss, epoch, checkpoint
        except Exception as error:  # noqa: BLE001 - h5py has many for a file cut short
            print(f"Passed over {checkpoint}: {error}", file=sys.stderr)
    sys.exit(f"No checkpoint in {path} can be loaded. To start anew, move them away.")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nStopped. The same command goes on from the best epoch, if any.")
    except (OSError, RuntimeError) as error:  # RuntimeError: h5py's, of a full disk
        advice = "If the disk is full, make room. Earlier checkpoints are whole."
        print(f"{error}\n{advice}", file=sys.stderr, flush=True)
        os._exit(1)  # h5py crashes when it closes a file that was cut short
