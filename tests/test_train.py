"""Training: the networks, what a run leaves behind, going on, and mistakes."""

import json
import re
import shlex
import shutil
import signal
import sys
import zipfile
from pathlib import Path

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


def contents(folder, pattern="*"):
    """Return what is in each file of folder whose name matches pattern."""
    return {path: path.read_bytes() for path in folder.glob(pattern)}


def best_of(folder):
    """Return the network, compiled, of a folder's best checkpoint."""
    return keras.models.load_model(train.checkpoints(folder)[0][2])


def command_printed(stdout):
    """Return the words, after python, of the command that a training's output ends in."""
    python, *words = shlex.split(stdout.splitlines()[-1].split(": ", 1)[1])
    assert python == "python"
    return words


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
    tmp_path, capsys, every_character
):
    """At a rate of next to nothing, an epoch's loss is that over all windows."""
    folder, flags = tmp_path / "weights", ["--learning-rate", 1e-9, "--dropout", 0]
    flags += ["--every-character"] * every_character + ["--validation-split", 0.25]
    train_in(folder, *flags, "--epochs", 1, "--batch-size", 100)
    assert "Total Patterns:  400\n" in capsys.readouterr().out

    char_to_int = {char: index for index, char in enumerate(sorted(set(TEXT)))}
    dataX, dataY = [], []
    for i in range(400):  # the tutorial's loop
        dataX.append([char_to_int[char] for char in TEXT[i : i + 100]])
        following = TEXT[i + 1 : i + 101] if every_character else TEXT[i + 100]
        dataY.append([char_to_int[char] for char in following])
    X, y, model = np.reshape(dataX, (400, 100, 1)), np.array(dataY), best_of(folder)
    loss = model.evaluate(X[:300], y[:300], verbose=0)
    val_loss = model.evaluate(X[300:], y[300:], verbose=0)
    assert losses_in(folder)[1] == pytest.approx(loss, rel=1e-4)
    assert losses_in(folder, "val_loss")[1] == pytest.approx(val_loss, rel=1e-4)
    assert train.checkpoints(folder)[0][0] == pytest.approx(val_loss, abs=1e-4)


def test_an_epoch_has_each_window_once_in_an_order_of_its_own_which_a_seed_repeats():
    encoded = np.arange(150, dtype="uint8")  # a window is known by its first number
    args = train.parse_arguments(["--batch-size", "16"])

    def two_epochs(seed):
        keras.utils.set_random_seed(seed)
        dataset = train.batches(encoded, args)
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


# What a run prints and leaves behind


@pytest.mark.parametrize("which", [1, 2], ids=["first", "bigger"])
def test_a_run_prints_and_leaves_what_the_tutorials_does_and_how_to_write(
    finished, which
):
    project, ended = finished[0], finished[which]
    assert ended.returncode == 0, ended.stderr
    summary = f"Total Vocab:  {len(set(TEXT))}\nTotal Patterns:  400\n"
    assert ended.stdout.startswith(f"Total Characters:  500\n{summary}")
    assert ("\nEpoch 2/2\n" in ended.stdout) == (which == 1)
    assert "\b" not in ended.stdout  # a bar is for a terminal
    folder = project / "weights" / ("wonderland" if which == 1 else "wonderland-bigger")
    log, text, *paths = sorted(path.name for path in folder.iterdir())
    assert (log, text) == ("log.csv", "text.txt")
    assert (folder / text).read_text("utf-8") == TEXT
    ending = "" if which == 1 else "-bigger"
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


# Going on


def test_going_on_keeps_the_optimizers_state_and_what_was_there(tmp_path, capsys):
    folder = tmp_path / "weights"
    train_in(folder, "--epochs", 2)
    before, (_, _, best) = contents(folder), train.checkpoints(folder)[0]
    train_in(folder, "--epochs", 2)
    assert "with 2 of 2 epochs done\n" in capsys.readouterr().out
    assert contents(folder) == before
    train_in(folder, "--epochs", 7)
    printed = capsys.readouterr().out
    assert f"Going on from {best}\n" in printed
    assert "with 2 of 7 epochs done\n" in printed
    assert "Epoch 2/7" not in printed and "Epoch 3/7" in printed
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


