"""What the tests share: a copy of the project with a short book, trained for real."""

import csv
import os
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

import train

BOOK = (ROOT / "data" / "wonderland.txt").read_text("utf-8")
TEXT = BOOK[:500].lower()
PIPE = subprocess.PIPE

only_unix = pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")


def pytest_configure(config):
    """Leave out of the summary what packages warn of and no user has to act on."""
    for warning in ("__array__ implementation", ":DeprecationWarning:gast"):
        config.addinivalue_line("filterwarnings", f"ignore:{warning}")


def run(project, *command, **options):
    """Run Python in the project's folder and return how it ended."""
    options = {"stdout": PIPE, "stderr": PIPE, "text": True, "timeout": 300} | options
    command = [sys.executable, *map(str, command)]
    return subprocess.run(command, cwd=project, check=False, **options)


def interrupt(project, command, kind, ready, stdout=subprocess.DEVNULL):
    """Send a signal to a script that is ready, and return its status and stderr."""
    # Where a shell has put the tests into the background, scripts would ignore Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)
    command = [sys.executable, *map(str, command)]
    options = {"stdout": stdout, "stderr": PIPE, "text": True}
    with subprocess.Popen(command, cwd=project, **options) as process:
        while not ready():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(kind)
        stderr = process.communicate(timeout=10)[1]  # the prompt has to be back by then
    return process.returncode, stderr


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


def edited(old, new):
    """Return the main of a train.py in which a student has put new in place of old."""
    code = Path(train.__file__).read_text("utf-8")
    assert code.count(old) == 1
    module = types.ModuleType("train")
    module.__file__ = train.__file__
    exec(code.replace(old, new), module.__dict__)  # noqa: S102 - our own code
    return module.main


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
def finished(tmp_path_factory):
    """A project with both networks trained an epoch or two, and the commands' ends."""
    project = copy_project(tmp_path_factory.mktemp("finished") / "project")
    small = run(project, "train.py", "--epochs", 2)
    return project, small, run(project, "train.py", "--epochs", 1, "--bigger")


@pytest.fixture
def trained(finished, tmp_path):
    """A copy, to be spoilt, of the finished project."""
    return Path(shutil.copytree(finished[0], tmp_path / "trained"))
