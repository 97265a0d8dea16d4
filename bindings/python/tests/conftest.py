"""What several tests share: the sample photo, generated photos, the native command, and skips that are counted.

`cargo xtask check python` builds the wheel and runs these tests. By hand: `pip install` the wheel and what `requirements.txt` lists,
and run `pytest` in `bindings/python`.
"""

import importlib
import os
import subprocess
from pathlib import Path

import numpy
import pytest
from PIL import Image

import fer_rs

ROOT = Path(__file__).parents[3]
SKIPPED = []


def skip(what, why):
    """Skips a test that needs something that is absent, unless FER_REQUIRE names it."""
    required = os.environ.get("FER_REQUIRE", "").split(",")
    assert not {"all", what} & set(required), f"{what} is required, but absent: {why}"
    SKIPPED.append(f"skipped: {what}: {why}")
    pytest.skip(why)


def module(name):
    """The package, if it is installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        skip(f"python-{name}", "the package is not installed")


def pytest_terminal_summary(terminalreporter):
    for line in SKIPPED:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def sample():
    """Path of NASA's portrait, 512 pixels wide and high, one face."""
    return str(ROOT / "assets/samples/astronaut.png")


@pytest.fixture(scope="session")
def analyzer():
    """Two threads of tract, whose results do not depend on the machine."""
    return fer_rs.Analyzer(threads=2, onnxruntime=False)


@pytest.fixture(scope="session")
def pixels(sample):
    """The sample as RGB, shape [512, 512, 3]."""
    return numpy.asarray(Image.open(sample).convert("RGB"))


@pytest.fixture(scope="session")
def photos(sample, tmp_path_factory):
    """Paths of photos with 1, 6 and 60 faces of different sizes, one without a face, and one in grey."""
    folder = tmp_path_factory.mktemp("photos")
    head = Image.open(sample).convert("RGB").crop((140, 20, 310, 210))

    def crowd(columns, rows):
        picture = Image.new("RGB", (640, 480), (118, 121, 125))
        for place in range(columns * rows):
            column, row = place % columns, place // columns
            side = 640 // columns - 12 - 3 * (place % 3)
            face = head.resize((side, side * 190 // 170))
            picture.paste(face, (6 + column * 640 // columns, 4 + row * 480 // rows))
        return picture

    pictures = {
        "six.png": crowd(3, 2),
        "sixty.jpg": crowd(10, 6),
        "none.png": Image.new("RGB", (120, 90), (90, 120, 150)),
        "grey.png": Image.open(sample).convert("L"),
    }
    paths = [sample]
    for name, picture in pictures.items():
        paths.append(str(folder / name))
        picture.save(paths[-1])
    return paths


@pytest.fixture(scope="session")
def clip(photos, tmp_path_factory):
    """Makes a video of a number of frames, 25 a second, in which the sample's face moves to the left."""

    def make(frames):
        path = tmp_path_factory.mktemp("clips") / f"{frames}.mp4"
        move = "scale=300:300,crop=240:200:x='mod(n,15)*4':y=0"
        command = ["ffmpeg", "-v", "error", "-loop", "1", "-framerate", "25", "-i", photos[0], "-vf", move]
        command += ["-frames:v", str(frames), "-pix_fmt", "yuv420p", str(path)]
        try:
            subprocess.run(command, check=True)
        except FileNotFoundError:
            skip("ffmpeg", "ffmpeg is not installed")
        return str(path)

    return make


@pytest.fixture(scope="session")
def native():
    """Runs the native command `fer` with arguments and tract, and returns what it prints."""
    program = os.environ.get("FER_BINARY")
    if not program:
        skip("fer-binary", "FER_BINARY does not name the command `fer`")

    def run(*arguments):
        environment = os.environ | {"FER_ENGINE": "tract"}
        return subprocess.run([program, *arguments], env=environment, check=True, capture_output=True, text=True).stdout

    return run