def spoil(path, how):
    """Cut a file short, or flip a bit in the middle of it."""
    content = bytearray(path.read_bytes())
    if how == "flip":
        content[len(content) // 2] ^= 1
    path.write_bytes(content[: int(how * len(content))] if how != "flip" else content)


@pytest.mark.parametrize("how", [0, 0.99, "flip"])
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
    line = fails(capsys, script.main, *args)
    assert line.startswith(f"Cannot read {best}: ") and "No such file" in line
    assert (set(folder.iterdir()), contents(folder, "log.csv")) == before


@only_unix
@pytest.mark.parametrize("link", ["weights", "weights/wonderland"])
@pytest.mark.parametrize("script", [train, generate])
def test_a_folder_that_leads_to_a_lost_drive_ends_the_program(
    trained, capsys, script, link
):
    _, args = folder_and_arguments(trained, script)
    shutil.rmtree(trained / link)
    (trained / link).symlink_to(trained / "drive")
    line = fails(capsys, script.main, *args)
    drive = (trained / "drive").resolve()
    assert line == f"{trained / link} leads to {drive}, which is not there."


@pytest.mark.parametrize("script", [train, generate])
def test_a_checkpoint_of_a_newer_keras_ends_in_the_versions(trained, capsys, script):
    folder, args = folder_and_arguments(trained, script)
    best = train.checkpoints(folder)[0][2]
    with zipfile.ZipFile(best) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    older = json.loads(parts["metadata.json"])["keras_version"].encode()
    parts["metadata.json"] = parts["metadata.json"].replace(older, b"99.0.0")
    parts["config.json"] = parts["config.json"].replace(b'"units":', b'"n_units":')
    with zipfile.ZipFile(best, "w") as file:
        for name, content in parts.items():
            file.writestr(name, content)
    before = contents(folder)
    line = fails(capsys, script.main, *args)
    versions = rf"Keras {keras.__version__} .* Keras 99\.0\.0 .* upgrade Keras.*'units'"
    assert re.search(versions, line) and str(best) in line
    assert contents(folder) == before


# A folder belongs to one text and network


GRU = "layers.LSTM(args.units", "layers.GRU(args.units"
RELU = "layers.LSTM(args.units", 'layers.LSTM(args.units, activation="relu"'
SHORT = "SEQ_LENGTH = 100", "SEQ_LENGTH = 60"


@pytest.mark.parametrize(
    "change", ["--units 8", "--one-hot", GRU, RELU, SHORT], ids=str
)
def test_another_network_is_refused(trained, capsys, change):
    text, folder = trained / "data/wonderland.txt", trained / "weights/wonderland"
    before = contents(folder)
    flags, main = (change, train.main) if "-" in change else ("", edited(*change))
    line = fails(capsys, main, text, "--weights", folder, *flags.split())
    assert f"{folder} holds a run of another network." in line and "--weights" in line
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("removed", "written", "text", "named"),
    [
        ("", {}, "another text, of other letters. " * 10, "holds a run of another"),
        ("", {}, TEXT[250:] + TEXT[:250], "holds a run of another"),  # same letters
        ("*.keras", {}, TEXT + " ", "holds a run of another"),
        ("text.txt", {}, TEXT, "has weights-improvement-02"),
        ("[!.]*", {".DS_Store": b""}, TEXT, "has .DS_Store"),
        ("[!.]*", {"text.txt": b"\xff" * 500}, TEXT, "holds a run of another"),
    ],
)
def test_what_is_no_run_of_the_text_is_left_alone(
    trained, monkeypatch, capsys, removed, written, text, named
):
    monkeypatch.setattr(train, "HERE", trained)
    book, folder = trained / "wonderland.txt", trained / "weights/wonderland"
    book.write_text(text)
    for path in list(folder.glob(removed)) if removed else []:
        path.unlink()
    for name, content in written.items():
        (folder / name).write_bytes(content)
    before = contents(folder)
    line = fails(capsys, train.main, book)
    assert line.startswith(f"{folder} {named}")
    assert "text. Name another" in line or "no text.txt. Name another" in line
    assert contents(folder) == before


def test_of_two_runs_that_begin_at_once_in_one_folder_one_is_refused(tmp_path):
    check = "        keras.models.model_from_json"
    main = edited(check, f"        folder.mkdir()  # as the other does\n{check}")
    with pytest.raises(FileExistsError, match="weights"):  # told in one line
        train_in(tmp_path / "weights", "--epochs", 1, main=main)
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
    goes_on = "KeyboardInterrupt: The same command goes on from the best epoch, if any."
    assert stderr.splitlines()[-1] == goes_on and "Traceback" not in stderr
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
    assert f"--weights {folder} and --clip-norm 1" in line
    assert contents(folder, "*.keras") == before


# A student's changes


RETURN = "    return model\n\n\ndef name_of"
OWN = RETURN, RETURN.replace("model", "keras.Model(model.inputs, model.outputs)", 1)


ANY_LENGTH = "keras.Input((SEQ_LENGTH, 1))", "keras.Input((None, 1))"


@pytest.mark.parametrize(
    "edit", [GRU, OWN, ANY_LENGTH], ids=["GRU", "functional", "any length"]
)
def test_generate_writes_with_a_network_that_only_build_model_names(
    tmp_path, capsys, edit
):
    folder = tmp_path / "weights"
    for epochs in 1, 2:
        train_in(folder, "--epochs", epochs, main=edited(*edit))
    assert "with 1 of 2 epochs done\n" in capsys.readouterr().out
    generate.main([str(folder), "--length", "5"])
    assert "Done." in capsys.readouterr().out


def test_a_layer_that_cannot_be_loaded_again_fails_before_the_first_epoch(tmp_path):
    main = edited("layers.Dropout(args.dropout)", "layers.Lambda(lambda x: x)")
    with pytest.raises(ValueError, match="Lambda"):
        train_in(tmp_path / "weights", "--epochs", 1, main=main)
    assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize("mistake", ["[].mine", "open('mine.npy')"])
def test_a_students_mistake_keeps_its_traceback(project, mistake):
    path, line = project / "train.py", "    if args.one_hot:\n"
    code = path.read_text("utf-8")
    assert code.count(line) == 1
    path.write_text(code.replace(line, f"    {mistake}\n{line}"), "utf-8")
    ended = run(project, "train.py")
    assert "Traceback" in ended.stderr and f"\n    {mistake}\n" in ended.stderr
    assert re.search("Error: .*mine", ended.stderr.splitlines()[-1])


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
