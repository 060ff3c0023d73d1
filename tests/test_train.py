"""Training: the networks, what a run leaves behind, going on, and mistakes."""

import json
import re
import shlex
import shutil
import signal
import sys

import numpy as np
import pytest
import tensorflow as tf
from conftest import (
    NETWORK,
    TEXT,
    USERS_ENVIRONMENT,
    fails,
    interrupt,
    losses_in,
    only_unix,
    run,
)

import generate
import train

STEPS = 4  # 400 patterns in batches of 128


def contents(folder, pattern="*"):
    """Return what is in each file of folder whose name matches pattern."""
    return {path: path.read_bytes() for path in folder.glob(pattern)}


def load(path):
    """Return the network of one checkpoint, compiled, with the optimizer's state."""
    model = train.build_model(train.read_config(path.parent))
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam")
    model.optimizer.build(model.trainable_variables)
    model.load_weights(path)
    return model


def train_in(folder, *flags, text=TEXT):
    """Train a network of 16 units in folder, unless flags say otherwise."""
    path = folder.parent / "text.txt"
    path.write_text(text, "utf-8")
    args = [path, "--weights", folder, "--units", 16, *flags]
    train.main([str(arg) for arg in args])


# The networks


@pytest.mark.parametrize(("layers", "parameters"), [(1, 275_243), (2, 800_555)])
def test_the_networks_have_the_tutorials_parameters(layers, parameters):
    model = train.build_model(NETWORK | {"layers": layers})
    assert model.count_params() == parameters
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == ["Rescaling"] + ["LSTM", "Dropout"] * layers + ["Dense"]
    assert [layer.rate for layer in model.layers[2::2]] == [0.2] * layers
    assert model.layers[-1].activation.__name__ == "softmax"


def test_bare_commands_train_as_the_tutorial_does_and_flags_win_over_presets():
    small, bigger = train.parse_arguments([]), train.parse_arguments(["--bigger"])
    assert (small.text.name, small.epochs, small.batch_size) == (
        "wonderland.txt",
        30,
        128,
    )
    assert (bigger.text.name, bigger.epochs, bigger.batch_size) == (
        "wonderland.txt",
        50,
        64,
    )
    network = {key: NETWORK[key] for key in NETWORK if key in vars(small)}
    assert len(network) == 6
    assert network.items() <= vars(small).items()
    assert (network | {"layers": 2}).items() <= vars(bigger).items()
    assert small.clip_norm is bigger.clip_norm is None
    mixed = train.parse_arguments(["--bigger", "--layers", "3", "--epochs", "7"])
    assert (mixed.layers, mixed.epochs, mixed.batch_size) == (3, 7, 64)
    modern = train.parse_arguments(["--modern", "--dropout", "0.3"])
    assert (modern.one_hot, modern.every_character, modern.dropout) == (True, True, 0.3)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"layers": 2},
        {"one_hot": True, "every_character": True, "input_dropout": 0.1},
    ],
    ids=str,
)
def test_on_a_gpu_every_lstm_layer_trains_by_cudnn(changes, monkeypatch):
    """The only test that fakes something of Keras: that TensorFlow has found a GPU."""
    rnn = sys.modules.get("keras.src.backend.tensorflow.rnn")
    if not hasattr(rnn, "_is_gpu_available"):
        pytest.skip("this Keras looks for GPUs in another place")
    monkeypatch.setattr(rnn, "_is_gpu_available", lambda: True)
    gpu = tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [gpu])
    config = NETWORK | changes
    model = train.build_model(config)
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam")
    assert not model.jit_compile  # XLA would go around cuDNN

    y_shape = (128, 100) if config["every_character"] else (128,)
    batch = tf.TensorSpec((128, 100, 1)), tf.TensorSpec(y_shape, tf.int32)
    graph = tf.function(model.train_step).get_concrete_function(batch).graph
    operations = [operation.type for operation in graph.get_operations()]
    assert operations.count("CudnnRNNV3") == config["layers"]
    assert operations.count("CudnnRNNBackpropV3") == config["layers"]
    assert not any("While" in operation for operation in operations)


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
def test_a_run_leaves_checkpoints_of_the_tutorials_names_and_its_flags(
    finished, bigger
):
    folder = finished[0] / "weights" / f"wonderland{bigger}"
    log, run_json, *paths = sorted(path.name for path in folder.iterdir())
    assert (log, run_json) == ("log.csv", "run.json")
    for epoch, path in enumerate(paths, 1):
        name = rf"weights-improvement-0{epoch}-3\.\d{{4}}{bigger}\.weights\.h5"
        assert re.fullmatch(name, path)
    config = json.loads((folder / "run.json").read_text())
    assert len(config.pop("sha256")) == 64
    vocab = "".join(sorted(set(TEXT)))
    network = NETWORK | {"vocab": vocab, "layers": 2 if bigger else 1}
    assert network.items() <= config.items()
    assert (config["text"], config["encoding"]) == ("data/wonderland.txt", "utf-8")
    assert config.keys() > vars(train.parse_arguments([])).keys()


