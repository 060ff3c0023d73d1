"""Training: the networks, what a run leaves behind, going on, and mistakes."""

import re
import shlex
import shutil
import signal
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import (
    TEXT,
    USERS_ENVIRONMENT,
    edited,
    fails,
    interrupt,
    losses_in,
    only_unix,
    run,
    train_in,
)

import generate
import train

STEPS = 4  # 400 patterns in batches of 128
SYMBOLS = "".join(map(chr, range(43)))


def contents(folder, pattern="*"):
    """Return what is in each file of folder whose name matches pattern."""
    return {path: path.read_bytes() for path in folder.glob(pattern)}


def best_of(folder):
    """Return the network, compiled, of a folder's best checkpoint."""
    return keras.models.load_model(train.checkpoints(folder)[0][2])


def windows_of(text, every_character=False):
    """Return the tutorial's windows of a text, and what follows them, by its loop."""
    char_to_int = {char: index for index, char in enumerate(sorted(set(text)))}
    dataX, dataY = [], []
    for i in range(len(text) - 100):
        dataX.append([char_to_int[char] for char in text[i : i + 100]])
        following = text[i + 1 : i + 101] if every_character else text[i + 100]
        dataY.append([char_to_int[char] for char in following])
    return np.reshape(dataX, (len(dataX), 100, 1)), np.array(dataY)


# The networks


@pytest.mark.parametrize(("layers", "parameters"), [(1, 275_243), (2, 800_555)])
def test_the_networks_have_the_tutorials_parameters(layers, parameters):
    args = train.parse_arguments(["--bigger"] if layers == 2 else [])
    model = train.build_model(args, SYMBOLS)
    assert model.count_params() == parameters
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == ["Rescaling"] + ["LSTM", "Dropout"] * layers + ["Dense"]
    assert [layer.rate for layer in model.layers[2::2]] == [0.2] * layers
    assert model.layers[-1].activation.__name__ == "softmax"


def test_bare_commands_train_as_the_tutorial_does_and_flags_win_over_presets():
    small, bigger = train.parse_arguments([]), train.parse_arguments(["--bigger"])
    assert small.text == bigger.text == train.HERE / "data" / "wonderland.txt"
    assert (small.epochs, small.batch_size) == (30, 128)
    assert (bigger.epochs, bigger.batch_size) == (50, 64)
    assert small.learning_rate == bigger.learning_rate == 0.001
    assert small.clip_norm is bigger.clip_norm is None
    mixed = train.parse_arguments(["--bigger", "--layers", "3", "--epochs", "7"])
    assert (mixed.layers, mixed.epochs, mixed.batch_size) == (3, 7, 64)
    modern = train.parse_arguments(["--modern", "--dropout", "0.3"])
    assert (modern.one_hot, modern.every_character, modern.dropout) == (True, True, 0.3)


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
    model = train.build_model(args, SYMBOLS)
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam")
    assert not model.jit_compile  # XLA would go around cuDNN

    y_shape = (128, 100) if args.every_character else (128,)
    batch = tf.TensorSpec((128, 100, 1)), tf.TensorSpec(y_shape, tf.int32)
    graph = tf.function(model.train_step).get_concrete_function(batch).graph
    operations = [operation.type for operation in graph.get_operations()]
    assert operations.count("CudnnRNNV3") == args.layers
    assert operations.count("CudnnRNNBackpropV3") == args.layers
    assert not any("While" in operation for operation in operations)


@pytest.mark.parametrize("every_character", [False, True])
def test_an_epoch_has_the_tutorials_windows(tmp_path, every_character):
    """At a rate of next to nothing, an epoch's loss is that over all windows."""
    folder, flags = tmp_path / "weights", ["--learning-rate", 1e-9, "--dropout", 0]
    flags += ["--every-character"] * every_character
    train_in(folder, *flags, "--epochs", 1, "--batch-size", 100)
    expected = best_of(folder).evaluate(*windows_of(TEXT, every_character), verbose=0)
    assert losses_in(folder)[1] == pytest.approx(expected, rel=1e-4)


