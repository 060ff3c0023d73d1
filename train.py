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

import hashlib
import json
import math
import os
import re
import signal
import sys
from argparse import SUPPRESS, ArgumentParser, RawTextHelpFormatter
from pathlib import Path

if __name__ == "__main__":  # Ctrl-C then ends imports, training, any backend at once
    signal.signal(signal.SIGINT, signal.SIG_DFL)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # less start-up chatter
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")  # keeps memory between steps
# A thread for each physical core is fastest, and what a cloud calls a core is half one
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(max(1, os.cpu_count() // 2)))

import keras
import numpy as np
import tensorflow as tf

HERE = Path(__file__).resolve().parent  # data/ and weights/ are found from anywhere
TEXT = HERE / "data" / "wonderland.txt"
SEQ_LENGTH = 100  # characters in a pattern
NETWORK = {  # the tutorial's first, and the ideas that train.py has flags for
    "one_hot": False,  # a character goes in as a one-hot row, not as index / n_vocab
    "every_character": False,  # not only the one after a window is a target
    "units": 256,  # memory units of an LSTM layer
    "layers": 1,  # of LSTM
    "dropout": 0.2,  # share of an LSTM layer's outputs that training drops
    "input_dropout": 0.0,  # share of the first one's inputs that it drops
    "validation_split": 0.0,  # share of the text, its end, that is not trained on
}


def fail(message, end=sys.exit):
    """Print message on one line of stderr and end the program with status 2."""
    program = Path(sys.argv[0]).name
    print(f"{program}: error: {' '.join(message.split())}", file=sys.stderr, flush=True)
    end(2)


def number(kind, low, below=math.inf):
    """Return a converter of arguments to numbers of a kind, in [low, below)."""

    def convert(value):
        if low <= kind(value) < below:
            return kind(value)
        raise ValueError(value)

    limit = f"-below-{below}" if below < math.inf else ""
    convert.__name__ = f"{low}-or-more{limit}"  # as in "invalid 1-or-more value: '0'"
    return convert


def parse_arguments(argv=None):
    """Return the command line's arguments, with the tutorial's values as defaults."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawTextHelpFormatter)
    parser.error = fail
    add = parser.add_argument
    add("text", nargs="?", type=Path, default=TEXT, help="a file (data/wonderland.txt)")
    add("--bigger", action="store_true", help="train the larger network")
    add("--epochs", type=number(int, 1), help="to train up to (30; 50 if --bigger)")
    add("--batch-size", type=number(int, 1), help="patterns (128; 64 if --bigger)")
    add("--encoding", default="utf-8", help="of the text (utf-8)")
    add("--weights", type=Path, help="folder (weights/<text and flags>)")
    add("--random-seed", type=number(int, 0, 2**32), help="repeat the same choices")
    ideas = parser.add_argument_group("the tutorial's ideas", argument_default=SUPPRESS)
    add, share = ideas.add_argument, number(float, 0, 1)
    add("--one-hot", action="store_true", help="one-hot rows as input, not numbers")
    add("--every-character", action="store_true", help="predict after each character")
    add("--units", type=number(int, 1), help="memory units of an LSTM layer (256)")
    add("--layers", type=number(int, 1), help="LSTM layers (1; 2 if --bigger)")
    add("--dropout", type=share, help="share dropped after an LSTM layer (0.2)")
    add("--input-dropout", type=share, help="share dropped before the first (0)")
    add("--validation-split", type=share, help="share not trained on (0)")
    args = parser.parse_args(argv)
    args.epochs = args.epochs or (50 if args.bigger else 30)
    args.batch_size = args.batch_size or (64 if args.bigger else 128)
    return args


def load_text(path, encoding):
    """Return a text file in lower case, without Project Gutenberg's header and footer.

    Ends the program if path holds no text in encoding, or too little for a pattern.
    """
    try:
        text = path.read_text(encoding).removeprefix("\ufeff").lower()
    except (OSError, LookupError, ValueError) as error:
        fail(f"cannot read {path}: {error}; name a text file, and its --encoding")
    gutenberg = "(?:th(?:e|is) )?project gutenberg"
    text = re.split(rf"(?m)^[* ]*end of {gutenberg}", text, maxsplit=1)[0]
    start = rf"(?m)^[* ]*start of {gutenberg}(?:[^*]{{0,300}}\*\*\*|.*)"
    text = re.split(start, text, maxsplit=1)[-1]
    if len(text) <= SEQ_LENGTH:
        fail(f"{path} has {len(text)} characters; name one of more than {SEQ_LENGTH}")
    return text


def encode(text, chars):
    """Return text as a NumPy array of its characters' indices in chars."""
    char_to_int = {char: index for index, char in enumerate(chars)}
    small = np.min_scalar_type(len(chars))  # a byte a character, for most texts
    return np.fromiter(map(char_to_int.get, text), small, len(text))


def make_patterns(encoded, batch_size, every_character=False):
    """Return an endless dataset of a text's patterns, and the batches of an epoch.

    X has shape (batch, SEQ_LENGTH, 1). y has shape (batch,), of the characters after
    X's windows, or (batch, SEQ_LENGTH), of those after every_character of X's. Both are
    indices. An epoch has each pattern once, in a new random order.
    """

    def epoch(text):
        order = tf.random.shuffle(tf.range(len(encoded) - SEQ_LENGTH))
        starts = tf.data.Dataset.from_tensor_slices(order).batch(batch_size)
        indices = starts.map(lambda start: start[:, None] + tf.range(SEQ_LENGTH + 1))
        windows = indices.map(lambda index: tf.gather(text, index))
        targets = slice(1, None) if every_character else -1
        return windows.map(lambda window: (window[:, :-1, None], window[:, targets]))

    texts = tf.data.Dataset.from_tensors(encoded).repeat()
    steps = math.ceil((len(encoded) - SEQ_LENGTH) / batch_size)
    return texts.flat_map(epoch).prefetch(tf.data.AUTOTUNE), steps


def build_model(settings):
    """Return the compiled network that settings describe, with random weights."""
    n_vocab = len(set(settings["vocab"]))
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
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam")
    model.optimizer.build(model.trainable_variables)  # or its state is not loaded
    return model


def read_settings(folder):
    """Return the settings in folder's run.json, or end the program."""
    path = folder / "run.json"
    try:
        settings = NETWORK | {"text": "", "encoding": "utf-8", "sha256": ""}
        settings |= json.loads(path.read_text(encoding="utf-8"))
        build_model(settings)
    except Exception as error:  # noqa: BLE001 - whatever Keras raises
        fail(f"{path} describes no network: {error!r}; restore it or remove {folder}")
    return settings


def record(settings, folder):
    """Write settings to folder's run.json; where there is one, it has to agree."""
    path = folder / "run.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists() or checkpoints(folder):
            there = read_settings(folder)
            keys = set(settings) - {"text", "encoding"}  # the same text, if moved
            differing = sorted(key for key in keys if there.get(key) != settings[key])
            if differing:
                fail(f"{path} has other {', '.join(differing)}; name other --weights")
        else:
            path.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
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


def load_best(settings, paths):
    """Return the network with the first checkpoint of paths that loads, and its path.

    They are random weights and None if none does. Last comes why, or "".
    """
    reason = ""
    for count, path in enumerate(paths, 1):
        model = build_model(settings)
        try:
            if "-bigger" in path.name and settings["layers"] == 1:
                raise ValueError("it is another network's")  # Keras might not tell
            model.load_weights(path)
            return model, path, reason
        except Exception as error:  # noqa: BLE001 - h5py and Keras raise many
            reason = f"{count} passed over, {path}, damaged or being written: {error}"
    return build_model(settings), None, reason


def main(argv=None):
    """Train as the command line says."""
    args = parse_arguments(argv)

    # load ascii text and convert to lowercase
    raw_text = load_text(args.text, args.encoding)

    # create mapping of unique chars to integers
    chars = sorted(set(raw_text))

    # summarize the loaded data
    n_chars, n_vocab = len(raw_text), len(chars)
    share = getattr(args, "validation_split", 0)
    n_trained = n_chars - int(n_chars * share)
    if share and min(n_trained, n_chars - n_trained) <= SEQ_LENGTH:
        fail(f"--validation-split {share} leaves no pattern on a side of {args.text}")
    print("Total Characters: ", n_chars)
    print("Total Vocab: ", n_vocab)
    print("Total Patterns: ", n_trained - SEQ_LENGTH, flush=True)

    # record what the weights will be weights of
    preset = NETWORK | {"layers": 2 if args.bigger else 1}
    network = {key: getattr(args, key, preset[key]) for key in NETWORK}
    name = args.text.stem + ("-bigger" if args.bigger else "")
    for key, value in network.items():
        if value != preset[key]:
            name += f"-{key}".replace("_", "-") + ("" if value is True else f"-{value}")
    folder = args.weights or HERE / "weights" / name
    path = args.text.resolve()
    path = path.relative_to(HERE) if path.is_relative_to(HERE) else path
    settings = {
        "text": path.as_posix(),
        "encoding": args.encoding,
        "sha256": hashlib.sha256(raw_text.encode()).hexdigest(),
        "vocab": "".join(chars),
        "seq_length": SEQ_LENGTH,
        **network,
    }
    record(settings, folder)

    # prepare the dataset of input to output pairs encoded as integers,
    # reshape X to be [samples, time steps, features]
    if args.random_seed is not None:
        keras.utils.set_random_seed(args.random_seed)
    encoded = encode(raw_text, chars)
    options = (args.batch_size, network["every_character"])
    patterns, steps = make_patterns(encoded[:n_trained], *options)
    held_out = make_patterns(encoded[n_trained:], *options) if share else (None, None)

    # normalize, one hot encode the output variable: the network's first layer, its loss
    # define the LSTM model, as it was after its best epoch if the run goes on
    model, best, reason = load_best(settings, checkpoints(folder))
    loss, epoch = loss_and_epoch(best) if best else (None, 0)
    if reason:
        print(f"Warning: {reason}", file=sys.stderr)
    if best:
        print(f"Going on from {best}: epoch {epoch} of {args.epochs}", file=sys.stderr)

    # define the checkpoint
    bigger = "-bigger" if network["layers"] > 1 else ""
    checkpoint = keras.callbacks.ModelCheckpoint(
        folder / f"weights-improvement-{{epoch:02d}}-{{loss:.4f}}{bigger}.weights.h5",
        monitor="loss",
        verbose=1,
        save_best_only=True,
        save_weights_only=True,
        mode="min",
        initial_value_threshold=loss,
    )
    log = keras.callbacks.CSVLogger(folder / "log.csv", append=True)

    # fit the model
    device = str(keras.ops.ones(1).device).rpartition("device:")[2]
    hint = "; for a GPU, see README.md" if "cpu" in device.lower() else ""
    print(f"Training on {device}{hint}", file=sys.stderr)
    try:
        model.fit(
            patterns,
            epochs=args.epochs,
            initial_epoch=epoch,
            steps_per_epoch=steps,
            callbacks=[checkpoint, log],
            shuffle=False,  # make_patterns does
            validation_data=held_out[0],
            validation_steps=held_out[1],
        )
    except (OSError, RuntimeError) as error:  # RuntimeError: HDF5's, of a full disk
        # Closing a file that was cut short would crash HDF5, so end without that
        fail(f"{error}; earlier checkpoints in {folder} are intact", os._exit)


if __name__ == "__main__":
    main()
