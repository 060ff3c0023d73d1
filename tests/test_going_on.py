"""Going on: from what, from what not, after being cut off; and mistakes."""

import json
import os
import re
import shutil
import signal
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import (
    STEPS,
    TEXT,
    best_of,
    contents,
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

# Going on


def test_going_on_keeps_the_optimizers_state_and_what_was_there(tmp_path, capsys):
    folder = tmp_path / "weights"
    train_in(folder, "--epochs", 2)
    before, (_, _, best) = contents(folder), train.checkpoints(folder)[0]
    train_in(folder, "--epochs", 2)
    printed = capsys.readouterr().out
    assert "with 2 of 2 epochs done\nNothing to train: more --epochs" in printed
    assert contents(folder) == before
    train_in(folder, "--epochs", 7)
    printed = capsys.readouterr().out
    assert f"Going on from {best}\n" in printed
    assert "with 2 of 7 epochs done\n" in printed
    assert "Epoch 2/7" not in printed and "Epoch 3/7" in printed
    assert "Nothing to train" not in printed
    loss, epoch, _ = train.checkpoints(folder)[0]
    assert epoch > 2 and best_of(folder).optimizer.iterations == epoch * STEPS
    after = contents(folder)
    assert all(after[path].startswith(before[path]) for path in before)
    assert list(losses_in(folder)) == list(range(1, 8))
    assert losses_in(folder)[epoch] == pytest.approx(loss, abs=1e-4)


def test_without_dropout_a_run_that_goes_on_ends_as_in_one_go(tmp_path):
    once, twice = tmp_path / "once", tmp_path / "twice"
    flags = ["--dropout", 0, "--batch-size", 400, "--random-seed", 1, "--epochs"]
    for folder, epochs in (once, 3), (twice, 1), (twice, 3):
        train_in(folder, *flags, epochs)
    assert losses_in(twice) == pytest.approx(losses_in(once), rel=1e-5)


def test_going_on_keeps_the_loss_to_beat(tmp_path, capsys):
    folder = tmp_path / "weights"
    train_in(folder, "--epochs", 1)
    best = train.checkpoints(folder)[0][2]
    shutil.copy(best, folder / "weights-improvement-05-0.0001.keras")
    before = contents(folder, "*.keras")
    train_in(folder, "--epochs", 6)
    assert "did not improve from 0.0001" in capsys.readouterr().out
    assert contents(folder, "*.keras") == before


def test_going_on_takes_the_rate_and_the_limit_given_not_the_checkpoints(tmp_path):
    folder, learned = tmp_path / "weights", []
    for epoch, rate, limit in (1, 0.01, 1), (2, 1e-9, 0.5):
        flags = ["--learning-rate", rate, "--clip-norm", limit]
        train_in(folder, "--epochs", epoch, *flags)
        model = best_of(folder)
        assert model.optimizer.iterations == epoch * STEPS
        assert float(model.optimizer.learning_rate) == pytest.approx(rate)
        assert model.optimizer.global_clipnorm == limit
        learned.append(model.get_weights())
    for first, second in zip(*learned, strict=True):
        np.testing.assert_allclose(first, second, atol=1e-6)


def test_of_checkpoints_with_equal_losses_the_latest_is_best(tmp_path):
    for name in ("08-1.5000", "09-1.5000", "10-1.5000", "11-1.5001", "100-1.6000"):
        (tmp_path / f"weights-improvement-{name}.keras").touch()
    found = train.checkpoints(tmp_path)
    assert [epoch for _, epoch, _ in found] == [10, 9, 8, 11, 100]


def test_without_its_checkpoints_a_run_starts_anew_and_keeps_its_log(trained):
    folder = trained / "weights" / "wonderland"
    for path in folder.glob("*.keras"):
        path.unlink()
    before = (folder / "log.csv").read_text()
    train_in(folder, "--epochs", 1)
    assert (folder / "log.csv").read_text().startswith(before + "0,")
    assert len(train.checkpoints(folder)) == 1


def folder_and_arguments(project, script):
    """Return the folder of a project's first network, and how script is told of it."""
    folder, text = project / "weights/wonderland", project / "data/wonderland.txt"
    return folder, [folder] if script is generate else [text, "--weights", folder]


def parts_of(path):
    """Return the parts of a zip by their names."""
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def zip_up(path, parts):
    """Write parts, by name, into a zip at path."""
    with zipfile.ZipFile(path, "w") as file:
        for name, part in parts.items():
            file.writestr(name, part)


def spoil(path, how):
    """Spoil a checkpoint as how says, or keep that part of it."""
    content, parts = bytearray(path.read_bytes()), parts_of(path)
    path.unlink()
    if how == "unpacked":
        path.mkdir()
        for name, part in parts.items():
            (path / name).write_bytes(part)
    elif how == "weights empty":
        zip_up(path, parts | {"model.weights.h5": b""})
    elif how == "weights missing":
        del parts["model.weights.h5"]
        zip_up(path, parts)
    elif how == "a bit flipped":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        path.write_bytes(content[: int(how * len(content))])


@pytest.mark.parametrize(
    "how",
    [0, 0.99, "a bit flipped", "weights empty", "weights missing", "unpacked"],
)
@pytest.mark.parametrize("script", [train, generate])
def test_damaged_checkpoints_are_passed_over_and_if_none_is_whole_it_is_as_without(
    trained, capsys, script, how
):
    folder, args = folder_and_arguments(trained, script)
    args += ["--epochs" if script is train else "--length", 1]
    shipped = Path(shutil.copytree(folder, folder.parent / "pretrained" / folder.name))
    (_, _, best), (_, _, second) = train.checkpoints(folder)
    spoil(best, how)
    script.main([str(arg) for arg in args])
    captured = capsys.readouterr()
    assert captured.err.startswith(f"Passed over {best}: ")
    assert f"Passed over {second}" not in captured.err
    assert str(second) in captured.err + captured.out
    spoil(second, how)
    before = contents(folder)
    script.main([str(arg) for arg in args])
    captured = capsys.readouterr()
    assert all(f"Passed over {path}: " in captured.err for path in (best, second))
    if script is generate:
        assert captured.err.endswith(f"Using {shipped / best.name}\n")
        assert contents(folder) == before
    else:
        assert "with 0 of 1 epochs done\n" in captured.out
        assert train.load_best(folder)


@only_unix
@pytest.mark.parametrize("script", [train, generate])
def test_a_checkpoint_that_cannot_be_read_ends_the_program(trained, capsys, script):
    folder, args = folder_and_arguments(trained, script)
    best = train.checkpoints(folder)[0][2]
    best.unlink()
    best.symlink_to(trained / "drive")  # which is not there
    before = set(folder.iterdir()), contents(folder, "log.csv")
    assert f"No such file or directory: '{best}'" in fails(capsys, script.main, *args)
    assert (set(folder.iterdir()), contents(folder, "log.csv")) == before


@pytest.mark.parametrize("script", [train, generate])
def test_a_checkpoint_of_a_newer_keras_ends_in_the_versions(trained, capsys, script):
    folder, args = folder_and_arguments(trained, script)
    best = train.checkpoints(folder)[0][2]
    parts = parts_of(best)
    older = json.loads(parts["metadata.json"])["keras_version"].encode()
    parts["metadata.json"] = parts["metadata.json"].replace(older, b"99.0.0")
    parts["config.json"] = parts["config.json"].replace(b'"units":', b'"n_units":')
    zip_up(best, parts)
    before = contents(folder)
    line = fails(capsys, script.main, *args)
    versions = rf"Keras {keras.__version__} .* Keras 99\.0\.0 .* upgrade Keras.*'units'"
    assert re.search(versions, line) and str(best) in line
    assert contents(folder) == before


# A folder belongs to one text and network


RELU = "layers.LSTM(units", 'layers.LSTM(units, activation="relu"'


@pytest.mark.parametrize("change", ["--units 8", "--one-hot", RELU], ids=str)
def test_another_network_is_refused(trained, capsys, change):
    text, folder = trained / "data/wonderland.txt", trained / "weights/wonderland"
    before = contents(folder)
    flags, main = ("", edited(RELU).main) if change == RELU else (change, train.main)
    line = fails(capsys, main, text, "--weights", folder, *flags.split())
    assert f"{folder} holds a run of another network." in line and "--weights" in line
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("removed", "written", "text", "named"),
    [
        ([], {}, "another text, of other letters. " * 10, "holds a run of another"),
        ([], {}, TEXT[250:] + TEXT[:250], "holds a run of another"),  # same letters
        (["*.keras"], {}, TEXT + " ", "holds a run of another"),
        (["text.txt", "log.csv"], {}, TEXT, "has weights-improvement-0"),
        (["*"], {".DS_Store": b""}, TEXT, "has .DS_Store"),
        (["*"], {"text.txt": b"\xff" * 500}, TEXT, "holds a run of another"),
    ],
)
def test_what_is_no_run_of_the_text_is_left_alone(
    trained, monkeypatch, capsys, removed, written, text, named
):
    monkeypatch.setattr(train, "HERE", trained)
    book, folder = trained / "wonderland.txt", trained / "weights/wonderland"
    book.write_text(text)
    for path in [path for pattern in removed for path in folder.glob(pattern)]:
        path.unlink()
    for name, content in written.items():
        (folder / name).write_bytes(content)
    before = contents(folder)
    line = fails(capsys, train.main, book)
    assert line.startswith(f"{folder} {named}")
    assert "text. Name another" in line or "no text.txt. Name another" in line
    assert contents(folder) == before


