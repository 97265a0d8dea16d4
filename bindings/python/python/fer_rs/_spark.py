"""The schema of face rows as Spark writes schemas."""

from fer_rs._results import EMOTIONS

_POINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
_FLOATS = ("x", "y", "width", "height", "confidence", *(f"{point}_{axis}" for point in _POINTS for axis in "xy"), *EMOTIONS)

_TYPES = {
    "source": "string",
    "frame": "bigint",
    "timestamp_ms": "bigint",
    "image_width": "int",
    "image_height": "int",
    "face": "int",
    **dict.fromkeys(_FLOATS, "float"),
    "dominant": "string",
    "uncertain": "boolean",
    "track_id": "bigint",
    "status": "string",
    "message": "string",
    **{f"raw_{emotion}": "float" for emotion in EMOTIONS},
}

SPARK_SCHEMA = ", ".join(f"{name} {kind}" for name, kind in _TYPES.items())
"""The schema for `DataFrame.mapInArrow` of what `Analyzer.analyze_table` returns."""
