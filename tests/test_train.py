"""Training: the networks, what a run leaves behind, and going on."""

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import TEXT, USERS_ENVIRONMENT, fails, losses_in, only_unix, run

import generate
import train

STEPS = 4  # 400 patterns in batches of 128
SETTINGS = train.NETWORK | {"vocab": "".join(map(chr, range(43))), "seq_length": 100}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def contents(folder):
    """Return what is in each file of folder but log.csv, which grows."""
    paths = (path for path in folder.iterdir() if path.name != "log.csv")
    return {path: path.read_bytes() for path in paths}


def losses(folder):
    return losses_in(folder / "log.csv")


def epoch_of(path):
    return train.loss_and_epoch(path)[1]


def last_epoch(folder):
    return max(map(epoch_of, train.checkpoints(folder)))


def steps_taken(folder):
    """Return the steps in the optimizer's state of the folder's latest checkpoint."""
    model = train.build_model(train.read_settings(folder))
    model.load_weights(max(train.checkpoints(folder), key=epoch_of))
    return int(model.optimizer.iterations)


def train_in(folder, *flags, text=TEXT):
    """Train a network of 16 units in folder, unless flags say otherwise."""
    path = folder.parent / "text.txt"
    path.write_text(text)
    args = [path, "--weights", folder, "--units", 16, *flags]
    train.main([str(arg) for arg in args])


# The networks


@pytest.mark.parametrize(("layers", "parameters"), [(1, 275_243), (2, 800_555)])
def test_the_networks_have_the_tutorials_parameters(layers, parameters):
    model = train.build_model({**SETTINGS, "layers": layers})
    assert model.count_params() == parameters
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == ["Rescaling"] + ["LSTM", "Dropout"] * layers + ["Dense"]
    assert [layer.rate for layer in model.layers[2::2]] == [0.2] * layers
    assert model.layers[-1].activation.__name__ == "softmax"


def test_bare_commands_train_as_the_tutorial_does():
    small, bigger = train.parse_arguments([]), train.parse_arguments(["--bigger"])
    assert (small.text, small.epochs, small.batch_size) == (train.TEXT, 30, 128)
    assert (bigger.text, bigger.epochs, bigger.batch_size) == (train.TEXT, 50, 64)
    assert {key: getattr(small, key) for key in train.NETWORK} == train.NETWORK
    assert bigger.layers == 2


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
        pytest.skip("this Keras, or its backend, looks for GPUs in another place")
    monkeypatch.setattr(rnn, "_is_gpu_available", lambda: True)
    gpu = tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [gpu])
    settings = SETTINGS | changes
    model = train.build_model(settings)
    assert not model.jit_compile  # XLA would go around cuDNN

    y_shape = (128, 100) if settings["every_character"] else (128,)
    batch = tf.TensorSpec((128, 100, 1)), tf.TensorSpec(y_shape, tf.int32)
    graph = tf.function(model.train_step).get_concrete_function(batch).graph
    operations = [operation.type for operation in graph.get_operations()]
    assert operations.count("CudnnRNNV3") == settings["layers"]
    assert operations.count("CudnnRNNBackpropV3") == settings["layers"]
    assert not any("While" in operation for operation in operations)


# What a run prints and leaves behind


def test_training_prints_the_tutorials_lines_and_how_to_write(finished):
    project, small, bigger = finished
    assert (small.returncode, bigger.returncode) == (0, 0), small.stderr + bigger.stderr
    summary = f"Total Vocab:  {len(set(TEXT))}\nTotal Patterns:  400\n"
    assert small.stdout.startswith(f"Total Characters:  500\n{summary}")
    assert "Epoch 2/2" in small.stdout and "4/4" in small.stdout
    _, command = small.stderr.splitlines()[-1].split(": ", 1)
    python, *words = shlex.split(command)
    assert python == "python"
    assert "Done." in run(project, *words, "--length", 1).stdout


def test_a_user_trains_on_whatever_keras_finds(project):
    args = ["--epochs", 1, "--one-hot", "--units", 8]
    ended = run(project, "train.py", *args, env=USERS_ENVIRONMENT)
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"^Keras runs on \S+$", ended.stderr, re.MULTILINE)
    assert len(train.checkpoints(project / "weights/wonderland-one-hot-units-8")) == 1


@pytest.mark.parametrize("bigger", ["", "-bigger"])
def test_a_run_leaves_checkpoints_of_the_tutorials_names_and_settings(finished, bigger):
    folder = finished[0] / "weights" / f"wonderland{bigger}"
    log, run_json, *paths = names(folder)
    assert (log, run_json) == ("log.csv", "run.json")
    for epoch, path in enumerate(paths, 1):
        name = rf"weights-improvement-0{epoch}-3\.\d{{4}}{bigger}\.weights\.h5"
        assert re.fullmatch(name, path)
    settings = json.loads((folder / "run.json").read_text())
    assert len(settings.pop("sha256")) == 64
    expected = {"text": "data/wonderland.txt", "encoding": "utf-8", **SETTINGS}
    expected["vocab"] = "".join(sorted(set(TEXT)))
    expected["layers"] = 2 if bigger else 1
    assert settings == expected


