"""Training: the networks, what a run leaves behind, and going on."""

import csv
import json
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import TEXT, fails, run

import generate
import train

STEPS = 4  # 400 patterns in batches of 128
SETTINGS = {"vocab": "".join(map(chr, range(43))), "seq_length": 100}
SETTINGS |= {"layers": 1, "units": 256, "dropout": 0.2, "input_dropout": 0.0}
SETTINGS |= {"one_hot": False, "every_character": False, "validation_split": 0.0}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def contents(folder):
    """Return what is in each file of folder but log.csv, which grows."""
    paths = (path for path in folder.iterdir() if path.name != "log.csv")
    return {path: path.read_bytes() for path in paths}


def losses(folder):
    """Return the losses in the folder's log.csv by epoch, which it counts from 0."""
    with (folder / "log.csv").open(newline="") as file:
        return {int(row["epoch"]): float(row["loss"]) for row in csv.DictReader(file)}


def last_epoch(folder):
    return max(train.loss_and_epoch(path)[1] for path in train.checkpoints(folder))


def steps_taken(folder):
    """Return the steps in the optimizer's state of the folder's latest checkpoint."""
    model = train.build_model(train.read_settings(folder))
    latest = max(train.checkpoints(folder), key=lambda p: train.loss_and_epoch(p)[1])
    model.load_weights(latest)
    return int(model.optimizer.iterations)


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


def test_training_prints_the_tutorials_lines_and_the_device(finished):
    _, small, bigger = finished
    assert (small.returncode, bigger.returncode) == (0, 0), small.stderr + bigger.stderr
    summary = f"Total Vocab:  {len(set(TEXT))}\nTotal Patterns:  400\n"
    assert small.stdout.startswith(f"Total Characters:  500\n{summary}")
    assert "Epoch 2/2" in small.stdout and "4/4" in small.stdout
    (device,) = re.findall("^Training on (.*)$", small.stderr, re.MULTILINE)
    assert ("see README.md" in device) == ("cpu" in device.lower())


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
    expected |= {"vocab": "".join(sorted(set(TEXT))), "layers": 2 if bigger else 1}
    assert settings == expected


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
    assert list(losses(folder)) == list(range(7))
    for loss, epoch in map(train.loss_and_epoch, train.checkpoints(folder)):
        assert losses(folder)[epoch - 1] == pytest.approx(loss, abs=1e-4)


def test_going_on_keeps_the_loss_to_beat(trained):
    folder = trained / "weights" / "wonderland"
    best = train.checkpoints(folder)[0]
    shutil.copy(best, folder / "weights-improvement-05-0.0001.weights.h5")
    before = names(folder)
    ended = run(trained, "train.py", "--epochs", 6)
    assert "did not improve from 0.0001" in ended.stdout
    assert names(folder) == before


@pytest.mark.parametrize("layers", [1, 2])
def test_a_checkpoint_fits_however_keras_named_its_layers(tmp_path, layers):
    settings = {**SETTINGS, "units": 8, "layers": layers}
    for attempt in range(3):  # lstm, lstm_1, lstm_2 for one process's first layers
        path = tmp_path / f"weights-improvement-0{attempt}-1.0000.weights.h5"
        train.build_model(settings).save_weights(path)
        assert train.load_best(settings, [path])[1:] == (path, "")


@pytest.mark.parametrize("share", [0, 0.01, 0.1, 0.5, 0.99, None])
def test_a_checkpoint_cut_short_or_of_another_network_is_passed_over(trained, share):
    small, bigger = (trained / "weights" / f"wonderland{x}" for x in ("", "-bigger"))
    for folder, other in ((small, bigger), (bigger, small)):
        path = train.checkpoints(other if share is None else folder)[0]
        if share is not None:
            path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
        _, best, reason = train.load_best(train.read_settings(folder), [path])
        assert best is None and f"{path}, damaged or being written: " in reason


def test_weights_that_load_half_way_leave_no_trace(tmp_path):
    settings = {**SETTINGS, "units": 8}
    path = tmp_path / "weights-improvement-01-1.0000.weights.h5"
    other = train.build_model({**settings, "vocab": "abc"})
    other.save_weights(path)  # whose LSTM fits and whose Dense does not
    model, best, _ = train.load_best(settings, [path])
    assert best is None
    assert (model.get_weights()[0] != other.get_weights()[0]).any()