def test_training_learns_a_phrase_that_greedy_decoding_goes_on_with(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(train, "SEQ_LENGTH", 12)
    folder, phrase = tmp_path / "weights", "a cat sat. "
    flags = ["--units", 64, "--epochs", 18, "--batch-size", 4, "--random-seed", 1]
    train_in(folder, *flags, text=phrase * 50)
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


def test_a_run_that_goes_on_under_a_seed_ends_as_one_in_one_go(tmp_path):
    once, twice = tmp_path / "once", tmp_path / "twice"
    flags = ["--dropout", 0, "--random-seed", 1, "--epochs"]
    train_in(once, *flags, 3)
    train_in(twice, *flags, 1)
    train_in(twice, *flags, 3)
    assert losses_in(twice) == pytest.approx(losses_in(once), rel=1e-6)


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
            "a {b}-modern-random-seed-3-units-8-layers-1-dropout-0.2",
        ),
        (
            "--bigger --layers 3 --units 8 --input-dropout 0.10 --batch-size 80",
            "a {b}-bigger-batch-size-80-units-8-layers-3-input-dropout-0.1",
        ),
    ],
)
def test_an_idea_trains_in_a_folder_of_its_own_goes_on_and_generates(
    project, monkeypatch, capsys, flags, name
):
    monkeypatch.setattr(train, "HERE", project)
    text = (project / "data" / "wonderland.txt").rename(project / "a {b}.txt")
    for epochs in ("1", "2"):
        train.main([str(text), *flags.split(), "--epochs", epochs])
    printed = capsys.readouterr().out
    assert ", after epoch 1 of 2\n" in printed
    folder = project / "weights" / name
    assert list(folder.parent.iterdir()) == [folder]
    script, *words = command_printed(printed)
    assert (script, words[0]) == ("generate.py", str(folder))
    assert ("--temperature" in words) == ("--modern" in flags)
    generate.main([*words, "--length", "5"])
    assert "Done." in capsys.readouterr().out


def test_the_end_of_the_text_can_be_held_out(tmp_path, capsys):
    folder = tmp_path / "weights"
    train_in(folder, "--epochs", 1, "--validation-split", 0.3)
    assert "Total Patterns:  250\n" in capsys.readouterr().out
    chars = sorted(set(TEXT))
    encoded = np.array([chars.index(char) for char in TEXT])[350:]
    windows = np.lib.stride_tricks.sliding_window_view(encoded, 101)
    model = load(train.checkpoints(folder)[0][2])
    expected = model.evaluate(windows[:, :-1, np.newaxis], windows[:, -1], verbose=0)
    assert losses_in(folder, "val_loss")[1] == pytest.approx(expected, rel=1e-4)


def test_a_gradient_longer_than_the_clip_norm_is_shortened_to_it(tmp_path):
    moments = {}
    for limit in (None, 100.0, 0.001):
        folder = tmp_path / f"{limit}"
        flags = ["--epochs", 1, "--random-seed", 1, "--batch-size", 400]
        train_in(folder, *flags, *(["--clip-norm", limit] if limit else []))
        model = load(train.checkpoints(folder)[0][2])
        first_moments = [v for v in model.optimizer.variables if "momentum" in v.path]
        moments[limit] = np.sqrt(sum(np.sum(np.square(v)) for v in first_moments))
    assert moments[None] == pytest.approx(moments[100.0])
    assert moments[0.001] == pytest.approx(0.1 * 0.001, rel=1e-3)


