"""Training: the networks, their windows, and what a run leaves behind."""

import os
import re
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import (
    BOOK,
    README,
    RUNS,
    TEXT,
    USERS_ENVIRONMENT,
    best_of,
    command_printed,
    losses_in,
    rows_of,
    run,
    train_in,
    windows_of,
)

import generate
import train

# The networks


@pytest.mark.parametrize(("flag", "parameters"), [("", 275_243), ("--bigger", 800_555)])
def test_the_networks_are_the_tutorials(flag, parameters):
    args = train.parse_arguments(flag.split())
    model = train.build_model(args, 43)
    assert model.count_params() == parameters
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == ["Rescaling", *["LSTM", "Dropout"] * (1 + bool(flag)), "Dense"]
    assert {layer.rate for layer in model.layers[2::2]} == {0.2}
    assert model.layers[-1].activation.__name__ == "softmax"
    assert args.text == train.HERE / "data" / "wonderland.txt"
    assert (args.epochs, args.batch_size) == ((50, 64) if flag else (30, 128))
    assert (args.learning_rate, args.clip_norm) == (0.001, None)


def test_modern_is_the_network_that_was_searched_for():
    (row,) = (row for row in rows_of(RUNS) if row[0].startswith("*modern*: "))
    flags = row[0].removeprefix("*modern*: ").strip("`").split()
    flags += ["--one-hot", "--every-character", "--clip-norm", "1", "--epochs", "2"]
    args = train.parse_arguments(flags)
    modern = train.parse_arguments(["--modern"])
    assert vars(modern) == vars(args) | {"modern": True, "weights": modern.weights}
    *layers, _ = train.build_model(modern, 43).layers
    assert [layer.rate for layer in layers[1::2]] == [0.1, 0.5, 0.5, 0.5]
    assert [layer.units for layer in layers[2::2]] == [192, 192, 192]


def test_flags_win_over_presets():
    args = train.parse_arguments(["--bigger", "--layers", "3", "--epochs", "7"])
    assert (args.layers, args.epochs, args.batch_size) == (3, 7, 64)
    args = train.parse_arguments(["--modern", "--dropout", "0.3"])
    assert (args.one_hot, args.every_character, args.dropout) == (True, True, 0.3)


@pytest.mark.parametrize(
    "flags", ["", "--bigger", "--one-hot --every-character --input-dropout 0.1"]
)
def test_on_a_gpu_every_lstm_layer_trains_by_cudnn(flags, monkeypatch):
    """The only test that fakes something of Keras: that TensorFlow has found a GPU."""
    rnn = sys.modules.get("keras.src.backend.tensorflow.rnn")
    if not hasattr(rnn, "_is_gpu_available"):
        pytest.skip("this Keras looks for GPUs in another place")
    monkeypatch.setattr(rnn, "_is_gpu_available", lambda: True)
    gpu = tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [gpu])
    args = train.parse_arguments(flags.split())
    model = train.build_model(args, 43)
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam")
    assert not model.jit_compile  # XLA would go around cuDNN

    y_shape = (128, 100) if args.every_character else (128,)
    batch = tf.TensorSpec((128, 100, 1)), tf.TensorSpec(y_shape, tf.int32)
    graph = tf.function(model.train_step).get_concrete_function(batch).graph
    operations = [operation.type for operation in graph.get_operations()]
    for name in "CudnnRNNV3", "CudnnRNNBackpropV3":
        assert operations.count(name) == args.layers
    assert not any("While" in operation for operation in operations)