def test_training_learns_a_phrase_that_greedy_decoding_goes_on_with(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(train, "SEQ_LENGTH", 12)
    folder, phrase = tmp_path / "weights", "a cat sat. "
    flags = ["--units", 64, "--epochs", 18, "--batch-size", 4, "--random-seed", 1]
    train_in(folder, *flags, text=phrase * 50)
    assert train.loss_and_epoch(train.checkpoints(folder)[0])[0] < 0.2
    capsys.readouterr()
    generate.main([str(folder), "--length", "100"])
    _, seed, written = capsys.readouterr().out.split('"')
    whole = seed[1:-1] + written.removeprefix("\n").removesuffix("\nDone.\n")
    assert len(whole) == 112 and whole in phrase * 50


def test_a_random_seed_repeats_the_run(tmp_path):
    first, again, other = (tmp_path / name for name in ("first", "again", "other"))
    for folder, seed in ((first, 1), (again, 1), (other, 2)):
        train_in(folder, "--epochs", 2, "--random-seed", seed)
    assert losses(first) == pytest.approx(losses(again), rel=1e-4)
    assert losses(first)[2] != pytest.approx(losses(other)[2], rel=1e-4)


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (
            "--every-character --one-hot --units 8 --dropout 0.20",
            "wonderland-one-hot-every-character-units-8",
        ),
        (
            "--units 8 --layers 3 --dropout 0",
            "wonderland-units-8-layers-3-dropout-0.0",
        ),
        (
            "--bigger --layers 1 --units 8 --input-dropout 0.10 --clip-norm 1",
            "wonderland-bigger-units-8-layers-1-input-dropout-0.1-clip-norm-1.0",
        ),
    ],
)
def test_an_idea_trains_in_a_folder_of_its_own_goes_on_and_generates(
    project, monkeypatch, capsys, flags, name
):
    monkeypatch.setattr(train, "HERE", project)
    text = str(project / "data" / "wonderland.txt")
    for epochs in ("1", "2"):
        train.main([text, *flags.split(), "--epochs", epochs])
    assert "epoch 1 of 2\n" in capsys.readouterr().err
    folder = project / "weights" / name
    assert list(folder.parent.iterdir()) == [folder]
    generate.main([str(folder), "--length", "5"])
    assert "Done." in capsys.readouterr().out


def test_the_end_of_the_text_can_be_held_out(tmp_path, capsys):
    folder = tmp_path / "weights"
    train_in(folder, "--epochs", 1, "--validation-split", 0.3)
    assert "Total Patterns:  250\n" in capsys.readouterr().out
    model, _ = train.load_best(train.read_settings(folder), train.checkpoints(folder))
    encoded = train.encode(TEXT, sorted(set(TEXT)))[350:]
    windows = np.lib.stride_tricks.sliding_window_view(encoded, 101)
    expected = model.evaluate(windows[:, :-1, np.newaxis], windows[:, -1], verbose=0)
    logged = float((folder / "log.csv").read_text().split(",")[-1])
    assert logged == pytest.approx(expected, rel=1e-4)
    for split in (0.9, 0.01):
        args = [tmp_path / "text.txt", "--weights", tmp_path / "new"]
        line = fails(capsys, train.main, *args, "--validation-split", split)
        assert "--validation-split" in line


def test_a_gradient_longer_than_the_clip_norm_is_shortened_to_it():
    settings = SETTINGS | {"units": 8}
    x, y = np.ones((2, 100, 1)), np.array([3, 4])
    moments = {}
    for limit in (None, 100.0, 0.001):
        keras.utils.set_random_seed(1)
        model = train.build_model(settings | {"clip_norm": limit})
        model.train_on_batch(x, y)
        first_moments = [v for v in model.optimizer.variables if "momentum" in v.path]
        moments[limit] = np.sqrt(sum(np.sum(np.square(v)) for v in first_moments))
    assert moments[None] == pytest.approx(moments[100.0])
    assert moments[0.001] == pytest.approx(0.1 * 0.001, rel=1e-3)


# Going on