# Going on


def test_going_on_keeps_the_optimizers_state_and_what_was_there(trained):
    folder = trained / "weights" / "wonderland"
    before, (_, _, best) = contents(folder), train.checkpoints(folder)[0]
    ended = run(trained, "train.py", "--epochs", 7)
    assert ended.returncode == 0, ended.stderr
    assert f"Going on from {best}, after epoch 2 of 7\n" in ended.stdout
    assert "Epoch 2/7" not in ended.stdout and "Epoch 3/7" in ended.stdout
    loss, epoch, latest = train.checkpoints(folder)[0]
    assert epoch > 2
    assert load(latest).optimizer.iterations == epoch * STEPS
    after = contents(folder)
    assert all(
        after[path].startswith(before[path])
        for path in before
        if path.name != "run.json"
    )
    assert list(losses_in(folder)) == list(range(1, 8))
    assert losses_in(folder)[epoch] == pytest.approx(loss, abs=1e-4)


def test_going_on_keeps_the_loss_to_beat(tmp_path, capsys):
    folder = tmp_path / "weights"
    train_in(folder, "--epochs", 1)
    best = train.checkpoints(folder)[0][2]
    shutil.copy(best, folder / "weights-improvement-05-0.0001.weights.h5")
    before = list(folder.glob("*.h5"))
    train_in(folder, "--epochs", 6)
    assert "did not improve from 0.0001" in capsys.readouterr().out
    assert list(folder.glob("*.h5")) == before


def test_going_on_takes_the_learning_rate_given_not_the_checkpoints(tmp_path):
    folder, learned = tmp_path / "weights", {}
    for epoch, rate in (1, 0.01), (2, 1e-9):
        train_in(folder, "--epochs", epoch, "--learning-rate", rate)
        model = load(train.checkpoints(folder)[0][2])
        assert model.optimizer.iterations == epoch * STEPS
        assert float(model.optimizer.learning_rate) == pytest.approx(rate)
        learned[epoch] = model.get_weights()
    for first, second in zip(learned[1], learned[2], strict=True):
        np.testing.assert_allclose(first, second, atol=1e-6)


def test_going_on_asks_only_for_what_the_weights_are_of(tmp_path, capsys):
    """A jump can be mended by a limit; the text may have moved, in another encoding."""
    folder, moved = tmp_path / "weights", tmp_path / "moved.txt"
    train_in(folder, "--epochs", 1)
    (tmp_path / "text.txt").unlink()
    moved.write_text(TEXT, "utf-16")
    flags = "--units 16 --epochs 2 --clip-norm 1 --batch-size 64 --dropout 0.5"
    args = [str(moved), "--encoding", "utf-16", "--weights", str(folder)]
    train.main([*args, *flags.split()])
    assert "\n7/7 - " in capsys.readouterr().out
    config = train.read_config(folder)
    assert (config["text"], config["clip_norm"]) == (moved.as_posix(), 1.0)
    generate.main([str(folder), "--length", "1"])
    assert "Done." in capsys.readouterr().out


def test_a_finished_run_says_so_and_is_left_as_it_is(tmp_path, capsys):
    folder = tmp_path / "weights"
    train_in(folder, "--epochs", 1)
    before = contents(folder)
    train_in(folder, "--epochs", 1)
    assert ", after epoch 1 of 1\n" in capsys.readouterr().out
    assert contents(folder) == before


def test_of_checkpoints_with_equal_losses_the_latest_is_best(tmp_path):
    for name in ("08-1.5000", "09-1.5000", "10-1.5000", "11-1.5001", "100-1.6000"):
        (tmp_path / f"weights-improvement-{name}.weights.h5").touch()
    found = train.checkpoints(tmp_path)
    assert [epoch for _, epoch, _ in found] == [10, 9, 8, 11, 100]


def test_without_its_checkpoints_a_run_starts_anew_and_keeps_its_log(tmp_path):
    folder = tmp_path / "weights"
    train_in(folder, "--epochs", 2)
    for path in folder.glob("*.h5"):
        path.unlink()
    log = folder / "log.csv"
    before = log.read_text() + "2,1.2"  # and a row that was cut short
    log.write_text(before)
    train_in(folder, "--epochs", 1)
    assert log.read_text().startswith(before + "\n0,")
    assert len(list(folder.glob("*.h5"))) == 1