@pytest.mark.parametrize("every_character", [False, True])
def test_an_epoch_has_the_tutorials_windows_but_for_those_held_out(
    tmp_path, monkeypatch, capsys, every_character
):
    """At a rate of next to nothing, an epoch's loss is that over all windows."""
    sizes, batches = [], train.batches  # one window more or less is not in the loss
    monkeypatch.setattr(
        train,
        "batches",
        lambda X, *rest, **options: (
            sizes.append(len(X)) or batches(X, *rest, **options)
        ),
    )
    folder, flags = tmp_path / "weights", ["--learning-rate", 1e-9, "--dropout", 0]
    flags += ["--every-character"] * every_character + ["--validation-split", 0.25]
    train_in(folder, *flags, "--epochs", 1, "--batch-size", 100)
    assert "Total Patterns:  400\n" in capsys.readouterr().out

    (X, y), model = windows_of(TEXT, every_character), best_of(folder)
    assert X.shape == (400, 100, 1) and sizes == [300, 100]
    loss = model.evaluate(X[:300], y[:300], verbose=0)
    val_loss = model.evaluate(X[300:], y[300:], verbose=0)
    assert losses_in(folder)[1] == pytest.approx(loss, rel=1e-4)
    assert losses_in(folder, "val_loss")[1] == pytest.approx(val_loss, rel=1e-4)
    assert train.checkpoints(folder)[0][0] == pytest.approx(val_loss, abs=1e-4)


def windows(n):
    """Return X and y of n windows, each of which is known by its first number."""
    cut = np.lib.stride_tricks.sliding_window_view(np.arange(n + 100), 101)
    return cut[:, :-1, np.newaxis], cut[:, -1]


def test_an_epoch_has_each_window_once_in_an_order_of_its_own_which_a_seed_repeats():
    def two_epochs(seed):
        keras.utils.set_random_seed(seed)
        dataset = train.batches(*windows(50), 16, shuffle=True)
        assert len(dataset) == 4  # for the progress bar
        assert not dataset.options().autotune.enabled  # its thread would pause fit
        epochs = []
        for _ in range(2):
            Xs, ys = zip(*dataset.as_numpy_iterator(), strict=True)
            assert [len(y) for y in ys] == [16, 16, 16, 2]
            X, y = np.concatenate(Xs), np.concatenate(ys)
            starts = X[:, 0, 0]
            assert (X == starts[:, None, None] + np.arange(100)[:, None]).all()
            assert (y == starts + 100).all()
            assert sorted(starts) == list(range(50))
            epochs.append(tuple(starts))
        return epochs

    first, again, other = two_epochs(1), two_epochs(1), two_epochs(2)
    assert first == again
    assert len({*first, *other, tuple(range(50))}) == 5


def test_the_whole_of_alice_is_mixed_but_what_is_held_out_keeps_its_order():
    n = len(BOOK) - 100
    X, _ = next(iter(train.batches(*windows(n), 1000, shuffle=True)))
    assert X[:, 0, 0].numpy().min() < 0.05 * n < 0.95 * n < X[:, 0, 0].numpy().max()
    held_out = [y for _, y in train.batches(*windows(50), 16).as_numpy_iterator()]
    assert list(np.concatenate(held_out)) == list(range(100, 150))


# What a run prints and leaves behind


@pytest.mark.parametrize("network", ["first", "bigger"])
def test_a_run_prints_and_leaves_what_the_tutorials_does_and_how_to_write(
    trainings, network
):
    project, ended = trainings["project"], trainings[network]
    assert ended.returncode == 0, ended.stderr
    summary = f"Total Vocab:  {len(set(TEXT))}\nTotal Patterns:  400\n"
    assert ended.stdout.startswith(f"Total Characters:  500\n{summary}")
    assert ("\nEpoch 2/2\n" in ended.stdout) == (network == "first")
    assert "\b" not in ended.stdout  # a bar is for a terminal
    ending = "-bigger" if network == "bigger" else ""
    folder = project / "weights" / f"wonderland{ending}"
    log, text, *paths = sorted(path.name for path in folder.iterdir())
    assert (log, text) == ("log.csv", "text.txt")
    assert (folder / text).read_text("utf-8") == TEXT
    for epoch, path in enumerate(paths, 1):
        name = rf"weights-improvement-0{epoch}-3\.\d{{4}}{ending}\.keras"
        assert re.fullmatch(name, path)
    words = command_printed(ended.stdout)
    assert "Done." in run(project, *words, "--length", 1).stdout


def test_a_user_trains_on_whatever_keras_finds(project):
    args = ["--epochs", 1, "--one-hot", "--units", 8]
    ended = run(project, "train.py", *args, env=USERS_ENVIRONMENT)
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"^Keras runs on [cg]pu:0\b", ended.stdout, re.MULTILINE)
    assert len(train.checkpoints(project / "weights/wonderland-one-hot-units-8")) == 1