def test_what_kills_cut_short_is_passed_over_in_one_line(trained):
    folder = trained / "weights" / "wonderland"
    best = train.checkpoints(folder)[0]
    for epoch in range(3, 9):
        path = folder / f"weights-improvement-0{epoch}-0.{epoch}000.weights.h5"
        path.write_bytes(best.read_bytes()[:100_000])
    before = names(folder)
    ended = run(trained, "train.py", "--epochs", 2)
    (line,) = re.findall("^Warning: .*$", ended.stderr, re.MULTILINE)
    assert line.startswith(f"Warning: 6 passed over, {path}, damaged or being written")
    assert f"Going on from {best}: epoch 2 of 2\n" in ended.stderr
    assert "Epoch" not in ended.stdout and names(folder) == before

    for path in train.checkpoints(folder):
        path.write_bytes(path.read_bytes()[:100_000])
    ended = run(trained, "train.py", "--epochs", 1)
    assert ended.returncode == 0, ended.stderr
    assert "Going on" not in ended.stderr
    assert "Epoch 1: loss improved from None" in ended.stdout


def interrupt(project, script, kind, ready):
    """Send a signal to a script that is ready, and return how it ended."""
    command = [sys.executable, script, *["--epochs", "1000"][: 2 * (script[0] == "t")]]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=project, **pipes)
    deadline = time.monotonic() + 120
    while not ready():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(kind)
    assert "Traceback" not in process.communicate(timeout=60)[1]
    assert process.returncode == -kind


def test_a_run_that_was_interrupted_and_killed_goes_on(project):
    folder = project / "weights" / "wonderland"
    for kind, epochs in ((signal.SIGINT, 1), (signal.SIGKILL, 2)):
        ready = lambda n=epochs: len(train.checkpoints(folder)) >= n
        interrupt(project, "train.py", kind, ready)
    killed_after = last_epoch(folder)
    ended = run(project, "train.py", "--epochs", killed_after + 5)
    assert ended.returncode == 0, ended.stderr
    assert last_epoch(folder) > killed_after
    assert steps_taken(folder) == last_epoch(folder) * STEPS


@pytest.mark.parametrize("script", ["train.py", "generate.py"])
def test_ctrl_c_ends_the_imports_at_once_and_quietly(project, script):
    begin = time.monotonic()
    interrupt(project, script, signal.SIGINT, lambda: time.monotonic() > begin + 1)


def test_a_full_disk_leaves_earlier_checkpoints_intact(trained):
    folder = trained / "weights" / "wonderland"
    before = contents(folder)

    def limit():  # no file may grow beyond a megabyte
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))

    ended = run(trained, "train.py", "--epochs", 7, preexec_fn=limit)
    assert ended.returncode == 2, ended.stderr
    lines = re.findall("^train.py: error: .*$", ended.stderr, re.MULTILINE)
    assert len(lines) == 1 and f"earlier checkpoints in {folder} are intact" in lines[0]
    assert before.items() <= contents(folder).items()


def test_a_random_seed_repeats_the_run(project):
    text, runs = str(project / "data" / "wonderland.txt"), []
    for number, seed in enumerate("112"):
        folder = project / "weights" / str(number)
        args = ["--weights", str(folder), "--epochs", "2", "--random-seed", seed]
        train.main([text, *args, "--units", "32"])
        runs.append(losses(folder))
    assert runs[0] == pytest.approx(runs[1], rel=1e-4)
    assert runs[0][1] != pytest.approx(runs[2][1], rel=1e-4)