def test_the_end_of_the_text_can_be_held_out(tmp_path, capsys):
    folder = tmp_path / "weights"
    train_in(folder, "--epochs", 1, "--validation-split", 0.25)
    assert "Total Patterns:  400\n" in capsys.readouterr().out
    X, y = windows_of(TEXT)
    expected = best_of(folder).evaluate(X[300:], y[300:], verbose=0)
    val_loss = losses_in(folder, "val_loss")[1]
    assert val_loss == pytest.approx(expected, rel=1e-4)
    loss_in_name, _, _ = train.checkpoints(folder)[0]
    assert loss_in_name == pytest.approx(val_loss, abs=1e-4)


# What a run prints and leaves behind


def command_printed(stdout):
    """Return the words, after python, of the command that a training's output ends in."""
    _, command = stdout.splitlines()[-1].split(": ", 1)
    python, *words = shlex.split(command)
    assert python == "python"
    return words


def test_training_prints_the_tutorials_lines_and_how_to_write(finished):
    project, small, bigger = finished
    assert (small.returncode, bigger.returncode) == (0, 0), small.stderr + bigger.stderr
    summary = f"Total Vocab:  {len(set(TEXT))}\nTotal Patterns:  400\n"
    assert small.stdout.startswith(f"Total Characters:  500\n{summary}")
    assert "\nEpoch 2/2\n" in small.stdout and "\n4/4 - " in small.stdout
    assert "\b" not in small.stdout  # a bar is for a terminal
    words = command_printed(small.stdout)
    assert "Done." in run(project, *words, "--length", 1).stdout


def test_a_user_trains_on_whatever_keras_finds(project):
    args = ["--epochs", 1, "--one-hot", "--units", 8]
    ended = run(project, "train.py", *args, env=USERS_ENVIRONMENT)
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"^Keras runs on [cg]pu:0\b", ended.stdout, re.MULTILINE)
    assert len(train.checkpoints(project / "weights/wonderland-one-hot-units-8")) == 1


@pytest.mark.parametrize("bigger", ["", "-bigger"])
def test_a_run_leaves_checkpoints_of_the_tutorials_names_and_its_text(finished, bigger):
    folder = finished[0] / "weights" / f"wonderland{bigger}"
    log, text, *paths = sorted(path.name for path in folder.iterdir())
    assert (log, text) == ("log.csv", "text.txt")
    assert (folder / "text.txt").read_text("utf-8") == TEXT
    for epoch, path in enumerate(paths, 1):
        name = rf"weights-improvement-0{epoch}-3\.\d{{4}}{bigger}\.keras"
        assert re.fullmatch(name, path)


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
    first, again, other = (tmp_path / name for name in ("first", "again", "other"))
    for folder, seed in ((first, 1), (again, 1), (other, 2)):
        train_in(folder, "--epochs", 2, "--random-seed", seed)
    assert losses_in(first) == pytest.approx(losses_in(again), rel=1e-4)
    assert losses_in(first)[2] != pytest.approx(losses_in(other)[2], rel=1e-4)


def test_a_text_may_have_more_symbols_than_a_byte_can_count(tmp_path, capsys):
    folder = tmp_path / "weights"
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 300))) * 2
    train_in(folder, "--epochs", 1, text=text)
    generate.main([str(folder), "--length", "1"])
    captured = capsys.readouterr().out
    assert "Total Vocab:  300\n" in captured and "Done." in captured


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (
            "--modern --units 8 --layers 1 --dropout 0.20 --random-seed 3",
            "a_{b} $HOME-modern-random-seed-3-units-8-layers-1-dropout-0.2",
        ),
        (
            "--bigger --layers 3 --units 8 --input-dropout 0.10 --batch-size 80",
            "a_{b} $HOME-bigger-batch-size-80-units-8-layers-3-input-dropout-0.1",
        ),
    ],
)
def test_an_idea_trains_in_a_folder_of_its_own_goes_on_and_generates(
    project, monkeypatch, capsys, flags, name
):
    monkeypatch.setattr(train, "HERE", project)
    text = (project / "data" / "wonderland.txt").rename(project / "a_{b} $HOME.txt")
    for epochs in ("1", "2"):
        train.main([str(text), *flags.split(), "--epochs", epochs])
    printed = capsys.readouterr().out
    assert "with 1 of 2 epochs done\n" in printed
    folder = project / "weights" / name
    assert list(folder.parent.iterdir()) == [folder]
    script, *words = command_printed(printed)
    assert (script, words[0]) == ("generate.py", str(folder))
    assert ("--temperature" in words) == ("--modern" in flags)
    generate.main([*words, "--length", "5"])
    assert "Done." in capsys.readouterr().out


