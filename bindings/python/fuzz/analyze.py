"""Fuzz target: no picture and no table may do anything but return or raise one of Python's own exceptions.

    pip install atheris pillow pyarrow
    python bindings/python/fuzz/analyze.py -max_total_time=600

The extension module is not instrumented, so that the inputs follow from this file and from the seeds below, not from coverage in Rust.
"""

import pathlib
import sys

import atheris
import numpy
import pyarrow

with atheris.instrument_imports(include=["fer_rs"]):
    import fer_rs
    from fer_rs.compat import deepface
    from fer_rs.compat.fer import FER, InvalidImage

ANALYZER = fer_rs.Analyzer(threads=1, onnxruntime=False)
KINDS = ["uint8", "int8", "uint16", "float32", "float64", "bool", "complex64", "S3", "object"]
SAMPLE = (pathlib.Path(__file__).parents[3] / "assets/samples/astronaut.png").read_bytes()[:4096]


def array(data):
    """An array of any type, shape and strides."""
    kind = numpy.dtype(data.PickValueInList(KINDS))
    shape = [data.ConsumeIntInRange(0, 40) for _ in range(data.ConsumeIntInRange(0, 4))]
    if len(shape) == 3 and data.ConsumeBool():
        shape[2] = data.ConsumeIntInRange(1, 4)
    size = int(numpy.prod(shape))
    values = numpy.frombuffer(data.ConsumeBytes(size).ljust(size, b"\7"), numpy.uint8).reshape(shape)
    values = values if kind == numpy.uint8 else values.astype(kind)
    steps = [data.PickValueInList([1, 2, -1, -2]) for _ in shape]
    values = numpy.asarray(values[tuple(slice(None, None, step) for step in steps)])
    return values.T if data.ConsumeBool() else values


def encoded(data):
    """Bytes that may begin as a photo does."""
    start = data.PickValueInList([b"", SAMPLE, b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBPVP8 ", b"\0\0\0\x20ftypisom"])
    return start[: data.ConsumeIntInRange(0, len(start))] + data.ConsumeBytes(400)


def table(data):
    """A record batch whose columns may be missing, null or of other types."""
    columns = {}
    rows = data.ConsumeIntInRange(0, 3)
    for name in ("uri", "bytes", "other"):
        if data.ConsumeIntInRange(0, 9):
            kind = data.PickValueInList([pyarrow.string(), pyarrow.binary(), pyarrow.large_binary(), pyarrow.binary_view(), pyarrow.null()])
            cells = [None if data.ConsumeBool() else encoded(data) for _ in range(rows)]
            if kind == pyarrow.string():
                cells = [None if cell is None else cell.decode("latin-1") for cell in cells]
            columns[name] = pyarrow.array([None] * rows if kind == pyarrow.null() else cells, kind)
    return pyarrow.record_batch(columns)


def one_input(content):
    data = atheris.FuzzedDataProvider(content)
    picture = encoded(data) if data.ConsumeBool() else array(data)
    use = data.ConsumeIntInRange(0, 6)
    try:
        match use:
            case 0:
                ANALYZER.analyze(picture, bgr=data.ConsumeBool()).to_arrow()
            case 1:
                ANALYZER.analyze_batch([picture, encoded(data)], on_error="keep").to_arrow()
            case 2:
                ANALYZER.classify(picture)
            case 3:
                ANALYZER.analyze_table(table(data))
            case 4:
                FER(mtcnn=data.ConsumeBool()).detect_emotions(picture)
            case 5:
                deepface.analyze(picture, enforce_detection=data.ConsumeBool())
            case 6:
                ANALYZER.analyze(data.ConsumeUnicode(40))
    except (OSError, TypeError, ValueError, NotImplementedError, InvalidImage):
        pass


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
