"""What the tests share: a copy of the project with a short book, trained for real."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
BOOK = (ROOT / "data" / "wonderland.txt").read_text(encoding="utf-8")


def environment():
    """Return a user's environment, without what importing train has set."""
    return {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}


def run(project, script, *args, **options):
    """Run a script of the project as a command and return how it ended."""
    return subprocess.run(
        [sys.executable, script, *map(str, args)],
        cwd=project,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        **options,
    )


def the_only_line(stderr):
    """Return stderr's line, which has to be the only one."""
    assert stderr.count("\n") == 1, stderr
    return stderr


@pytest.fixture
def project(tmp_path):
    """A copy of the project whose book is the first 500 characters."""
    return copy_project(tmp_path / "project")


def copy_project(folder):
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "wonderland.txt").write_text(BOOK[:500], encoding="utf-8")
    for script in ("train.py", "generate.py"):
        shutil.copy(ROOT / script, folder)
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A project with both networks trained an epoch or two, and the commands' ends."""
    project = copy_project(tmp_path_factory.mktemp("finished") / "project")
    small = run(project, "train.py", "--epochs", 2)
    bigger = run(project, "train.py", "--epochs", 1, "--bigger")
    return project, small, bigger


@pytest.fixture
def trained(finished, tmp_path):
    """A copy, to be spoilt, of the finished project."""
    return Path(shutil.copytree(finished[0], tmp_path / "trained"))