# Going on


def test_going_on_keeps_the_optimizers_state_and_what_was_there(trained):
    folder = trained / "weights" / "wonderland"
    before, (_, _, best) = contents(folder), train.checkpoints(folder)[0]
    ended = run(trained, "train.py", "--epochs", 7)
    assert ended.returncode == 0, ended.stderr
    assert f"Going on from {best}\n" in ended.stdout
    assert "with 2 of 7 epochs done\n" in ended.stdout
    assert "Epoch 2/7" not in ended.stdout and "Epoch 3/7" in ended.stdout
    loss, epoch, _ = train.checkpoints(folder)[0]
    assert epoch > 2
    assert best_of(folder).optimizer.iterations == epoch * STEPS
    after = contents(folder)
    assert all(after[path].startswith(before[path]) for path in before)
    assert list(losses_in(folder)) == list(range(1, 8))
    assert losses_in(folder)[epoch] == pytest.approx(loss, abs=1e-4)


def test_without_dropout_a_run_that_goes_on_ends_as_in_one_go(tmp_path):
    once, twice = tmp_path / "once", tmp_path / "twice"
    flags = ["--dropout", 0, "--batch-size", 400, "--random-seed", 1, "--epochs"]
    train_in(once, *flags, 3)
    train_in(twice, *flags, 1)
    train_in(twice, *flags, 3)
    assert losses_in(twice) == pytest.approx(losses_in(once), rel=1e-5)


def test_going_on_keeps_the_loss_to_beat(tmp_path, capsys):
    folder = tmp_path / "weights"
    train_in(folder, "--epochs", 1)
    best = train.checkpoints(folder)[0][2]
    shutil.copy(best, folder / "weights-improvement-05-0.0001.keras")
    before = list(folder.glob("*.keras"))
    train_in(folder, "--epochs", 6)
    assert "did not improve from 0.0001" in capsys.readouterr().out
    assert list(folder.glob("*.keras")) == before


def test_going_on_takes_the_rate_and_the_limit_given_not_the_checkpoints(tmp_path):
    folder, learned = tmp_path / "weights", {}
    for epoch, rate, limit in (1, 0.01, 1), (2, 1e-9, 0.5):
        flags = ["--learning-rate", rate, "--clip-norm", limit]
        train_in(folder, "--epochs", epoch, *flags)
        model = best_of(folder)
        assert model.optimizer.iterations == epoch * STEPS
        assert float(model.optimizer.learning_rate) == pytest.approx(rate)
        assert model.optimizer.global_clipnorm == limit
        learned[epoch] = model.get_weights()
    for first, second in zip(learned[1], learned[2], strict=True):
        np.testing.assert_allclose(first, second, atol=1e-6)


def test_a_finished_run_says_so_and_is_left_as_it_is(tmp_path, capsys):
    folder = tmp_path / "weights"
    train_in(folder, "--epochs", 1)
    before = contents(folder)
    train_in(folder, "--epochs", 1)
    assert "with 1 of 1 epochs done\n" in capsys.readouterr().out
    assert contents(folder) == before


def test_of_checkpoints_with_equal_losses_the_latest_is_best(tmp_path):
    for name in ("08-1.5000", "09-1.5000", "10-1.5000", "11-1.5001", "100-1.6000"):
        (tmp_path / f"weights-improvement-{name}.keras").touch()
    found = train.checkpoints(tmp_path)
    assert [epoch for _, epoch, _ in found] == [10, 9, 8, 11, 100]


def test_without_its_checkpoints_a_run_starts_anew_and_keeps_its_log(tmp_path):
    folder = tmp_path / "weights"
    train_in(folder, "--epochs", 2)
    for path in folder.glob("*.keras"):
        path.unlink()
    before = (folder / "log.csv").read_text()
    train_in(folder, "--epochs", 1)
    assert (folder / "log.csv").read_text().startswith(before + "0,")
    assert len(list(folder.glob("*.keras"))) == 1