@pytest.mark.parametrize("first", [True, False], ids=["with", "without"])
def test_losses_of_two_kinds_do_not_mix_in_a_folder(tmp_path, capsys, first):
    folder, split = tmp_path / "weights", ["--validation-split", 0.25]
    train_in(folder, "--epochs", 1, *split * first)
    log = folder / "log.csv"  # in which Keras doubles line ends on Windows
    log.write_bytes(log.read_bytes().replace(b"\r\n", b"\r\r\n"))
    before = contents(folder)
    args = [tmp_path / "book.txt", "--weights", folder, "--units", 16, "--epochs", 2]
    line = fails(capsys, train.main, *args, *split * (not first))
    kind = "with" if first else "without"
    assert line.startswith(f"{folder} holds a run {kind} --validation-split. Name ")
    assert contents(folder) == before
    train_in(folder, "--epochs", 2, *split * first)
    assert "with 1 of 2 epochs done\n" in capsys.readouterr().out


def test_of_two_runs_that_begin_at_once_in_one_folder_one_is_refused(tmp_path):
    check = "        type(model).from_config"
    late = edited((check, f"        folder.mkdir()  # as the other does\n{check}"))
    with pytest.raises(FileExistsError, match="weights"):  # told in one line
        train_in(tmp_path / "weights", "--epochs", 1, main=late.main)
    assert not list((tmp_path / "weights").iterdir())


