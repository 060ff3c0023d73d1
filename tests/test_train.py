"""Training: the networks, what a run leaves behind, and going on."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import BOOK, environment, run, the_only_line

import train

STEPS = 4  # 400 patterns in batches of 128
SETTINGS = {"vocab": "x" * 43, "seq_length": 100, "units": 256, "dropout": 0.2}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def last_epoch(folder):
    return max(train.loss_and_epoch(path)[1] for path in train.checkpoints(folder))


def steps_taken(folder):
    """Return the steps in the optimizer's state of the folder's latest checkpoint."""
    model = train.build_model(train.read_run(folder))
    model.compile(loss="categorical_crossentropy", optimizer="adam")
    model.optimizer.build(model.trainable_variables)
    latest = max(train.checkpoints(folder), key=lambda p: train.loss_and_epoch(p)[1])
    model.load_weights(latest)
    return int(model.optimizer.iterations)


def cut_short(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("layers", [1, 2])
def test_a_checkpoint_fits_however_keras_named_its_layers(tmp_path, layers):
    settings = {**SETTINGS, "units": 8, "layers": layers}
    for attempt in range(3):  # lstm, lstm_1, lstm_2 for one process's first layers
        path = tmp_path / f"weights-improvement-0{attempt}-1.0000.weights.h5"
        model = train.build_model(settings)
        model.save_weights(path)
        assert train.load_best(model, settings, [path]) == path


@pytest.mark.parametrize("share", [0, 0.01, 0.1, 0.5, 0.99])
def test_a_checkpoint_cut_short_anywhere_counts_as_damaged(finished, tmp_path, share):
    for name in ("wonderland", "wonderland-bigger"):
        folder = finished[0] / "weights" / name
        content = train.checkpoints(folder)[0].read_bytes()
        path = tmp_path / "weights-improvement-01-1.0000.weights.h5"
        path.write_bytes(content[: int(share * len(content))])
        settings = train.read_run(folder)
        model = train.build_model(settings)
        assert train.load_best(model, settings, [path]) is None


@pytest.mark.parametrize(("layers", "parameters"), [(1, 275_243), (2, 800_555)])
def test_the_networks_have_the_tutorials_parameters(layers, parameters):
    model = train.build_model({**SETTINGS, "layers": layers})
    assert model.count_params() == parameters
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == ["LSTM", "Dropout"] * layers + ["Dense"]
    assert [layer.rate for layer in model.layers[1::2]] == [0.2] * layers
    assert model.layers[-1].activation.__name__ == "softmax"


def test_bare_commands_train_as_the_tutorial_does():
    small, bigger = train.parse_arguments([]), train.parse_arguments(["--bigger"])
    assert (small.text, small.epochs, small.batch_size) == (train.TEXT, 30, 128)
    assert (bigger.text, bigger.epochs, bigger.batch_size) == (train.TEXT, 50, 64)


def test_training_prints_the_tutorials_lines_and_the_device(finished):
    _, small, _ = finished
    n_vocab = len(set(BOOK[:500].lower()))
    assert small.returncode == 0, small.stderr
    assert small.stdout.startswith(
        f"Total Characters:  500\nTotal Vocab:  {n_vocab}\nTotal Patterns:  400\n"
    )
    assert "Epoch 2/2" in small.stdout
    assert the_only_line(small.stderr).startswith("Training on the ")


def test_a_card_that_stands_idle_is_named_with_the_way_out(tmp_path, monkeypatch):
    if "CPU" not in train.describe_device():
        pytest.skip("no card stands idle here")
    nvidia_smi = tmp_path / "nvidia-smi"
    nvidia_smi.write_text("#!/bin/sh\necho NVIDIA T4\n")
    nvidia_smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    described = train.describe_device()
    assert "NVIDIA T4" in described
    assert 'pip install "tensorflow[and-cuda]"' in described


def test_checkpoints_have_the_tutorials_names(finished):
    project, _, bigger = finished
    assert bigger.returncode == 0, bigger.stderr
    run_json, first, second = names(project / "weights" / "wonderland")
    assert first.startswith("weights-improvement-01-3.")
    assert second.startswith("weights-improvement-02-3.")
    assert (first + second).count(".weights.h5") == 2
    assert run_json == "run.json"
    run_json, first = names(project / "weights" / "wonderland-bigger")
    assert first.startswith("weights-improvement-01-3.")
    assert first.endswith("-bigger.weights.h5")


def test_run_json_holds_what_generation_needs(finished):
    text = BOOK[:500].lower()
    project = finished[0]
    for name, layers in (("wonderland", 1), ("wonderland-bigger", 2)):
        path = project / "weights" / name / "run.json"
        assert json.loads(path.read_text()) == {
            "text": "data/wonderland.txt",
            "encoding": "utf-8",
            "sha256": train.sha256(text),
            "vocab": "".join(sorted(set(text))),
            "seq_length": 100,
            "layers": layers,
            "units": 256,
            "dropout": 0.2,
        }


def test_going_on_keeps_the_optimizers_state_and_what_was_there(trained):
    folder = trained / "weights" / "wonderland"
    before = {path: path.read_bytes() for path in folder.iterdir()}
    best = train.checkpoints(folder)[0]
    ended = run(trained, "train.py", "--epochs", 7)
    assert ended.returncode == 0, ended.stderr
    assert f"Going on from {best}: epoch 2 of 7\n" in ended.stderr
    assert "Epoch 2/7" not in ended.stdout and "Epoch 3/7" in ended.stdout
    assert last_epoch(folder) > 2
    assert steps_taken(folder) == last_epoch(folder) * STEPS
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_finished_run_trains_no_more(trained):
    before = names(trained / "weights" / "wonderland")
    ended = run(trained, "train.py", "--epochs", 2)
    assert ended.returncode == 0, ended.stderr
    assert ": epoch 2 of 2\n" in ended.stderr
    assert "Epoch" not in ended.stdout
    assert names(trained / "weights" / "wonderland") == before


def test_going_on_keeps_the_loss_to_beat(trained):
    folder = trained / "weights" / "wonderland"
    best = train.checkpoints(folder)[0]
    shutil.copy(best, folder / "weights-improvement-05-0.0001.weights.h5")
    before = names(folder)
    ended = run(trained, "train.py", "--epochs", 6)
    assert "did not improve from 0.0001" in ended.stdout
    assert names(folder) == before


def test_a_checkpoint_cut_short_is_passed_over(trained):
    folder = trained / "weights" / "wonderland"
    damaged, readable = train.checkpoints(folder)
    cut_short(damaged)
    ended = run(trained, "train.py", "--epochs", 2)
    assert ended.returncode == 0, ended.stderr
    assert f"Warning: passing over damaged {damaged}\n" in ended.stderr
    assert f"Going on from {readable}: epoch 1 of 2\n" in ended.stderr
    damaged.unlink()
    assert steps_taken(folder) == 2 * STEPS


def test_with_nothing_but_damaged_checkpoints_training_starts_anew(trained):
    folder = trained / "weights" / "wonderland"
    for path in train.checkpoints(folder):
        cut_short(path)
    ended = run(trained, "train.py", "--epochs", 1)
    assert ended.returncode == 0, ended.stderr
    assert "Going on" not in ended.stderr
    assert "Epoch 1: loss improved" in ended.stdout


def start(project, *args):
    """Start training and return its process once a first checkpoint is there."""
    process = subprocess.Popen(
        [sys.executable, "train.py", "--epochs", "1000", *args],
        cwd=project,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not train.checkpoints(project / "weights" / "wonderland"):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    return process


def test_a_killed_run_goes_on(project):
    process = start(project)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    folder = project / "weights" / "wonderland"
    killed_after = last_epoch(folder)
    ended = run(project, "train.py", "--epochs", killed_after + 5)
    assert ended.returncode == 0, ended.stderr
    assert last_epoch(folder) > killed_after
    assert steps_taken(folder) == last_epoch(folder) * STEPS


def test_an_interrupted_run_says_how_to_go_on(project):
    process = start(project, "--batch-size", "128")
    process.send_signal(signal.SIGINT)
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert stderr.endswith(
        "Interrupted. To go on: python train.py --epochs 1000 --batch-size 128\n"
    )
    assert "Traceback" not in stderr


def test_a_full_disk_leaves_earlier_checkpoints_intact(trained):
    folder = trained / "weights" / "wonderland"
    before = {path: path.read_bytes() for path in folder.iterdir()}

    def limit():  # no file may grow beyond a megabyte
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))

    ended = run(trained, "train.py", "--epochs", 7, preexec_fn=limit)
    assert ended.returncode == 2, ended.stderr
    assert f"train.py: error: cannot write to {folder}" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert all(path.read_bytes() == content for path, content in before.items())


def fails(capsys, *args):
    """Run train.main, which has to fail, and return its line on stderr."""
    with pytest.raises(SystemExit, match="2"):
        train.main([str(arg) for arg in args])
    return the_only_line(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"sha256": "0" * 64}, ["sha256"]),
        ({"units": 128, "dropout": 0.5}, ["units (128 there, 256 here)", "dropout"]),
        ({"layers": 2}, ["layers (2 there, 1 here)"]),
        ({"vocab": "abc", "seq_length": 50}, ["vocab", "seq_length"]),
    ],
)
def test_a_run_with_other_settings_is_left_alone(trained, capsys, changes, named):
    folder = trained / "weights" / "wonderland"
    path = folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    before = {path: path.read_bytes() for path in folder.iterdir()}
    line = fails(capsys, trained / "data" / "wonderland.txt", "--weights", folder)
    assert str(folder) in line and "--weights" in line
    assert all(setting in line for setting in named)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_weights_that_ship_are_left_alone(trained, capsys, monkeypatch):
    monkeypatch.setattr(train, "HERE", trained)
    monkeypatch.setattr(train, "UNITS", 8)
    text, folder = trained / "data" / "wonderland.txt", trained / "weights"
    shipped = folder / "pretrained" / "wonderland"
    shutil.copytree(folder / "wonderland", shipped)
    shutil.rmtree(folder / "wonderland")
    before = {path: path.read_bytes() for path in shipped.iterdir()}
    train.main([str(text), "--epochs", "1"])
    assert "Going on" not in capsys.readouterr().err
    assert last_epoch(folder / "wonderland") == 1
    assert str(shipped) in fails(capsys, text, "--weights", shipped)
    text = text.rename(text.with_name("pretrained.txt"))  # weights/pretrained, then
    assert str(shipped.parent) in fails(capsys, text)
    assert {path: path.read_bytes() for path in shipped.iterdir()} == before
    assert names(shipped.parent) == ["wonderland"]


def test_a_text_that_has_changed_is_another_run(trained, capsys):
    text = trained / "data" / "wonderland.txt"
    text.write_text(BOOK[:499] + "~")
    line = fails(capsys, text, "--weights", trained / "weights" / "wonderland")
    assert "sha256" in line and "vocab" in line


def test_a_text_that_has_moved_is_the_same_run(trained, capsys):
    moved = (trained / "data" / "wonderland.txt").rename(trained / "moved.txt")
    folder = trained / "weights" / "wonderland"
    train.main([str(moved), "--weights", str(folder), "--epochs", "2"])
    assert "Going on from" in capsys.readouterr().err


def test_a_checkpoint_of_another_network_is_an_error(trained, capsys):
    small, bigger = (trained / "weights" / f"wonderland{x}" for x in ("", "-bigger"))
    text = trained / "data" / "wonderland.txt"
    name = "weights-improvement-09-0.1000.weights.h5"
    shutil.copy(train.checkpoints(bigger)[0], small / name)
    assert str(small / name) in fails(capsys, text, "--weights", small)
    shutil.copy(train.checkpoints(small)[1], bigger / name)
    assert str(bigger / name) in fails(capsys, text, "--bigger", "--weights", bigger)


def test_checkpoints_without_a_usable_run_json_are_left_alone(trained, capsys):
    folder = trained / "weights" / "wonderland"
    path = folder / "run.json"
    for content in ("", "{", "[]", "{}", '{"text": 1}', None):
        path.unlink() if content is None else path.write_text(content)
        line = fails(capsys, trained / "data" / "wonderland.txt", "--weights", folder)
        assert str(path) in line and "--weights" in line


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (None, "No such file"),
        (b"", "0 characters"),
        (b"a" * 100, "100 characters"),
        (b"caf\xe9 " * 50, "position 3"),
        (b"\x89PNG\r\n\x1a\n" * 50, "position 0"),
        (b"\x7fELF\0\0\0\0" * 50, "binary"),
        ("folder", "Is a directory"),
    ],
)
def test_what_is_no_text_is_an_error(tmp_path, capsys, content, named):
    path = tmp_path / "book.txt"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    line = fails(capsys, path, "--weights", tmp_path / "weights")
    assert str(path) in line and named in line
    assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize("flag", ["--epochs", "--batch-size"])
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many", ""])
def test_a_number_that_makes_no_sense_is_an_error(capsys, flag, value):
    line = fails(capsys, f"{flag}={value}")
    assert flag in line and repr(value) in line


def test_an_unknown_encoding_is_an_error(capsys):
    assert "unknown encoding: klingon" in fails(capsys, "--encoding", "klingon")


def test_an_unwritable_folder_is_an_error(tmp_path, capsys):
    occupied = tmp_path / "weights"
    occupied.write_text("a file where the folder should be")
    for folder in (occupied, occupied / "run", tmp_path / (300 * "x")):
        line = fails(capsys, "--weights", folder)
        assert str(folder) in line and "--weights" in line
    assert occupied.read_text() == "a file where the folder should be"