def test_an_older_run_has_the_usual_values_of_newer_flags(trained, monkeypatch, capsys):
    monkeypatch.setattr(train, "HERE", trained)
    folder, text = trained / "weights/wonderland", trained / "data/wonderland.txt"
    path = folder / "run.json"
    config = json.loads(path.read_text())
    for flag in vars(train.parse_arguments([])).keys() - {"text"}:
        del config[flag]
    path.write_text(json.dumps(config))
    generate.main([str(folder), "--length", "1"])
    train.main([str(text), "--weights", str(folder), "--epochs", "3"])
    captured = capsys.readouterr().out
    assert "Done." in captured and ", after epoch 2 of 3\n" in captured


@pytest.mark.parametrize("fraction", [0, 0.99])
@pytest.mark.parametrize("script", [train, generate])
def test_a_checkpoint_cut_short_is_passed_over_unless_it_is_the_last(
    trained, monkeypatch, capsys, script, fraction
):
    monkeypatch.setattr(train, "HERE", trained)
    folder = trained / "weights" / "wonderland"
    text = trained / "data" / "wonderland.txt"
    args = [folder, "--length", 1]
    if script is train:
        args = [text, "--weights", folder, "--epochs", 1]

    def cut_short(path):
        path.write_bytes(path.read_bytes()[: int(fraction * path.stat().st_size)])

    (_, _, best), (_, _, second) = train.checkpoints(folder)
    cut_short(best)
    script.main([str(arg) for arg in args])
    captured = capsys.readouterr()
    assert captured.err.startswith(f"Passed over {best}: ")
    assert f"Passed over {second}" not in captured.err
    assert str(second) in captured.err + captured.out

    cut_short(second)
    before = contents(folder)
    line = fails(capsys, script.main, *args)
    assert f"No checkpoint in {folder} can be loaded." in line
    assert contents(folder) == before


@pytest.mark.parametrize("script", [train, generate])
def test_a_checkpoint_of_more_layers_is_passed_over(
    trained, monkeypatch, capsys, script
):
    monkeypatch.setattr(train, "HERE", trained)
    folder, text = trained / "weights/wonderland", trained / "data/wonderland.txt"
    ((_, _, larger),) = train.checkpoints(trained / "weights/wonderland-bigger")
    alien = folder / "weights-improvement-09-0.0001-bigger.weights.h5"
    shutil.copy(larger, alien)
    best = train.checkpoints(folder)[1][2]
    args = [folder, "--length", 1]
    if script is train:
        args = [text, "--weights", folder, "--epochs", 2]
    script.main([str(arg) for arg in args])
    captured = capsys.readouterr()
    assert f"Passed over {alien}: more layers\n" in captured.err
    assert str(best) in captured.err + captured.out


@pytest.mark.parametrize("checkpoints", [True, False], ids=["with", "without"])
@pytest.mark.parametrize(
    ("flags", "what"),
    [
        ("", "text"),
        ("--units 8", "units"),
        ("--layers 2", "layers"),
        ("--one-hot", "one-hot"),
        ("--validation-split 0.3", "validation-split"),
    ],
)
def test_a_folder_belongs_to_its_run(trained, capsys, flags, what, checkpoints):
    text, folder = trained / "data/wonderland.txt", trained / "weights/wonderland"
    if what == "text":
        text.write_text("another text of the same name. " * 10)
    for path in folder.glob("*.h5"):
        if not checkpoints:  # as in the first epoch
            path.unlink()
    before = contents(folder)
    line = fails(capsys, train.main, text, "--weights", folder, *flags.split())
    assert f"{folder} is of a run with another {what}. " in line
    assert "--weights" in line
    assert contents(folder) == before


# Being cut off


@only_unix
def test_a_run_that_was_interrupted_and_killed_goes_on(project):
    folder = project / "weights" / "wonderland"
    command = ["train.py", "--epochs", "1000"]
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
    ended = run(project, "train.py", "--epochs", killed_after + 5)
    assert ended.returncode == 0, ended.stderr
    _, epoch, latest = train.checkpoints(folder)[0]
    assert epoch > killed_after
    assert load(latest).optimizer.iterations == epoch * STEPS


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
    assert all(after[path] == before[path] for path in folder.glob("*-0[12]-*.h5"))


