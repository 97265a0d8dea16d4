"""The package: settings, engines, command line, stubs, panics, and what README and docs say."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, module, skip

import fer_rs
from fer_rs import _fer_rs, _onnxruntime


def test_wrong_settings_are_refused(tmp_path):
    for arguments, kind in (
        ({"model": tmp_path / "missing"}, FileNotFoundError),
        ({"detector": tmp_path / "missing"}, FileNotFoundError),
        ({"model": tmp_path}, ValueError),
        ({"detector": tmp_path}, ValueError),
        ({"min_face": -1}, ValueError),
        ({"min_face": float("nan")}, ValueError),
        ({"threads": 0}, ValueError),
        ({"threads": 100_000}, ValueError),
        ({"threads": -1}, OverflowError),
        ({"onnxruntime": tmp_path / "missing.so"}, RuntimeError),
        ({"onnxruntime": 7}, TypeError),
        ({"precision": "f16"}, ValueError),
        ({"precision": "int8", "onnxruntime": False}, ValueError),
        ({"labels": "affectnet"}, ValueError),
        ({"device": "gpu"}, TypeError),
    ):
        with pytest.raises(kind):
            fer_rs.Analyzer(**arguments)


def test_an_analyzer_says_what_it_is():
    analyzer = fer_rs.Analyzer(threads=3, onnxruntime=False)
    assert (analyzer.threads, analyzer.engine, analyzer.labels) == (3, "tract", "ferplus")
    assert fer_rs.Analyzer(labels="fer2013").labels == "fer2013"
    assert repr(analyzer) == f"<fer_rs.Analyzer: {analyzer.model} on tract, 3 threads>"
    assert fer_rs.Analyzer(onnxruntime=False).threads == os.cpu_count() or hasattr(os, "sched_getaffinity")


def test_a_folder_with_models(sample):
    folder = ROOT / "assets/models"
    analyzer = fer_rs.Analyzer(folder / "emotion", str(folder / "single_shot"), onnxruntime=False)
    assert analyzer.analyze(sample).faces == fer_rs.Analyzer(onnxruntime=False).analyze(sample).faces


def test_onnx_runtime_is_found_in_its_package(tmp_path, monkeypatch):
    package = tmp_path / "onnxruntime"
    (package / "capi").mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("libonnxruntime_providers_shared.so", "libonnxruntime.so.1.9.0", "libonnxruntime.so.1.23.2"):
        (package / "capi" / name).touch()
    assert _onnxruntime.library() is None
    library = package / "capi/libonnxruntime.so.1.24.1"
    library.touch()
    assert _onnxruntime.library() == library
    # A process can try to load a library only once.
    program = "import fer_rs; print(fer_rs.Analyzer().engine); fer_rs.Analyzer(onnxruntime=True)"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.stdout == "tract\n" and "tract is used instead" in done.stderr
    assert "RuntimeError: cannot load ONNX Runtime" in done.stderr and "only once" in done.stderr


def test_onnx_runtime_gives_the_same_faces(sample):
    downloaded = next((ROOT / "assets/runtime").glob("*onnxruntime.*"), None)
    library = os.environ.get("ORT_DYLIB_PATH") or downloaded or _onnxruntime.library()
    if not library:
        skip("onnxruntime", "there is no library of ONNX Runtime")
    analyzer = fer_rs.Analyzer(onnxruntime=library, precision="f32")
    assert (analyzer.engine, analyzer.precision) == ("onnxruntime", "f32")
    for found, expected in zip(analyzer.analyze(sample).faces, fer_rs.Analyzer(onnxruntime=False).analyze(sample).faces):
        assert found.box == pytest.approx(expected.box, abs=0.1)
        assert found.emotions == pytest.approx(expected.emotions, abs=1e-3)
    # The default may be 8-bit integers, by the processor.
    for found, expected in zip(fer_rs.Analyzer(onnxruntime=library).analyze(sample).faces, analyzer.analyze(sample).faces):
        assert found.box == pytest.approx(expected.box, abs=3)
        assert found.emotions == pytest.approx(expected.emotions, abs=0.05)


def test_panics_are_runtime_errors():
    if not hasattr(_fer_rs, "panic"):
        pytest.skip("release builds have no panic to try")
    with pytest.raises(RuntimeError, match="a bug of fer_rs"):
        _fer_rs.panic()


def command(*arguments):
    program = Path(sys.executable).with_name("fer")
    environment = os.environ | {"FER_ENGINE": "tract"}
    return subprocess.run([program, *arguments], capture_output=True, text=True, env=environment)


def test_the_command(sample, tmp_path):
    assert command("--version").stdout == f"fer {fer_rs.__version__}\n"
    assert command("--help").returncode == 0
    assert command("nonsense").returncode == 1
    done = command("analyze", sample, "--out", str(tmp_path / "faces.csv"))
    assert done.returncode == 0, done.stderr
    assert "happy" in (tmp_path / "faces.csv").read_text()
    assert command("analyze", sample, str(tmp_path / "faces.csv"), "--out", str(tmp_path / "more.csv")).returncode == 2
    module_run = [sys.executable, "-m", "fer_rs", "--version"]
    assert subprocess.run(module_run, capture_output=True, text=True).stdout == f"fer {fer_rs.__version__}\n"


def test_everything_has_a_docstring():
    for name in fer_rs.__all__:
        thing = getattr(fer_rs, name)
        assert inspect.getdoc(thing), name
        for member, value in vars(thing).items() if inspect.isclass(thing) else ():
            if not member.startswith("_") and callable(value):
                assert inspect.getdoc(value), f"{name}.{member}"


def test_the_stubs_describe_the_module(tmp_path):
    module("mypy")
    allowed = tmp_path / "allowed"
    # The stubs are those of release builds, and an iterator's methods come from its protocol.
    allowed.write_text("fer_rs._fer_rs.panic\nfer_rs._fer_rs.__all__\n")
    run = [sys.executable, "-m", "mypy.stubtest", "fer_rs._fer_rs", "--ignore-unused-allowlist", "--allowlist", allowed]
    done = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run([sys.executable, "-m", "mypy", "--strict", "-p", "fer_rs"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", ["README.md", "bindings/python/README.md"])
def test_the_lines_of_the_readme(page, sample, capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    lines = next(block for block in blocks if "import fer_rs" in block)
    assert len([line for line in lines.splitlines() if line.strip()]) <= 5
    exec(lines.replace('"photo.jpg"', repr(sample)), {})
    assert "happy" in capsys.readouterr().out
