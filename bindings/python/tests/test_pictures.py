"""Every form in which a picture may come, and what is refused."""

import io
import pathlib

import numpy
import pytest
from PIL import Image


def test_paths_bytes_and_pixels_are_the_same_picture(analyzer, sample, pixels):
    expected = analyzer.analyze(sample).faces
    content = pathlib.Path(sample).read_bytes()
    assert analyzer.analyze(sample).source == sample
    pictures = [pathlib.Path(sample), content, bytearray(content), memoryview(content), Image.open(sample), pixels]
    for picture in pictures:
        assert analyzer.analyze(picture).faces == expected
    assert analyzer.analyze(pixels).source is None
    assert analyzer.analyze(pixels[:, :, ::-1].copy(), bgr=True).faces == expected


def strided(array):
    """The same pixels with every second value of a larger array."""
    wide = numpy.zeros((array.shape[0] * 2, array.shape[1] * 2, *array.shape[2:]), numpy.uint8)
    wide[::2, ::2] = array
    return wide[::2, ::2]


@pytest.mark.parametrize(
    "layout",
    [
        numpy.ascontiguousarray,
        numpy.asfortranarray,
        strided,
        lambda array: numpy.flip(numpy.flip(array).copy()),
        lambda array: numpy.ascontiguousarray(array[:, :, ::-1])[:, :, ::-1],
        lambda array: numpy.ascontiguousarray(array.transpose(2, 0, 1)).transpose(1, 2, 0),
    ],
    ids=["C", "Fortran", "strided", "negative strides", "reversed colours", "channels first in memory"],
)
def test_layouts(analyzer, pixels, layout):
    array = layout(pixels)
    array.flags.writeable = False
    assert analyzer.analyze(array).faces == analyzer.analyze(pixels).faces


def test_grey_and_alpha(analyzer, pixels, sample):
    grey = numpy.asarray(Image.open(sample).convert("L"))
    expected = analyzer.analyze(numpy.repeat(grey[:, :, None], 3, axis=2)).faces
    assert expected
    assert analyzer.analyze(grey).faces == expected
    assert analyzer.analyze(grey[:, :, None]).faces == expected
    assert analyzer.analyze(Image.fromarray(grey)).faces == expected
    # The left half is half transparent, which lightens it as the decoder does with a PNG.
    alpha = numpy.full(pixels.shape[:2], 255, numpy.uint8)
    alpha[:, :256] = 100
    rgba = numpy.dstack([pixels, alpha])
    encoded = io.BytesIO()
    Image.fromarray(rgba).save(encoded, "png")
    expected = analyzer.analyze(encoded.getvalue()).faces
    assert expected and expected != analyzer.analyze(pixels).faces
    assert analyzer.analyze(rgba).faces == expected
    assert analyzer.analyze(rgba[:, :, [2, 1, 0, 3]], bgr=True).faces == expected
    assert analyzer.analyze(Image.fromarray(rgba)).faces == expected


def test_pil_images_are_turned_upright(analyzer, pixels, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.png"
    Image.fromarray(numpy.ascontiguousarray(numpy.rot90(pixels))).save(path, exif=exif)
    expected = analyzer.analyze(pixels).faces
    assert analyzer.analyze(Image.open(path)).faces == analyzer.analyze(path).faces == expected


def test_palettes_and_bits(analyzer, sample):
    for mode in ("P", "1", "CMYK", "LA", "YCbCr"):
        analysis = analyzer.analyze(Image.open(sample).convert("RGB").convert("L" if mode == "LA" else "RGB").convert(mode))
        assert (analysis.width, analysis.height) == (512, 512), mode


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ("float32", "(image * 255)"),
        ("float64", "(image * 255)"),
        ("float16", "(image * 255)"),
        ("bool", "* 255"),
        ("uint16", "// 257"),
        ("int64", 'astype("uint8")'),
        ("int8", 'astype("uint8")'),
        ("complex64", "uint8"),
        ("object", "uint8"),
    ],
)
def test_other_types_are_refused_with_a_sentence(analyzer, pixels, kind, advice):
    with pytest.raises(TypeError, match="must be uint8") as error:
        analyzer.analyze(pixels.astype(kind))
    assert advice in str(error.value)


@pytest.mark.parametrize("shape", [(3, 20, 20), (20,), (20, 20, 2), (20, 20, 5), (1, 20, 20, 3), (0, 20, 3), (20, 0), ()])
def test_other_shapes_are_refused_with_a_sentence(analyzer, shape):
    with pytest.raises(ValueError, match="shape"):
        analyzer.analyze(numpy.zeros(shape, numpy.uint8))


def test_other_pictures_are_refused(analyzer, tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        analyzer.analyze(tmp_path / "missing.jpg")
    assert error.value.filename == str(tmp_path / "missing.jpg")
    with pytest.raises(OSError):
        analyzer.analyze(tmp_path)
    for content in (b"", b"hello", b"\xff\xd8\xff\xe0 cut off"):
        with pytest.raises(ValueError):
            analyzer.analyze(content)
    with pytest.raises(ValueError, match="analyze_video"):
        analyzer.analyze(b"\0\0\0\x20ftypisom\0\0\x02\0")
    for picture in (None, 7, [1, 2], {"image": 1}):
        with pytest.raises(TypeError, match="a picture is a path"):
            analyzer.analyze(picture)
    for mode in ("I", "F", "I;16"):
        with pytest.raises(TypeError, match="mode"):
            analyzer.analyze(Image.new(mode, (20, 20)))


def test_small_and_narrow_pictures(analyzer):
    for shape in ((1, 1), (1, 900), (900, 1, 3), (2, 3, 4)):
        analysis = analyzer.analyze(numpy.zeros(shape, numpy.uint8))
        assert (analysis.height, analysis.width, analysis.faces) == (*shape[:2], [])


def test_a_whole_picture_is_classified(analyzer, pixels):
    import fer_rs

    emotions = analyzer.classify(pixels[20:210, 140:310])
    assert tuple(emotions) == fer_rs.EMOTIONS
    assert sum(emotions.values()) == pytest.approx(1, abs=1e-4)
    with pytest.raises(FileNotFoundError):
        analyzer.classify("missing.jpg")
