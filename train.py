"""Train a character-level LSTM on a book, as Jason Brownlee's Keras tutorial does.

    python train.py                 # Alice in Wonderland, the tutorial's first network
    python train.py --bigger        # the tutorial's larger network
    python train.py --modern        # not the tutorial's, but the best one
    python train.py --epochs 60     # go on after a finished or interrupted run
    python train.py mybook.txt      # your own text

The network reads windows of 100 characters and learns to predict the character that
follows. Whenever the loss of an epoch is the lowest so far, the weights are saved in
weights/<text>-<flags>/. generate.py reads them, and the same command goes on from
them. The tutorial: "Text Generation With LSTM Recurrent Neural Networks in Python with
Keras", https://machinelearningmastery.com/text-generation-lstm-recurrent-neural-networks-python-keras/
"""

import argparse
import hashlib
import json
import math
import os
import re
import shlex
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
# What may change when a run goes on. The names of folders have the flags of TRAINING,
# so that changing one of them takes --weights.
FREE = ("text", "encoding", "weights", "epochs", *PRESETS)
TRAINING = (
    "batch_size",
    "random_seed",
    "dropout",
    "input_dropout",
    "clip_norm",
    "learning_rate",
)


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
    positive = in_range(float, 1e-9)
    alice = HERE / "data" / "wonderland.txt"

    flag = parser.add_argument
    flag("text", nargs="?", type=Path, default=alice, help="a book (wonderland.txt)")
    preset = parser.add_mutually_exclusive_group().add_argument
    preset("--bigger", action="store_true", help="the tutorial's larger network")
    preset("--modern", action="store_true", help="the best network, in under an hour")
    flag("--epochs", type=whole, default=30, help="train until epoch N (%(default)s)")
    flag("--batch-size", type=whole, default=128, help="patterns a step (%(default)s)")
    flag("--encoding", default="utf-8", help="encoding of the book (%(default)s)")
    flag("--weights", type=Path, help="folder to save in (weights/<book>-<flags>)")
    flag("--random-seed", type=in_range(int, 0, 2**32), help="repeat random choices")

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

    # prepare the dataset of input to output pairs encoded as integers, cut when needed
    dtype = np.min_scalar_type(n_vocab)  # of most texts, a byte for a character
    encoded = np.array([char_to_int[char] for char in raw_text], dtype)
    options = (args.batch_size, args.every_character)
    patterns, steps = make_patterns(encoded[:n_trained], *options)
    held_out, held_out_steps = None, None
    if args.validation_split:
        held_out, held_out_steps = make_patterns(encoded[n_trained:], *options)
    print("Total Patterns: ", n_trained - SEQ_LENGTH)

    # define the LSTM model; its loss takes the place of one-hot encoded outputs
    config = describe_run(args, raw_text, chars)
    model = build_model(config)
    adam = keras.optimizers.Adam(args.learning_rate, global_clipnorm=args.clip_norm)
    model.compile(loss="sparse_categorical_crossentropy", optimizer=adam)

    # go on from the best checkpoint, if the run has been started before
    folder = args.weights or run_folder(args)
    epoch, loss = go_on_or_start(model, folder, config)
    if args.random_seed is not None:  # a seed's orders go on where they were
        patterns = patterns.skip(epoch * steps)

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
    log = keras.callbacks.CSVLogger(folder / "log.csv", append=True)

    # fit the model
    device = keras.distribution.list_devices()[0]
    why = "; TF_CPP_MIN_LOG_LEVEL=0 says why not on a GPU" if "cpu" in device else ""
    print(f"Keras runs on {device}{why}")
    history = model.fit(
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
    quoted = shlex.quote(str(folder)) if os.name == "posix" else f'"{folder}"'
    if np.isnan(history.history.get("loss", 0)).any():
        limit = (args.clip_norm or 2) / 2
        advice = f"Give the same command with --clip-norm {limit:g} --weights {quoted}"
        sys.exit(f"The loss is NaN. {advice} to go on from the best epoch, if any.")
    flag = " --temperature 0.5" if args.modern else ""  # as its greedy texts loop
    print(f"To write with the best weights: python generate.py {quoted}{flag}")


def load_text(path, encoding):
    """Return a file's text in lower case, without Project Gutenberg's additions.

    Says on stderr how much they were. Ends the program if path holds no text in
    encoding, or too little for a pattern.
    """
    try:
        all_of_it = path.read_text(encoding).replace("\ufeff", "").lower()
    except (OSError, LookupError, ValueError) as error:
        sys.exit(f"Cannot read {path}: {error}. Is it a text, and in {encoding}?")
    text = strip_gutenberg(all_of_it)
    n_all, n_cut = len(all_of_it), len(all_of_it) - len(text)
    if n_cut:
        print(f"Left out Gutenberg's {n_cut} of {n_all} characters", file=sys.stderr)
    if len(text) <= SEQ_LENGTH:
        sys.exit(f"{path} has only {len(text)} characters, not {SEQ_LENGTH + 1}.")
    return text


def strip_gutenberg(text):
    """Return a text, already in lower case, without Project Gutenberg's additions.

    If it holds several books, all of them are kept. The marks that are looked for:

    *** start of the project gutenberg ebook alice's adventures in wonderland ***
    *end*the small print! for public domain etexts*ver.04.29.93*end*
    end of the project gutenberg ebook of alice's adventures in wonderland

    The first may go on in the next line. Texts of the 1990s have the second instead,
    which in later ones can stand behind the book.
    """
    gutenberg = "of (?:th(?:e|is) )?project gutenberg"
    start = rf"[* ]*start {gutenberg}(?:[^*\n]*\n?[^*\n]*\*\*\*|.*)"
    small_print, end = r"\*end[* ]*the small print!.*", rf"[* ]*end {gutenberg}"
    mark = rf"(?m)^(?:(?P<start>{start})|(?P<print>{small_print})|(?P<end>{end}))"
    found = list(re.finditer(mark, text))
    kinds = [each.lastgroup for each in found]
    if not found or kinds[0] == "end":  # as if a start stood at the beginning
        found, kinds = [re.match("", text), *found], ["start", *kinds]
    books = []
    for i, kind in enumerate(kinds):
        following = found[i + 1].start() if i + 1 < len(found) else len(text)
        of_1990s = kinds[i + 1 : i + 2] == ["end"] or "start" not in kinds
        if kind == "start" or (kind == "print" and of_1990s):
            books.append(text[found[i].end() : following])
    return "".join(books)


def make_patterns(encoded, batch_size, every_character=False):
    """Return an endless dataset of a text's patterns, and the steps of an epoch.

    encoded holds the indices of the text's characters, and so do the two arrays of a
    batch: X of shape (batch, SEQ_LENGTH, 1), the windows, and y of shape (batch,), the
    characters after them, or, for every_character, (batch, SEQ_LENGTH), those after
    each of X. An epoch has each pattern once, in a new random order. Windows are cut
    when their batch comes, so memory holds no more than the text and an order. It is
    endless, as under a seed each new pass over it would draw the first order again.
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
        "sha256": digest(raw_text),
        "vocab": "".join(chars),
        "seq_length": SEQ_LENGTH,
    }


def digest(text):
    """Return the SHA-256 of a text, by which a run knows it again."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def run_folder(args):
    """Return weights/<text>-<preset>-<flags>, with each flag that differs from usual."""
    presets = [name for name in PRESETS if getattr(args, name)]
    usual = vars(parse_arguments([f"--{name}" for name in presets]))
    name = "-".join([args.text.stem, *presets])
    for flag, value in vars(args).items():
        if flag not in FREE and value != usual[flag]:
            flag = flag.replace("_", "-")
            name += f"-{flag}" if value is True else f"-{flag}-{value}"
    return HERE / "weights" / name


def go_on_or_start(model, folder, config):
    """Load folder's best checkpoint into model, and return its epoch and loss.

    They are 0 and infinity if there is none. Records config in folder's run.json. A run
    is its run.json, even before its first checkpoint: only the training may change. For
    another text, network or validation split, or files without a run.json, this ends the
    program, and changes nothing.
    """
    epoch, loss = 0, math.inf
    found, log = checkpoints(folder), folder / "log.csv"
    if found or log.exists() or (folder / "run.json").exists():
        recorded = read_config(folder)
        for key, value in config.items():
            if recorded[key] != value and key not in FREE + TRAINING:
                what = key.replace("sha256", "text").replace("_", "-")
                advice = "Name another folder by --weights, or delete this one."
                sys.exit(f"{folder} is of a run with another {what}. {advice}")
    if found:
        model.optimizer.build(model.trainable_variables)  # or its state is not loaded
        loss, epoch, path = load_best(model, config, found)
        model.optimizer.learning_rate = config["learning_rate"]  # not the checkpoint's
        print(f"Going on from {path}, after epoch {epoch} of {config['epochs']}")
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / "run.json.new"
    new.write_text(json.dumps(config, default=str, indent=1) + "\n", "utf-8")
    new.replace(folder / "run.json")  # so that a full disk cannot spoil it
    if log.exists() and log.read_bytes()[-1:] not in (b"", b"\n"):
        log.open("a").write("\n")  # after a row that was cut short
    return epoch, loss


def read_config(folder):
    """Return what folder's run.json says of the run, or end the program.

    Flags that came after the run have their usual values.
    """
    try:
        recorded = json.loads((folder / "run.json").read_text("utf-8"))
        needed = {key: recorded[key] for key in ("sha256", "vocab", "seq_length")}
        return vars(parse_arguments([])) | recorded | needed
    except (OSError, ValueError, TypeError, KeyError) as error:
        sys.exit(f"{folder} has no run.json of a run: {error!r}. Name another folder.")


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


def load_best(model, config, found):
    """Load the best of the found checkpoints that fits; return its loss, epoch and path.

    Says on stderr which ones it passes over. Ends the program if none can be loaded.
    """
    deeper = build_model(config | {"layers": config["layers"] + 1})
    for loss, epoch, path in found:
        reason = failure(model, path)
        if not reason and failure(deeper, path):  # a file that both can load has more
            return loss, epoch, path
        print(f"Passed over {path}: {reason or 'more layers'}", file=sys.stderr)
    advice = "Has build_model been changed? To train anew, move them away."
    sys.exit(f"No checkpoint in {path.parent} can be loaded. {advice}")


def failure(model, path):
    """Load a checkpoint into model, and return why that failed, or None."""
    try:
        model.load_weights(path)  # of a file with more layers, Keras takes some
    except Exception as error:  # noqa: BLE001 - h5py has many for a file cut short
        return " ".join(f"{error!r}".split())


if __name__ == "__main__":
    if hasattr(sys.stdout, "reconfigure"):  # not so in notebooks
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nStopped. The same command goes on from the best epoch, if any.")
    except OSError as error:  # such as a full disk, in h5py's words
        advice = " (--weights names another folder)" if error.filename else ""
        print(f"{error}{advice}", file=sys.stderr, flush=True)
        os._exit(1)  # h5py crashes when it closes a file that was cut short
