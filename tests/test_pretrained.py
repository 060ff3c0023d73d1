"""The weights that ship: that they are real, and that the README says what they do."""

import csv
import re
import shlex
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import ROOT, run

import train

README = (ROOT / "README.md").read_text(encoding="utf-8")
PRETRAINED = ROOT / "weights" / "pretrained"
SAMPLE = r"^\$ python generate\.py ?(.*)\n(?:Using .*\n)?(Seed:\n[\s\S]*?\nDone\.\n)"


def test_the_weights_have_learnt_the_book():
    folder = PRETRAINED / "wonderland"
    settings = train.read_run(folder)
    raw_text = train.load_text(train.TEXT, settings["encoding"])
    assert train.sha256(raw_text) == settings["sha256"]
    model = train.build_model(settings)
    (path,) = train.checkpoints(folder)
    assert train.load_best(model, settings, [path]) == path
    model.compile(loss="categorical_crossentropy")
    chars = settings["vocab"]
    patterns = train.Patterns(train.encode(raw_text, chars), len(chars), 128)
    patterns.order = np.arange(0, len(patterns.order), 50)
    assert model.evaluate(patterns, verbose=0) < 1.75


def log_of(folder):
    """Return the losses in the folder's log, by epoch."""
    with (folder / "log.csv").open(newline="") as file:
        return {int(row["epoch"]): float(row["loss"]) for row in csv.DictReader(file)}


@pytest.mark.parametrize("name", ["wonderland", "christmas-carol"])
def test_the_weights_are_the_best_in_the_log_without_the_optimizers_state(name):
    (path,) = train.checkpoints(PRETRAINED / name)
    losses = log_of(PRETRAINED / name)
    epoch = min(losses, key=losses.get)
    assert train.loss_and_epoch(path) == (losses[epoch], epoch)
    with h5py.File(path) as file:
        assert "layers" in file and "optimizer" not in file


def test_the_readmes_losses_are_the_logs():
    alice = log_of(PRETRAINED / "wonderland")
    carol = log_of(PRETRAINED / "christmas-carol")
    assert list(alice) == list(range(1, 31))
    assert list(carol) == list(range(1, 21))
    row = r"^\| loss at epoch (\d+) \|.*\| (\d\.\d{4}) \|$"
    table = {int(a): float(b) for a, b in re.findall(row, README, re.MULTILINE)}
    named = {epoch: alice[epoch] for epoch in (19, 28, 29, 30)}
    assert table == {**named, 20: carol[20]}
    curve = re.search(r"^ *line \[(.*)\]$", README, re.MULTILINE)[1]
    assert list(map(float, curve.split(", "))) == list(alice.values())


def test_the_readmes_commands_print_the_readmes_samples(project):
    shutil.copy(train.TEXT, project / "data")
    shutil.copy(train.TEXT, project / "data" / "pg46.txt")  # the prompt is all the seed
    shutil.copytree(PRETRAINED, project / "weights" / "pretrained")
    samples = re.findall(SAMPLE, README, re.MULTILINE)
    assert len(samples) == 4
    for args, stdout in samples:
        name = "christmas-carol" if "carol" in args else "wonderland"
        ended = run(project, "generate.py", *shlex.split(args))
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout == stdout
        assert str(Path("pretrained", name)) in ended.stderr