# Being cut off


@only_unix
def test_a_run_that_was_interrupted_and_killed_goes_on(project):
    folder = project / "weights" / "wonderland"
    command = ["train.py", "--weights", folder, "--units", 16, "--epochs"]
    log = folder / "log.csv"  # which an epoch writes after its checkpoint
    ready = lambda: log.exists() and len(log.read_text().splitlines()) > 2
    status, stderr = interrupt(project, [*command, 1000], signal.SIGINT, ready)
    assert status == -signal.SIGINT  # by which a shell's loop ends, too
    traceback = stderr[stderr.index("Traceback") :].splitlines()
    goes_on = "KeyboardInterrupt: The same command goes on from the best epoch, if any."
    assert traceback[-1] == goes_on and len(traceback) == 4
    n_before = len(train.checkpoints(folder))
    ready = lambda: len(train.checkpoints(folder)) > n_before
    status, _ = interrupt(project, [*command, 1000], signal.SIGKILL, ready)
    assert status == -signal.SIGKILL
    killed_after = train.checkpoints(folder)[0][1]
    ended = run(project, *command, killed_after + 5)
    assert ended.returncode == 0, ended.stderr
    epoch = train.checkpoints(folder)[0][1]
    assert epoch >= killed_after
    assert best_of(folder).optimizer.iterations == epoch * STEPS