def test_going_on_keeps_the_optimizers_state_and_what_was_there(trained):
    folder = trained / "weights" / "wonderland"
    before, best = contents(folder), train.checkpoints(folder)[0]
    ended = run(trained, "train.py", "--epochs", 7)
    assert ended.returncode == 0, ended.stderr
    assert f"Going on from {best}: epoch 2 of 7\n" in ended.stderr
    assert "Epoch 2/7" not in ended.stdout and "Epoch 3/7" in ended.stdout
    assert last_epoch(folder) > 2
    assert steps_taken(folder) == last_epoch(folder) * STEPS
    assert before.items() <= contents(folder).items()
    assert list(losses(folder)) == list(range(1, 8))
    for loss, epoch in map(train.loss_and_epoch, train.checkpoints(folder)):
        assert losses(folder)[epoch] == pytest.approx(loss, abs=1e-4)


def test_going_on_keeps_the_loss_to_beat(trained):
    folder = trained / "weights" / "wonderland"
    best = train.checkpoints(folder)[0]
    shutil.copy(best, folder / "weights-improvement-05-0.0001.weights.h5")
    before = names(folder)
    ended = run(trained, "train.py", "--epochs", 6)
    assert "did not improve from 0.0001" in ended.stdout
    assert names(folder) == before


def test_going_on_under_a_random_seed_goes_on_with_the_orders(tmp_path):
    flags = ["--dropout", 0, "--batch-size", 16, "--random-seed", 1, "--epochs"]
    at_once, in_turn = tmp_path / "at once", tmp_path / "in turn"
    train_in(at_once, *flags, 3)
    train_in(in_turn, *flags, 1)
    train_in(in_turn, *flags, 3)
    assert losses(in_turn) == pytest.approx(losses(at_once), rel=1e-5)


def test_a_finished_run_says_that_nothing_is_left_to_train(tmp_path, capsys):
    folder = tmp_path / "weights"
    train_in(folder, "--epochs", 1)
    before = contents(folder)
    train_in(folder, "--epochs", 1, "--batch-size", 32)
    err = capsys.readouterr().err
    assert "Nothing is left to train; a higher --epochs goes on\n" in err
    assert contents(folder) == before and list(losses(folder)) == [1]


def test_of_checkpoints_with_equal_losses_the_latest_is_best(tmp_path):
    for name in ("08-1.5000", "09-1.5000", "10-1.5000", "11-1.5001", "100-1.6000"):
        (tmp_path / f"weights-improvement-{name}.weights.h5").touch()
    paths = train.checkpoints(tmp_path)
    assert list(map(epoch_of, paths)) == [10, 9, 8, 11, 100]


def test_a_checkpoint_of_the_other_network_is_passed_over(trained, capsys):
    small = trained / "weights" / "wonderland"
    bigger = trained / "weights" / "wonderland-bigger"
    for folder, other in ((small, bigger), (bigger, small)):
        paths = train.checkpoints(other)[:1]
        assert train.load_best(train.read_settings(folder), paths) == (None, None)
        assert "not of run.json's network" in capsys.readouterr().err


@pytest.mark.parametrize("fraction", [0, 0.01, 0.5, 0.99])
def test_a_checkpoint_cut_short_is_passed_over(trained, fraction):
    folder = trained / "weights" / "wonderland"
    best, second = train.checkpoints(folder)
    best.write_bytes(best.read_bytes()[: int(fraction * best.stat().st_size)])
    ended = run(trained, "train.py", "--epochs", 1)
    (line,) = re.findall("^Warning: .*$", ended.stderr, re.MULTILINE)
    assert line.startswith(f"Warning: passed over {best}: damaged, being written")
    assert f"Going on from {second}: epoch 1 of 1\n" in ended.stderr


def test_without_a_checkpoint_that_loads_training_starts(tmp_path, capsys):
    folder = tmp_path / "weights"
    train_in(folder, "--epochs", 1)
    train.checkpoints(folder)[0].write_bytes(b"")
    train_in(folder, "--epochs", 2)
    assert "Going on" not in capsys.readouterr().err
    assert list(losses(folder)) == [1, 2]
    assert steps_taken(folder) == 2 * STEPS


@pytest.mark.parametrize("left", ['{"vocab": "abc", "units": 9}', "", None])
def test_a_run_that_died_before_its_first_checkpoint_claims_nothing(tmp_path, left):
    folder = tmp_path / "weights"
    folder.mkdir()
    if left is not None:
        (folder / "run.json").write_text(left)
    (folder / "log.csv").write_text("epoch,loss,val_loss\n0,3.5,NA\n1,3.4,NA\n")
    train_in(folder, "--epochs", 1)
    assert list(losses(folder)) == [1]
    assert train.read_settings(folder)["vocab"] == "".join(sorted(set(TEXT)))


@pytest.mark.parametrize(
    "changes",
    [{"sha256": "0" * 64}, {"dropout": 0.5, "units": 128}, {"layers": 2}],
    ids=str,
)
def test_a_run_with_other_settings_is_left_alone(trained, capsys, changes):
    text, folder = trained / "data/wonderland.txt", trained / "weights/wonderland"
    path = folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    before = contents(folder)
    line = fails(capsys, train.main, text, "--weights", folder)
    assert f"{path} has other {', '.join(changes)}; name other --weights" in line
    assert contents(folder) == before


