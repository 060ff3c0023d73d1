"""Train a character-level LSTM on a book, as the well-known Keras tutorial does.

    python train.py                      # Alice in Wonderland, 30 epochs, batches of 128
    python train.py --bigger             # the larger network, 50 epochs, batches of 64
    python train.py --epochs 60          # go on after a finished or interrupted run
    python train.py mybook.txt           # your own text
    python train.py --one-hot --every-character --epochs 2    # more English, sooner

The network reads windows of 100 characters and learns to predict the character that
follows. After each epoch with the lowest loss so far, its weights are saved in
weights/<name of the text>/, for generate.py, and for the same command to go on from.
"""

import signal

if __name__ == "__main__":  # Ctrl-C then ends imports, training, any backend at once
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import hashlib
import json
import math
import os
import re
import sys
from argparse import ArgumentParser, ArgumentTypeError, RawTextHelpFormatter
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # less start-up chatter
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")  # keeps memory between steps
# One thread on two cores trained faster than two: 190 ms a step against 219
system_tells = hasattr(os, "sched_getaffinity")  # which cores this process may use
cores = len(os.sched_getaffinity(0)) if system_tells else os.cpu_count()
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(max(1, cores // 2)))

import keras
import numpy as np
import tensorflow as tf

HERE = Path(__file__).resolve().parent  # data/ and weights/ are found from anywhere
TEXT = HERE / "data" / "wonderland.txt"
SEQ_LENGTH = 100  # characters in a pattern
NETWORK = {  # the tutorial's first network; each setting has a flag
    "one_hot": False,  # a character goes in as a one-hot row, not as index / n_vocab
    "every_character": False,  # not only the one after a window is a target
    "units": 256,  # memory units of an LSTM layer
    "layers": 1,  # of LSTM
    "dropout": 0.2,  # fraction of an LSTM layer's outputs that training drops
    "input_dropout": 0.0,  # fraction of the first one's inputs that it drops
    "validation_split": 0.0,  # fraction of the text, its end, that is not trained on
    "clip_norm": None,  # longest gradient, over all weights, that is not shortened
}


def say(message):
    """Print message on one line of stderr, so that stdout has nothing but results."""
    print(" ".join(message.split()), file=sys.stderr, flush=True)


def exit_with(message):
    """Print message on one line of stderr and end the program with status 2."""
    say(f"{Path(sys.argv[0]).name}: error: {message}")
    sys.exit(2)


def in_range(kind, low, below=math.inf):
    """Return a converter of flags' values to a kind of number in [low, below)."""

    def number(value):
        if low <= kind(value) < below:
            return kind(value)
        raise ArgumentTypeError(f"{value!r} is not in [{low}, {below})")

    return number


def parse_arguments(argv=None):
    """Return the command line's arguments, with the tutorial's values as defaults."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawTextHelpFormatter)
    parser.error = exit_with
    switch = {"action": "store_true"}
    whole = {"metavar": "N", "type": in_range(int, 1)}
    part = {"metavar": "P", "type": in_range(float, 0, 1)}
    seed = {"metavar": "N", "type": in_range(int, 0, 2**32)}
    norm = {"metavar": "N", "type": in_range(float, 1e-9)}

    flag = parser.add_argument
    flag("text", nargs="?", type=Path, default=TEXT, help="a book (wonderland.txt)")
    flag("--bigger", **switch, help="train the larger network")
    flag("--epochs", **whole, help="train until N epochs are done (30; --bigger: 50)")
    flag("--batch-size", **whole, help="train on N patterns a step (128; --bigger: 64)")
    flag("--encoding", default="utf-8", help="how the book is encoded (utf-8)")
    flag("--weights", metavar="DIR", type=Path, help="save in DIR (weights/<book>)")
    flag("--random-seed", **seed, help="repeat the random choices")

    idea = parser.add_argument_group("the tutorial's ideas").add_argument
    idea("--one-hot", **switch, help="feed characters as one-hot rows, not as numbers")
    idea("--units", **whole, help="give each LSTM layer N memory units (256)")
    idea("--layers", **whole, help="stack N LSTM layers (1; --bigger: 2)")
    idea("--dropout", **part, help="drop the fraction P after each LSTM layer (0.2)")
    idea("--input-dropout", **part, help="drop the fraction P of the input (0)")

    other = parser.add_argument_group("not in the tutorial").add_argument
    other("--every-character", **switch, help="learn to predict after each character")
    other("--validation-split", **part, help="hold out the text's last fraction P (0)")
    other("--clip-norm", **norm, help="shorten gradients that are longer than N")

    parser.set_defaults(**NETWORK | {"layers": None})
    args = parser.parse_args(argv)
    args.epochs = args.epochs or (50 if args.bigger else 30)
    args.batch_size = args.batch_size or (64 if args.bigger else 128)
    args.layers = args.layers or (2 if args.bigger else 1)
    return args


def load_text(path, encoding, advice="name a text file, and its --encoding"):
    """Return a text file in lower case, without Project Gutenberg's header and footer.

    Ends the program, with advice, if path holds no text in encoding, or too little for
    a pattern.
    """
    try:
        text = path.read_text(encoding).removeprefix("\ufeff").lower()
    except (OSError, LookupError, ValueError) as error:
        exit_with(f"cannot read {path}: {error}; {advice}")
    gutenberg = "(?:th(?:e|is) )?project gutenberg"
    text = re.split(rf"(?m)^[* ]*end of {gutenberg}", text, maxsplit=1)[0]
    start = rf"(?m)^[* ]*start of {gutenberg}(?:[^*]{{0,300}}\*\*\*|.*)"
    text = re.split(start, text, maxsplit=1)[-1]
    if len(text) <= SEQ_LENGTH:
        exit_with(f"{path} has only {len(text)} characters; {advice}")
    return text


def encode(text, chars):
    """Return text as a NumPy array of its characters' indices in chars."""
    char_to_int = {char: index for index, char in enumerate(chars)}
    small = np.min_scalar_type(len(chars))  # a byte a character, for most texts
    return np.fromiter(map(char_to_int.get, text), small, len(text))


def make_patterns(encoded, batch_size, every_character=False):
    """Return a text's patterns as an endless dataset of epochs, and the steps in each.

    An epoch is a dataset that has each pattern once, in a new random order. Its batches
    are pairs of indices: X of shape (batch, SEQ_LENGTH, 1), and y of shape (batch,),
    the characters after the windows, or, for every_character, (batch, SEQ_LENGTH), the
    characters after each of X. Ends the program if there is no pattern.
    """
    n_patterns = len(encoded) - SEQ_LENGTH
    if n_patterns < 1:
        exit_with("--validation-split leaves no pattern on a side; name another")

    def epoch(text):
        order = tf.random.shuffle(tf.range(n_patterns))
        starts = tf.data.Dataset.from_tensor_slices(order).batch(batch_size)
        indices = starts.map(lambda start: start[:, None] + tf.range(SEQ_LENGTH + 1))
        windows = indices.map(lambda index: tf.gather(text, index))
        targets = slice(1, None) if every_character else -1
        return windows.map(lambda window: (window[:, :-1, None], window[:, targets]))

    epochs = tf.data.Dataset.from_tensors(encoded).repeat().map(epoch)
    return epochs, math.ceil(n_patterns / batch_size)


def build_model(settings):
    """Return the compiled network that settings describe, with random weights."""
    n_vocab = len(settings["vocab"])
    model = keras.Sequential([keras.Input((settings["seq_length"], 1))])
    if settings["one_hot"]:
        model.add(keras.layers.CategoryEncoding(n_vocab, output_mode="one_hot"))
    else:
        model.add(keras.layers.Rescaling(1 / n_vocab))
    if settings["input_dropout"]:
        model.add(keras.layers.Dropout(settings["input_dropout"]))
    for layer in range(1, settings["layers"] + 1):
        more = settings["every_character"] or layer < settings["layers"]
        model.add(keras.layers.LSTM(settings["units"], return_sequences=more))
        model.add(keras.layers.Dropout(settings["dropout"]))
    model.add(keras.layers.Dense(n_vocab, activation="softmax"))
    adam = keras.optimizers.Adam(global_clipnorm=settings["clip_norm"])
    model.compile(loss="sparse_categorical_crossentropy", optimizer=adam)
    model.optimizer.build(model.trainable_variables)  # or its state is not loaded
    return model


def run_folder(args):
    """Return the folder of the run: --weights, or one named after text and flags."""
    name = args.text.stem + ("-bigger" if args.bigger else "")
    usual = NETWORK | {"layers": 2 if args.bigger else 1}
    for key in NETWORK:
        value = getattr(args, key)
        if value != usual[key]:
            name += f"-{key}".replace("_", "-") + ("" if value is True else f"-{value}")
    return args.weights or HERE / "weights" / name


def run_settings(args, raw_text, chars):
    """Return what run.json records: the text, its characters chars, and the network."""
    path = args.text.resolve()
    path = path.relative_to(HERE) if path.is_relative_to(HERE) else path
    return {
        "text": path.as_posix(),
        "encoding": args.encoding,
        "sha256": hashlib.sha256(raw_text.encode()).hexdigest(),
        "vocab": "".join(chars),
        "seq_length": SEQ_LENGTH,
        **{key: getattr(args, key) for key in NETWORK},
    }


def read_settings(folder):
    """Return the settings in folder's run.json, or end the program."""
    path = folder / "run.json"
    settings = NETWORK | {"text": "", "encoding": "utf-8", "sha256": ""}
    try:
        return settings | json.loads(path.read_text(encoding="utf-8"))
    except (OSError, TypeError, ValueError) as error:
        exit_with(f"{path} describes no run: {error}; restore it or remove {folder}")


def claim(folder, settings):
    """Write settings to folder's run.json; where checkpoints are, they have to agree."""
    path = folder / "run.json"
    if checkpoints(folder):
        there = read_settings(folder)
        keys = set(settings) - {"text", "encoding"}  # the same text, if moved
        differing = sorted(key for key in keys if there.get(key) != settings[key])
        if differing:
            exit_with(f"{path} has other {', '.join(differing)}; name other --weights")
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        exit_with(f"cannot write {path}: {error}; name another --weights folder")


def checkpoint_path(folder, layers):
    """Return the path, for Keras to fill in, of folder's checkpoints."""
    folder = str(folder).replace("{", "{{").replace("}", "}}")  # no fields of Keras's
    name = "weights-improvement-{epoch:02d}-{loss:.4f}"
    return f"{folder}/{name}{'-bigger' if layers > 1 else ''}.weights.h5"


def loss_and_epoch(path):
    """Return the loss and the epoch in a checkpoint's name, or None for another file."""
    name = r"weights-improvement-(\d+)-(\d+\.\d+)(-bigger)?\.weights\.h5"
    match = re.fullmatch(name, path.name)
    return match and (float(match[2]), int(match[1]))


def checkpoints(folder):
    """Return folder's checkpoints, the best first: the latest with the lowest loss."""
    paths = folder.glob("*.h5") if os.path.isdir(folder) else ()
    ours = filter(loss_and_epoch, paths)
    latest_first = sorted(ours, key=lambda path: -loss_and_epoch(path)[1])
    return sorted(latest_first, key=lambda path: loss_and_epoch(path)[0])


def load_best(settings, paths):
    """Return the network with the first checkpoint of paths that loads, and its path.

    Both are None if none does. Says on stderr which ones it passed over, and why.
    """
    for path in paths:
        try:
            model = build_model(settings)  # anew, as a file may load half way
            if "-bigger" in path.name and settings["layers"] == 1:
                raise ValueError("it is another network's")  # Keras might not tell
            model.load_weights(path)
            return model, path
        except Exception as error:  # noqa: BLE001 - h5py and Keras raise many
            why = "damaged, being written, or not of run.json's network"
            say(f"Warning: passed over {path}: {why}: {error}")
    return None, None


def go_on_or_start(settings, folder, epochs):
    """Return the network as folder's best checkpoint has it, its epoch and its loss.

    They are random weights, 0 and None if there is none.
    """
    model, best = load_best(settings, checkpoints(folder))
    if not best:
        return build_model(settings), 0, None
    loss, epoch = loss_and_epoch(best)
    say(f"Going on from {best}: epoch {epoch} of {epochs}")
    if epoch >= epochs:
        say("Nothing is left to train; a higher --epochs goes on")
    return model, epoch, loss


def main(argv=None):
    """Train as the command line says."""
    args = parse_arguments(argv)
    if args.random_seed is not None:
        keras.utils.set_random_seed(args.random_seed)

    # load ascii text and convert to lowercase
    raw_text = load_text(args.text, args.encoding)

    # create mapping of unique chars to integers
    chars = sorted(set(raw_text))

    # summarize the loaded data
    n_chars, n_vocab = len(raw_text), len(chars)
    n_trained = n_chars - int(n_chars * args.validation_split)
    print("Total Characters: ", n_chars)
    print("Total Vocab: ", n_vocab)
    print("Total Patterns: ", n_trained - SEQ_LENGTH, flush=True)

    # record what the weights will be weights of
    folder = run_folder(args)
    settings = run_settings(args, raw_text, chars)
    claim(folder, settings)

    # prepare the dataset of input to output pairs encoded as integers
    encoded = encode(raw_text, chars)
    how = {"batch_size": args.batch_size, "every_character": args.every_character}
    epochs, steps = make_patterns(encoded[:n_trained], **how)
    held_out = None
    if args.validation_split:
        held_out = next(iter(make_patterns(encoded[n_trained:], **how)[0]))

    # define the LSTM model (its first layer normalizes, its loss one-hot encodes)
    model, epoch, loss = go_on_or_start(settings, folder, args.epochs)

    # define the checkpoint
    checkpoint = keras.callbacks.ModelCheckpoint(
        checkpoint_path(folder, args.layers),
        monitor="loss",
        verbose=1,
        save_best_only=True,
        save_weights_only=True,
        mode="min",
        initial_value_threshold=loss,
    )
    log = keras.callbacks.CSVLogger(folder / "log.csv", append=epoch > 0)

    # fit the model
    device = str(keras.ops.ones(1).device).rpartition("device:")[2]
    say(f"Keras runs on {device}")
    try:
        model.fit(
            epochs.skip(epoch).flat_map(lambda batches: batches).prefetch(2),
            epochs=args.epochs,
            initial_epoch=epoch,
            steps_per_epoch=steps,
            callbacks=[checkpoint, log],
            shuffle=False,  # make_patterns does
            validation_data=held_out,
        )
    except (OSError, RuntimeError) as error:  # RuntimeError: HDF5's, of a full disk
        say(f"train.py: error: {error}; earlier checkpoints in {folder} are intact")
        os._exit(2)  # closing a file that was cut short would crash HDF5
    say(f'To write with these weights: python generate.py "{folder}"')


if __name__ == "__main__":
    main()