def spoil(path, how):
    """Cut a file short, or flip a bit in the middle of it."""
    content = bytearray(path.read_bytes())
    if how == "flip":
        content[len(content) // 2] ^= 1
    path.write_bytes(content[: int(how * len(content))] if how != "flip" else content)


@pytest.mark.parametrize("how", [0, 0.99, "flip"])
@pytest.mark.parametrize("script", [train, generate])
def test_a_checkpoint_cut_short_or_damaged_is_passed_over_unless_it_is_the_last(
    trained, monkeypatch, capsys, script, how
):
    monkeypatch.setattr(train, "HERE", trained)
    folder = trained / "weights" / "wonderland"
    text = trained / "data" / "wonderland.txt"
    args = [folder, "--length", 1]
    if script is train:
        args = [text, "--weights", folder, "--epochs", 1]

    (_, _, best), (_, _, second) = train.checkpoints(folder)
    spoil(best, how)
    script.main([str(arg) for arg in args])
    captured = capsys.readouterr()
    assert captured.err.startswith(f"Passed over {best}: ")
    assert f"Passed over {second}" not in captured.err
    assert str(second) in captured.err + captured.out

    spoil(second, how)
    before = contents(folder)
    line = fails(capsys, script.main, *args)
    assert f"No checkpoint in {folder} can be loaded." in line
    assert contents(folder) == before


# A folder belongs to one text and network


GRU = "layers.LSTM(args.units", "layers.GRU(args.units"
RELU = "layers.LSTM(args.units", 'layers.LSTM(args.units, activation="relu"'


@pytest.mark.parametrize(
    ("flags", "edit"),
    [
        ("--units 8", None),
        ("--one-hot", None),
        ("", GRU),
        ("", RELU),  # the same shapes
        ("", ("SEQ_LENGTH = 100", "SEQ_LENGTH = 60")),
    ],
    ids=["units", "one-hot", "GRU", "relu", "60"],
)
def test_another_network_is_refused(trained, capsys, flags, edit):
    text, folder = trained / "data/wonderland.txt", trained / "weights/wonderland"
    before, main = contents(folder), (edited(*edit) if edit else train).main
    line = fails(capsys, main, text, "--weights", folder, *flags.split())
    assert f"{folder} holds a run of another network." in line and "--weights" in line
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("nothing", "another text, of other letters. " * 10),
        ("nothing", TEXT[250:] + TEXT[:250]),  # of the same letters
        ("no checkpoint", TEXT + " "),
        ("no text", TEXT),
        ("another run", TEXT),
        ("no UTF-8", TEXT),
    ],
)
def test_what_is_no_run_of_the_text_is_left_alone(trained, capsys, change, text):
    book, folder = trained / "data/wonderland.txt", trained / "weights/wonderland"
    book.write_text(text)
    if change in ("no checkpoint", "another run"):
        for path in folder.glob("*.keras"):
            path.unlink()
    if change in ("no text", "another run"):
        (folder / "text.txt").unlink()
    if change == "another run":  # of the earlier form
        (folder / "run.json").write_text("{}")
    if change == "no UTF-8":
        (folder / "text.txt").write_bytes(b"\xff" * 500)
    before = contents(folder)
    line = fails(capsys, train.main, book, "--weights", folder)
    assert f"{folder} holds something else than a run of this text. " in line
    assert "--weights" in line
    assert contents(folder) == before


def test_of_two_texts_of_one_name_the_second_is_refused(trained, capsys, monkeypatch):
    monkeypatch.setattr(train, "HERE", trained)
    other = trained / "wonderland.txt"
    other.write_text(TEXT.replace("alice", "celia"))
    folder = trained / "weights" / "wonderland"
    assert f"{folder} holds something else" in fails(capsys, train.main, other)


# Being cut off


@only_unix
def test_a_run_that_was_interrupted_and_killed_goes_on(project):
    folder = project / "weights" / "wonderland"
    command = [
        "train.py",
        "--epochs",
        "1000",
        "--weights",
        str(folder),
        "--units",
        "16",
    ]
    log = folder / "log.csv"  # which an epoch writes after its checkpoint
    status, stderr = interrupt(
        project,
        command,
        signal.SIGINT,
        lambda: log.exists() and len(log.read_text().splitlines()) > 2,
    )
    assert (status, "Traceback" in stderr) == (1, False)
    assert "Stopped. The same command goes on from the best epoch" in stderr
    kill_after = len(train.checkpoints(folder)) + 1
    status, _ = interrupt(
        project,
        command,
        signal.SIGKILL,
        lambda: len(train.checkpoints(folder)) >= kill_after,
    )
    assert status == -signal.SIGKILL
    _, killed_after, _ = train.checkpoints(folder)[0]
    command[2] = str(killed_after + 5)
    ended = run(project, *command)
    assert ended.returncode == 0, ended.stderr
    _, epoch, _ = train.checkpoints(folder)[0]
    assert epoch >= killed_after
    assert best_of(folder).optimizer.iterations == epoch * STEPS