@pytest.mark.parametrize("driver", [True, False])
def test_an_nvidia_card_that_keras_does_not_find_is_told_with_what_helps(
    tmp_path, monkeypatch, capsys, driver
):
    name = "nvidia-smi" if os.name == "posix" else "nvidia-smi.bat"
    program = tmp_path / "bin" / (name if driver else "other")
    program.parent.mkdir()
    program.touch(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    train_in(tmp_path / "weights", "--epochs", 1)
    lines = capsys.readouterr().err.splitlines()
    help_lines = [line for line in lines if "found no GPU" in line]
    assert len(help_lines) == driver
    for line in help_lines:
        (command,) = re.findall('pip install ".*"', line)
        assert f"`{command}`" in README or f"\n{command}\n" in README


def test_training_learns_a_phrase_that_greedy_decoding_goes_on_with(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(train, "SEQ_LENGTH", 12)
    folder, phrase = tmp_path / "weights", "a cat sat. "
    flags = ["--one-hot", "--units", 64, "--batch-size", 4, "--random-seed", 1]
    train_in(folder, *flags, "--epochs", 8, text=phrase * 50)
    assert train.checkpoints(folder)[0][0] < 0.2
    capsys.readouterr()
    generate.main([str(folder), "--length", "100"])
    _, seed, written = capsys.readouterr().out.split('"')
    whole = seed[1:-1] + written.removeprefix("\n").removesuffix("\nDone.\n")
    assert len(whole) == 112 and whole in phrase * 50


def test_a_random_seed_repeats_the_run(tmp_path):
    runs = {}
    for name, seed in (
        ("first", 1),
        ("again", 1),
        ("other", 2),
        ("free", ""),
        ("own", ""),
    ):
        flags = ["--random-seed", seed] if seed else []
        train_in(tmp_path / name, "--epochs", 2, *flags)
        runs[name] = losses_in(tmp_path / name)
    assert runs["first"] == pytest.approx(runs["again"], rel=1e-4)
    differ = {round(runs[name][2], 4) for name in ("first", "other", "free", "own")}
    assert len(differ) == 4


def test_a_text_of_101_characters_is_enough(tmp_path, capsys):
    train_in(tmp_path / "weights", "--epochs", 1, text=TEXT[:101])
    generate.main([str(tmp_path / "weights"), "--length", "1"])
    printed = capsys.readouterr().out
    assert "Total Patterns:  1\n" in printed and "Done." in printed


def test_a_text_may_have_more_symbols_than_a_byte_can_count(tmp_path, capsys):
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 300))) * 2
    train_in(tmp_path / "weights", "--epochs", 1, text=text)
    generate.main([str(tmp_path / "weights"), "--length", "1"])
    printed = capsys.readouterr().out
    assert "Total Vocab:  300\n" in printed and "Done." in printed


def test_an_idea_trains_in_a_folder_of_its_own_goes_on_and_generates(
    project, monkeypatch, capsys
):
    monkeypatch.setattr(train, "HERE", project)
    text = (project / "data" / "wonderland.txt").rename(project / "a_{b} $HOME.txt")
    flags = f"{text.name} --bigger --layers 3 --units 8 --input-dropout 0.10"
    name = "a_{b} $HOME-bigger-units-8-layers-3-input-dropout-0.1"
    assert train.parse_arguments(flags.rsplit(maxsplit=7)).weights.name == name
    flags = "--modern --units 8 --layers 1 --dropout 0.20 --random-seed 3"
    for epochs in ("1", "2"):
        train.main([str(text), *flags.split(), "--epochs", epochs])
    folder = project / "weights"
    folder /= "a_{b} $HOME-modern-random-seed-3-units-8-layers-1-dropout-0.2"
    assert list(folder.parent.iterdir()) == [folder]
    printed = capsys.readouterr().out
    assert "with 1 of 2 epochs done\n" in printed
    script, *words = command_printed(printed)
    assert (script, words) == ("generate.py", [str(folder), "--temperature", "0.5"])
    generate.main([*words, "--length", "5"])
    assert "Done." in capsys.readouterr().out
