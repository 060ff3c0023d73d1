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


def test_the_weights_have_the_loss_that_the_readme_claims():
    folder = PRETRAINED / "wonderland"
    settings = train.read_settings(folder)
    chars = settings["vocab"]
    model, _, _ = train.load_best(settings, train.checkpoints(folder))
    encoded = train.encode(train.load_text(train.TEXT, settings["encoding"]), chars)
    windows = np.lib.stride_tricks.sliding_window_view(encoded, 101)[::50]
    loss = model.evaluate(windows[:, :-1, np.newaxis], windows[:, -1], verbose=0)
    assert loss == pytest.approx(1.5681, abs=0.002)
    assert "1.5681" in README


def log_of(folder):
    """Return the losses in the folder's log, by epoch, counted from 1."""
    with (folder / "log.csv").open(newline="") as file:
        rows = csv.DictReader(file)
        return {int(row["epoch"]) + 1: float(row["loss"]) for row in rows}


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
    row = r"loss at epoch (\d+) \|.*\| (\d\.\d{4}) \|$"
    table = {int(a): float(b) for a, b in re.findall(row, README, re.MULTILINE)}
    named = {epoch: alice[epoch] for epoch in (19, 28, 29, 30)}
    assert table == {**named, 20: carol[20]}
    curve = re.search(r"^ *line \[(.*)\]$", README, re.MULTILINE)[1]
    assert list(map(float, curve.split(", "))) == list(alice.values())


def test_the_readmes_commands_print_the_readmes_samples(project):
    shutil.copy(train.TEXT, project / "data")
    shutil.copytree(PRETRAINED, project / "weights" / "pretrained")
    samples = re.findall(SAMPLE, README, re.MULTILINE)
    assert len(samples) == 3
    for args, stdout in samples:
        name = "christmas-carol" if "carol" in args else "wonderland"
        ended = run(project, "generate.py", *shlex.split(args))
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout == stdout
        assert str(Path("pretrained", name)) in ended.stderr