def test_training_learns_a_phrase_that_greedy_decoding_goes_on_with(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(train, "SEQ_LENGTH", 12)
    text, folder = tmp_path / "a.txt", tmp_path / "weights"
    text.write_text("a cat sat. " * 50)
    args = [text, "--epochs", 18, "--batch-size", 4, "--weights", folder]
    train.main([str(arg) for arg in (*args, "--random-seed", 1, "--units", 64)])
    assert train.loss_and_epoch(train.checkpoints(folder)[0])[0] < 0.2
    capsys.readouterr()
    generate.main([str(folder), "--length", "100"])
    _, seed, written = capsys.readouterr().out.split('"')
    written = seed[1:-1] + written.removesuffix("\nDone.\n")[1:]
    assert len(written) == 112 and written in "a cat sat. " * 50


IDEAS = {
    "--every-character --one-hot --units 8": "-one-hot-every-character-units-8",
    "--units 8 --layers 3 --dropout 0": "-units-8-layers-3-dropout-0.0",
    "--bigger --layers 1 --units 8 --input-dropout 0.10 --dropout 0.20": (
        "-bigger-units-8-layers-1-input-dropout-0.1"
    ),
}


@pytest.mark.parametrize("flags", IDEAS)
def test_an_idea_trains_in_a_folder_of_its_own_goes_on_and_generates(
    project, monkeypatch, capsys, flags
):
    monkeypatch.setattr(train, "HERE", project)
    text = str(project / "data" / "wonderland.txt")
    for epochs in "12":
        train.main([text, *flags.split(), "--epochs", epochs])
    assert "epoch 1 of 2\n" in capsys.readouterr().err
    (folder,) = (project / "weights").iterdir()
    assert folder.name == f"wonderland{IDEAS[flags]}"
    generate.main([str(folder), "--length", "5"])
    assert "Done." in capsys.readouterr().out
    line = fails(capsys, train.main, text, "--units", "9", "--weights", folder)
    assert "has other " in line and "units" in line


def test_the_end_of_the_text_can_be_held_out(project, capsys):
    text, folder = project / "data" / "wonderland.txt", project / "weights" / "new"
    args = [str(text), "--weights", str(folder), "--units", "8", "--epochs", "1"]
    train.main([*args, "--validation-split", "0.3"])
    assert "Total Patterns:  250\n" in capsys.readouterr().out
    model, _, _ = train.load_best(
        train.read_settings(folder), train.checkpoints(folder)
    )
    encoded = train.encode(TEXT, sorted(set(TEXT)))[350:]
    windows = np.lib.stride_tricks.sliding_window_view(encoded, 101)
    expected = model.evaluate(windows[:, :-1, np.newaxis], windows[:, -1], verbose=0)
    logged = float((folder / "log.csv").read_text().split(",")[-1])
    assert logged == pytest.approx(expected, rel=1e-4)
    for share in (0.9, 0.0001):
        line = fails(capsys, train.main, *args, "--validation-split", share)
        assert str(share) in line and str(text) in line


OTHERS = [{"sha256": "0" * 64}, {"dropout": 0.5, "units": 128}, {"layers": 2}]
OTHERS += [{"seq_length": 50, "vocab": "abc"}]


@pytest.mark.parametrize("changes", OTHERS)
def test_a_run_with_other_settings_is_left_alone(trained, capsys, changes):
    text, folder = trained / "data/wonderland.txt", trained / "weights/wonderland"
    path = folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    before = contents(folder)
    line = fails(capsys, train.main, text, "--weights", folder)
    assert f"{path} has other {', '.join(changes)}; name other --weights" in line
    assert contents(folder) == before


def test_a_text_that_has_moved_is_the_same_run(trained, capsys):
    moved = (trained / "data" / "wonderland.txt").rename(trained / "moved.txt")
    folder = trained / "weights" / "wonderland"
    train.main([str(moved), "--weights", str(folder), "--epochs", "2"])
    assert "Going on from" in capsys.readouterr().err


NO_TEXTS = [
    (None, "No such file"),
    (b"", "0 characters"),
    (b"a" * 100, "100 characters"),
]
NO_TEXTS += [(b"caf\xe9 " * 50, "position 3"), (b"\x89PNG\r\n" * 50, "position 0")]


@pytest.mark.parametrize(("content", "named"), NO_TEXTS)
def test_what_is_no_text_is_an_error(tmp_path, capsys, content, named):
    path, weights = tmp_path / "book.txt", tmp_path / "weights"
    if content is not None:
        path.write_bytes(content)
    line = fails(capsys, train.main, path, "--weights", weights)
    assert str(path) in line and named in line
    assert "Is a directory" in fails(capsys, train.main, tmp_path)
    assert "unknown encoding" in fails(capsys, train.main, "--encoding", "klingon")
    assert not weights.exists()


FLAGS = "--epochs --batch-size --random-seed --units --layers --dropout --input-dropout"


@pytest.mark.parametrize("flag", [*FLAGS.split(), "--validation-split"])
def test_a_number_that_makes_no_sense_is_an_error(capsys, flag):
    for value in ("-1", "1.5", "many", "", "nan"):
        line = fails(capsys, train.main, f"{flag}={value}")
        assert flag in line and repr(value) in line


def test_an_unwritable_folder_is_an_error(tmp_path, capsys):
    occupied = tmp_path / "weights"
    occupied.write_text("a file where the folder should be")
    for folder in (occupied, occupied / "run", tmp_path / (300 * "x")):
        line = fails(capsys, train.main, "--weights", folder)
        assert str(folder) in line and "--weights" in line
    assert occupied.read_text() == "a file where the folder should be"