def test_a_loss_that_is_no_number_ends_the_training_and_loses_nothing(tmp_path, capsys):
    folder = tmp_path / "weights"
    train_in(folder, "--epochs", 1)
    model = load(train.checkpoints(folder)[0][2])
    model.set_weights([np.nan * weights for weights in model.get_weights()])
    model.save_weights(folder / "weights-improvement-02-0.5000.weights.h5")
    before = contents(folder, "*.h5")
    path, flags = tmp_path / "text.txt", ["--units", 16, "--clip-norm", 3]
    line = fails(capsys, train.main, path, "--weights", folder, *flags)
    assert "The loss is NaN" in line and f"--clip-norm 1.5 --weights {folder} " in line
    assert contents(folder, "*.h5") == before


# A student's changes


def edit(project, old, new):
    """Change train.py in a project."""
    path = project / "train.py"
    code = path.read_text(encoding="utf-8")
    assert code.count(old) == 1
    path.write_text(code.replace(old, new), encoding="utf-8")


def test_a_callback_that_ends_the_training_early_is_no_error(project):
    nan = "keras.callbacks.TerminateOnNaN()"
    early = 'keras.callbacks.EarlyStopping("loss", min_delta=9)'
    edit(project, nan, f"{nan}, {early}")
    ended = run(project, "train.py", "--units", 8, "--epochs", 9)
    assert ended.returncode == 0, ended.stderr
    assert "Epoch 3/9" not in ended.stdout
    assert "generate.py" in command_printed(ended.stdout)


def test_a_mistake_in_the_network_is_told_by_python(project):
    first_line = "    n_vocab = len(config"
    edit(project, first_line, f'    raise RuntimeError("mine")\n{first_line}')
    ended = run(project, "train.py")
    assert ended.stderr.endswith("RuntimeError: mine\n") and "Traceback" in ended.stderr


# Mistakes


@pytest.mark.parametrize(
    ("content", "flags", "named"),
    [
        (None, "", "No such file"),
        (b"", "", "0 characters"),
        (b"a" * 100, "", "100 characters"),
        (b"caf\xe9 " * 50, "", "position 3"),
        (b"\x89PNG\r\n" * 50, "", "position 0"),
        (b"abc " * 50, "--encoding klingon", "unknown encoding"),
        (b"abc " * 50, "--validation-split 0.9", "--validation-split"),
        (b"abc " * 50, "--validation-split 0.01", "--validation-split"),
    ],
)
def test_what_has_no_pattern_is_an_error(tmp_path, capsys, content, flags, named):
    path, weights = tmp_path / "book.txt", tmp_path / "weights"
    if content is not None:
        path.write_bytes(content)
    line = fails(capsys, train.main, path, "--weights", weights, *flags.split())
    assert named in line and (str(path) in line or named in flags)
    assert not weights.exists()


def test_a_folder_of_other_things_is_left_alone(tmp_path, capsys):
    assert str(tmp_path) in fails(capsys, train.main, tmp_path)
    (tmp_path / "log.csv").write_text("mine")
    line = fails(capsys, train.main, "--weights", tmp_path)
    assert f"{tmp_path} has no run.json" in line
    assert contents(tmp_path) == {tmp_path / "log.csv": b"mine"}
    for folder in (tmp_path / "log.csv" / "new", tmp_path / ("long" * 99)):
        ended = run(tmp_path, train.__file__, "--weights", folder)
        assert ended.returncode == 1 and "Traceback" not in ended.stderr
        assert f"{folder}' (--weights names another folder)\n" in ended.stderr


@pytest.mark.parametrize(
    "flag",
    [
        "--epochs",
        "--batch-size",
        "--random-seed",
        "--units",
        "--layers",
        "--dropout",
        "--input-dropout",
        "--validation-split",
        "--clip-norm",
        "--learning-rate",
    ],
)
def test_a_number_that_makes_no_sense_is_an_error(capsys, flag):
    impossible = "0" if flag in ("--clip-norm", "--learning-rate") else "1.5"
    for value in ("-1", "many", "", "nan", "inf", impossible):
        line = fails(capsys, train.main, f"{flag}={value}")
        assert flag in line and repr(value) in line
