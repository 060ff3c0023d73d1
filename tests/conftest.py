"""What the tests share: a copy of the project with a short book, trained for real."""

import csv
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

# On a GPU results differ by rounding, so the tests hide it, before Keras looks for it
USERS_ENVIRONMENT = dict(os.environ)
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import keras
import numpy as np

import train

BOOK = (ROOT / "data" / "wonderland.txt").read_text("utf-8")
TEXT = BOOK[:500].lower()
README = (ROOT / "README.md").read_text("utf-8")
COURSES = (ROOT / "tests" / "exercises.md").read_text("utf-8")
OLD_LISTING = (ROOT / "tests" / "old-listing.md").read_text("utf-8")
RUNS = (ROOT / "tests" / "runs" / "README.md").read_text("utf-8")
CARDS = (ROOT / "weights" / "pretrained" / "README.md").read_text("utf-8")
STEPS = 4  # an epoch's, of its 400 patterns in batches of 128
PIPE = subprocess.PIPE

only_unix = pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")


def pytest_configure(config):
    """Leave out of the summary what packages warn of and no user has to act on."""
    for warning in "__array__ impl", ":DeprecationWarning:gast", "Skipping variable":
        config.addinivalue_line("filterwarnings", f"ignore:{warning}")


def run(project, *command, **options):
    """Run Python in the project's folder and return how it ended."""
    options = {"stdout": PIPE, "stderr": PIPE, "text": True, "timeout": 300} | options
    command = [sys.executable, *map(str, command)]
    return subprocess.run(command, cwd=project, check=False, **options)


def interrupt(project, command, kind, ready, stdout=subprocess.DEVNULL, then=None):
    """Send a signal to a script that is ready, and return its status and stderr.

    If it lives on, it gets a line to read, then.
    """
    # Where a shell has put the tests into the background, scripts would ignore Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)
    command = [sys.executable, *map(str, command)]
    options = {"stdin": PIPE, "stdout": stdout, "stderr": PIPE, "text": True}
    with subprocess.Popen(command, cwd=project, **options) as process:
        while not ready():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(kind)
        # the prompt has to be back within a second, or a minute on a busy machine
        _, stderr = process.communicate(then, timeout=60)
    return process.returncode, stderr


def rows_of(page):
    """Return the cells of each row of the tables in a page."""
    return [
        re.split(r" *\| *", row)
        for row in re.findall(r"^\| +(.*?) *\|$", page, re.MULTILINE)
    ]


def losses_in(folder, kind="loss", name="log.csv"):
    """Return the losses in a folder's log by epoch, counted from 1."""
    with (folder / name).open(newline="") as file:
        return {int(r["epoch"]) + 1: float(r[kind]) for r in csv.DictReader(file)}


def fails(capsys, main, *args):
    """Call a script's main, which has to end in an error, and return what it says."""
    with pytest.raises(SystemExit) as ended:
        main([str(arg) for arg in args])
    captured, code = capsys.readouterr(), ended.value.code
    assert "Seed" not in captured.out
    error = captured.err.splitlines()[-1] if code == 2 else code  # 2 is argparse's
    assert isinstance(error, str) and "\n" not in error
    return error


def train_in(folder, *flags, text=TEXT, main=train.main):
    """Train a network of 16 units in folder, unless flags say otherwise."""
    path = folder.parent / "book.txt"
    path.write_text(text, "utf-8")
    main([str(arg) for arg in [path, "--weights", folder, "--units", 16, *flags]])


def windows_of(text, every_character=False):
    """Return X and y of text by the tutorial's loop."""
    char_to_int = {char: index for index, char in enumerate(sorted(set(text)))}
    dataX, dataY = [], []
    for i in range(len(text) - 100):
        dataX.append([char_to_int[char] for char in text[i : i + 100]])
        following = text[i + 1 : i + 101] if every_character else text[i + 100]
        dataY.append([char_to_int[char] for char in following])
    y = np.array(dataY)
    return np.reshape(dataX, (-1, 100, 1)), y if every_character else y[:, 0]


def contents(folder, pattern="*"):
    """Return what is in each file under folder whose name matches pattern."""
    return {p: p.read_bytes() for p in folder.rglob(pattern) if p.is_file()}


def best_of(folder):
    """Return the network, compiled, of a folder's best checkpoint."""
    return keras.models.load_model(train.checkpoints(folder)[0][2])


def command_printed(stdout):
    """Return the words, after python, of the command that a training's output ends in."""
    python, *words = shlex.split(stdout.splitlines()[-1].split(": ", 1)[1])
    assert python == "python"
    return words


def edited(*changes, script=train):
    """Return a script in which a student has put, for each (old, new), new for old."""
    code = Path(script.__file__).read_text("utf-8")
    for old, new in changes:
        assert code.count(old) == 1
        code = code.replace(old, new)
    module = types.ModuleType(script.__name__)
    module.__file__ = script.__file__
    exec(code, module.__dict__)  # noqa: S102 - our own code
    return module


def copy_project(folder):
    """Copy the project, with the first 500 characters of the book, into folder."""
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "wonderland.txt").write_text(BOOK[:500], "utf-8")
    for script in ("train.py", "generate.py"):
        shutil.copy(ROOT / script, folder)
    return folder


@pytest.fixture
def project(tmp_path):
    return copy_project(tmp_path / "project")


@pytest.fixture(scope="session")
def trainings(tmp_path_factory):
    """How the trainings of both networks, for two epochs and for one, have ended."""
    project = copy_project(tmp_path_factory.mktemp("finished") / "project")
    first = run(project, "train.py", "--epochs", 2)
    bigger = run(project, "train.py", "--epochs", 1, "--bigger")
    return {"project": project, "first": first, "bigger": bigger}


@pytest.fixture(scope="session")
def finished(trainings):
    """The project in which these trainings were."""
    return trainings["project"]


@pytest.fixture
def trained(finished, tmp_path):
    """A copy, to be spoilt, of the finished project."""
    return Path(shutil.copytree(finished, tmp_path / "trained"))