def test_a_text_that_has_moved_is_the_same_run(trained, capsys):
    moved = (trained / "data" / "wonderland.txt").rename(trained / "moved.txt")
    folder = trained / "weights" / "wonderland"
    train.main([str(moved), "--weights", str(folder), "--epochs", "2"])
    assert "Going on from" in capsys.readouterr().err


def test_braces_in_a_name_are_characters_like_others(project):
    folder = project / "{epoch}" / "alice {draft}"
    folder.mkdir(parents=True)
    train_in(folder, "--epochs", 1)
    assert len(train.checkpoints(folder)) == 1
    assert names(project) == ["data", "generate.py", "train.py", "{epoch}"]


# Being cut off


def interrupt(project, command, kind, ready):
    """Send a signal to a script that is ready; it has to end by that, quietly."""
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=project,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not ready():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(kind)
    assert "Traceback" not in process.communicate()[1]
    assert process.returncode == -kind


@only_unix
def test_a_run_that_was_interrupted_and_killed_goes_on(project):
    folder = project / "weights" / "wonderland"
    command = ["train.py", "--epochs", "1000"]
    interrupt(project, command, signal.SIGINT, lambda: train.checkpoints(folder))
    kill_after = len(train.checkpoints(folder)) + 1
    interrupt(
        project,
        command,
        signal.SIGKILL,
        lambda: len(train.checkpoints(folder)) >= kill_after,
    )
    killed_after = last_epoch(folder)
    ended = run(project, "train.py", "--epochs", killed_after + 5)
    assert ended.returncode == 0, ended.stderr
    assert last_epoch(folder) > killed_after
    assert steps_taken(folder) == last_epoch(folder) * STEPS


@only_unix
@pytest.mark.parametrize("script", ["train.py", "generate.py"])
@pytest.mark.parametrize("module", ["hashlib", "keras"])
def test_ctrl_c_ends_the_imports_at_once_and_quietly(project, script, module):
    # The script's own folder comes first on the path, so this is what it imports
    ctrl_c = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
    (project / f"{module}.py").write_text(ctrl_c)
    ended = run(project, script)
    assert ended.returncode == -signal.SIGINT
    assert "Traceback" not in ended.stderr


@only_unix
def test_a_full_disk_leaves_earlier_checkpoints_intact(trained):
    import resource

    folder = trained / "weights" / "wonderland"
    before = contents(folder)

    def limit():  # no file may grow beyond a megabyte
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))

    ended = run(trained, "train.py", "--epochs", 7, preexec_fn=limit)
    assert ended.returncode == 2, ended.stderr
    (line,) = re.findall("^train.py: error: .*$", ended.stderr, re.MULTILINE)
    assert f"earlier checkpoints in {folder} are intact" in line
    assert before.items() <= contents(folder).items()


# Mistakes


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (None, "No such file"),
        (b"", "0 characters"),
        (b"a" * 100, "100 characters"),
        (b"caf\xe9 " * 50, "position 3"),
        (b"\x89PNG\r\n" * 50, "position 0"),
    ],
)
def test_what_is_no_text_is_an_error(tmp_path, capsys, content, named):
    path, weights = tmp_path / "book.txt", tmp_path / "weights"
    if content is not None:
        path.write_bytes(content)
    line = fails(capsys, train.main, path, "--weights", weights)
    assert str(path) in line and named in line
    assert not weights.exists()


def test_a_folder_as_text_and_an_unknown_encoding_are_errors(tmp_path, capsys):
    assert f"cannot read {tmp_path}" in fails(capsys, train.main, tmp_path)
    assert "unknown encoding" in fails(capsys, train.main, "--encoding", "klingon")


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
    ],
)
def test_a_number_that_makes_no_sense_is_an_error(capsys, flag):
    for value in ("-1", "1.5", "many", "", "nan"):
        line = fails(capsys, train.main, f"{flag}={value}")
        assert flag in line and repr(value) in line


def test_a_clip_norm_that_makes_no_sense_is_an_error(capsys):
    for value in ("0", "-1", "many", "", "nan", "inf"):
        line = fails(capsys, train.main, f"--clip-norm={value}")
        assert "--clip-norm" in line and repr(value) in line


@only_unix
def test_an_unwritable_folder_is_an_error(tmp_path, capsys):
    occupied = tmp_path / "weights"
    occupied.write_text("a file where the folder should be")
    for folder in (occupied, occupied / "run", tmp_path / (300 * "x")):
        line = fails(capsys, train.main, "--weights", folder)
        assert str(folder) in line and "--weights" in line
    assert occupied.read_text() == "a file where the folder should be"