@only_unix
def test_a_full_disk_leaves_earlier_checkpoints_intact(trained):
    import resource

    folder = trained / "weights" / "wonderland"
    before = contents(folder)

    def limit():  # no file may grow beyond a megabyte
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))

    ended = run(trained, "train.py", "--epochs", 7, preexec_fn=limit)
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "File too large" in ended.stderr
    after = contents(folder)
    assert all(after[path] == before[path] for path in folder.glob("*-0[12]-*"))


@pytest.mark.parametrize("epochs_before", [0, 1])
def test_a_loss_that_is_no_number_ends_the_training_and_loses_nothing(
    tmp_path, capsys, epochs_before
):
    folder = tmp_path / "weights"
    if epochs_before:
        train_in(folder, "--epochs", 1)
    before = contents(folder, "*.keras")
    senseless = ["--epochs", 3, "--learning-rate", 1e38]
    line = fails(capsys, lambda args: train_in(folder, *args), *senseless)
    assert "The loss is no number any more." in line
    assert f"--weights {folder} and --clip-norm 1" in line
    assert contents(folder, "*.keras") == before


# A student's changes


def test_generate_writes_with_a_network_that_only_build_model_names(tmp_path, capsys):
    folder = tmp_path / "weights"
    for epochs in 1, 2:
        train_in(folder, "--epochs", epochs, main=edited(*GRU).main)
    assert "with 1 of 2 epochs done\n" in capsys.readouterr().out
    generate.main([str(folder), "--length", "5"])
    assert "Done." in capsys.readouterr().out


def test_a_layer_that_cannot_be_loaded_again_fails_before_the_first_epoch(tmp_path):
    mine = "layers.Lambda(lambda x: x)"
    module = edited("layers.Dropout(args.dropout)", mine)
    with pytest.raises(ValueError, match="Lambda"):
        train_in(tmp_path / "weights", "--epochs", 1, main=module.main)
    assert not (tmp_path / "weights").exists()


def test_a_students_mistake_keeps_its_traceback(project):
    code = (project / "train.py").read_text(encoding="utf-8")
    first_line = "    n_vocab = len(chars)\n    model"
    assert code.count(first_line) == 1
    mistaken = code.replace(first_line, f"    raise RuntimeError('mine')\n{first_line}")
    (project / "train.py").write_text(mistaken, encoding="utf-8")
    ended = run(project, "train.py")
    assert ended.stderr.endswith("RuntimeError: mine\n") and "Traceback" in ended.stderr


# Mistakes


@pytest.mark.parametrize(
    ("content", "flags", "named"),
    [
        (None, "", "No such file"),
        (b"", "", "has 0 characters"),
        (b"a" * 100, "", "100 characters"),
        (b"caf\xe9 " * 50, "", "position 3"),
        (b"\x89PNG\r\n" * 50, "", "position 0"),
        (b"abc " * 50, "--encoding klingon", "unknown encoding"),
    ],
)
def test_what_has_no_pattern_is_an_error(tmp_path, capsys, content, flags, named):
    path, weights = tmp_path / "book.txt", tmp_path / "weights"
    if content is not None:
        path.write_bytes(content)
    line = fails(capsys, train.main, path, "--weights", weights, *flags.split())
    assert named in line and str(path) in line
    assert not weights.exists()


@only_unix
def test_a_folder_that_cannot_be_made_or_is_a_text_is_an_error(tmp_path, capsys):
    assert str(tmp_path) in fails(capsys, train.main, tmp_path)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="Not a directory: .*file/new"):  # told in a line
        train.main(["--weights", str(tmp_path / "file" / "new")])


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--epochs", "0"),
        ("--batch-size", "1.5"),
        ("--random-seed", "-1"),
        ("--units", "many"),
        ("--layers", ""),
        ("--dropout", "1.5"),
        ("--input-dropout", "nan"),
        ("--validation-split", "-0.1"),
        ("--clip-norm", "0"),
        ("--learning-rate", "inf"),
    ],
)
def test_a_number_that_makes_no_sense_is_an_error(capsys, flag, value):
    line = fails(capsys, train.main, f"{flag}={value}")
    assert flag in line and repr(value) in line