@only_unix
def test_what_lives_on_after_ctrl_c_says_where_later_errors_are(project):
    log = project / "weights" / "wonderland" / "log.csv"
    ready = lambda: log.exists() and log.read_text()
    command = ["-i", "train.py", "--epochs", 1000]
    _, stderr = interrupt(project, command, signal.SIGINT, ready, then="[].mine\n")
    later = stderr.split("KeyboardInterrupt: ", 1)[1]
    assert "line 1, in <module>" in later and "no attribute 'mine'" in later


@pytest.mark.parametrize("size", [100, 2**20], ids=["the text", "a checkpoint"])
def test_a_full_disk_leaves_earlier_checkpoints_and_lets_a_run_go_on(trained, size):
    resource = pytest.importorskip("resource")  # which Windows has not
    folder = trained / "weights" / "wonderland"
    if size == 100:  # not even the text has room
        shutil.rmtree(folder)
    before = contents(folder, "*.keras")
    limit = resource.RLIMIT_FSIZE, (size, size)  # no file grows beyond it
    command = ["train.py", "--epochs", 3]
    ended = run(trained, *command, preexec_fn=lambda: resource.setrlimit(*limit))
    assert (ended.returncode, "Traceback" in ended.stderr) == (1, False)
    assert "File too large" in ended.stderr
    after = contents(folder)
    assert all(after[path] == before[path] for path in before)
    ended = run(trained, *command)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("epochs_before", [0, 1])
def test_a_loss_that_is_no_number_ends_the_training_and_loses_nothing(
    tmp_path, capsys, epochs_before
):
    folder = tmp_path / "weights"
    if epochs_before:
        train_in(folder, "--epochs", 1)
    before = contents(folder, "*.keras")
    senseless = ["--epochs", 3, "--learning-rate", 1e38]
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        train_in(folder, *senseless)
    line, printed = ended.value.code, capsys.readouterr().out
    assert "The loss is no number any more." in line
    assert printed.count("/3\n") == 1  # it ends in the first epoch
    quoted = folder if os.name == "posix" else f'"{folder}"'
    assert f"--weights {quoted} and --clip-norm 1" in line
    assert contents(folder, "*.keras") == before


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
        (rb"\ud83d " * 50, "--encoding unicode_escape", "surrogates not allowed"),
        (b"a" * 101, "--validation-split 0.1", "--validation-split"),
        (b"a" * 500, "--validation-split 0.999", "--validation-split"),
    ],
)
def test_what_has_no_pattern_is_an_error(tmp_path, capsys, content, flags, named):
    path, weights = tmp_path / "book.txt", tmp_path / "weights"
    if content is not None:
        path.write_bytes(content)
    line = fails(capsys, train.main, path, "--weights", weights, *flags.split())
    assert named in line and (str(path) in line or "split" in line)
    assert not weights.exists()


@only_unix
def test_a_folder_that_cannot_be_made_or_is_a_text_is_an_error(tmp_path, capsys):
    assert str(tmp_path) in fails(capsys, train.main, tmp_path)
    file = tmp_path / "weights-improvement-01-1.0000.keras"
    file.write_text("mine")
    for path in file, file / "new":  # the error is told in one line
        with pytest.raises(OSError, match=f"Not a directory: '{path}'"):
            train.main(["--weights", str(path)])
        assert "Going on" not in capsys.readouterr().out


SENSELESS = {
    train: "--epochs=0 --batch-size=1.5 --random-seed=-1 --units=many --layers= "
    "--dropout=1.5 --input-dropout=nan --validation-split=-0.1 --clip-norm=0 "
    "--learning-rate=inf",
    generate: "--length=0 --random-seed=4294967296 --temperature=nan",
}


@pytest.mark.parametrize("script", [train, generate])
def test_a_number_that_makes_no_sense_is_an_error(capsys, script):
    for flag in SENSELESS[script].split():
        line = fails(capsys, script.parse_arguments, flag)
        name, value = flag.split("=")
        assert name in line and repr(value) in line
