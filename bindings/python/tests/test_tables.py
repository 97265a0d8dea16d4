"""Arrow tables, in and out, and the engines that move them: pyarrow, polars, Spark and Daft."""

import os
import pathlib
import shutil
import sys

import pytest
from conftest import module, skip

import fer_rs


@pytest.fixture(scope="module")
def arrow():
    return module("pyarrow")


@pytest.fixture(scope="module")
def contents(photos):
    """Names and bytes of the photos, one that is none, and one that is null."""
    files = [(pathlib.Path(path).name, pathlib.Path(path).read_bytes()) for path in photos]
    return [*files, ("bad", b"no photo"), ("null", None)]


@pytest.fixture(scope="module")
def expected(arrow, analyzer, contents):
    """The rows of the photos, from pyarrow."""
    return analyzer.analyze_table(batch_of(arrow, contents)).to_pylist()


def batch_of(arrow, contents):
    uris, photos = zip(*contents)
    columns = {"uri": arrow.array(uris, arrow.string()), "bytes": arrow.array(photos, arrow.binary())}
    return arrow.record_batch(columns | {"other": arrow.array(range(len(uris)))})


def test_a_batch_of_pyarrow(arrow, analyzer, contents, expected):
    batch = batch_of(arrow, contents)
    found = analyzer.analyze_table(batch)
    assert isinstance(found, arrow.RecordBatch)
    assert found.schema.names == fer_rs.to_arrow([]).column_names
    counts = {uri: [row["status"] for row in expected if row["source"] == uri] for uri, _ in contents}
    assert counts["astronaut.png"] == ["ok"] and counts["six.png"] == ["ok"] * 6
    assert counts["none.png"] == ["no_face"] and counts["bad"] == counts["null"] == ["error"]
    assert [row["source"] for row in expected] == sorted((row["source"] for row in expected), key=[*counts].index)
    photos = fer_rs.Batch(analyzer.analyze_batch([bytes for _, bytes in contents[:-2]]))
    named = arrow.table(photos.to_arrow()).drop_columns("source").to_pylist()
    assert named == [{name: row[name] for name in row if name != "source"} for row in expected[:-2]]


def test_other_tables(arrow, analyzer, contents, expected):
    table = arrow.Table.from_batches([batch_of(arrow, contents[:2]), batch_of(arrow, contents[2:])])
    found = analyzer.analyze_table(table)
    assert isinstance(found, arrow.Table) and found.to_pylist() == expected
    large = table.cast(arrow.schema({"uri": arrow.large_string(), "bytes": arrow.large_binary(), "other": arrow.int64()}))
    assert analyzer.analyze_table(large).to_pylist() == expected
    assert analyzer.analyze_table(table.slice(1, 1)).to_pylist() == [row for row in expected if row["source"] == "six.png"]
    reader = arrow.RecordBatchReader.from_batches(table.schema, table.to_batches())
    assert arrow.table(analyzer.analyze_table(reader)).to_pylist() == expected
    assert analyzer.analyze_table(table.slice(0, 0)).num_rows == 0
    with pytest.raises(ValueError, match="`bytes`"):
        analyzer.analyze_table(table.drop_columns("bytes"))
    with pytest.raises(ValueError, match="`uri`"):
        analyzer.analyze_table(arrow.record_batch({"uri": [1], "bytes": [b""]}))
    for wrong in (None, {"uri": ["a"]}, [b"a"]):
        with pytest.raises(TypeError, match="Arrow record batch"):
            analyzer.analyze_table(wrong)


def test_tables_cross_without_pyarrows_help(arrow, analyzer, sample):
    table = analyzer.analyze(sample).to_arrow()
    assert len(table) == table.num_rows == 1 and repr(table) == "<fer_rs.FaceTable: 1 rows, 40 columns>"
    assert arrow.schema(table) == arrow.record_batch(table).schema == arrow.table(table).schema
    for _ in range(3):
        assert arrow.record_batch(table).to_pylist() == arrow.table(table).to_pylist()
    row = arrow.table(table).to_pylist()[0]
    face = analyzer.analyze(sample).faces[0]
    assert (row["x"], row["happy"], row["dominant"], row["frame"]) == (
        face.box.x, face.emotions["happy"], "happy", None
    )


def test_rows_of_changed_results(analyzer, sample):
    import dataclasses

    analysis = analyzer.analyze(sample)
    assert fer_rs.to_arrow([analysis, analysis]).num_rows == 2
    bad = dataclasses.replace(analysis.faces[0], emotions={"happy": 2.0})
    with pytest.raises(ValueError, match="add up to 1"):
        dataclasses.replace(analysis, faces=[bad]).to_arrow()
    for wrong in ([1], 7, [dataclasses.replace(analysis, faces=[7])]):
        with pytest.raises((TypeError, AttributeError)):
            fer_rs.to_arrow(wrong)


def test_polars(analyzer, contents, expected):
    polars = module("polars")
    frame = polars.DataFrame(contents, schema={"uri": polars.String, "bytes": polars.Binary}, orient="row")
    assert polars.DataFrame(analyzer.analyze_table(frame)).to_dicts() == expected


def test_duckdb(analyzer, photos):
    duckdb = module("duckdb")
    faces = analyzer.analyze_batch(photos).to_arrow()
    assert duckdb.sql("SELECT count(*) FROM faces").fetchall() == [(faces.num_rows,)]


def test_videos_are_streams(arrow, analyzer, clip):
    path = clip(30)
    expected = arrow.table(fer_rs.to_arrow(analyzer.analyze_video(path)))
    assert arrow.table(analyzer.analyze_video(path).to_arrow()) == expected
    reader = arrow.RecordBatchReader.from_stream(analyzer.analyze_video(path))
    assert reader.read_all() == expected
    assert expected["frame"].to_pylist() == list(range(1, 31))
    assert len(set(expected["track_id"].to_pylist())) <= 2 and expected["raw_happy"].null_count == 0


def by_source(rows):
    return sorted(rows, key=lambda row: (row["source"], row["face"] or 0))


def test_spark(contents, expected):
    if not shutil.which("java"):
        skip("java", "Spark needs Java")
    module("pyspark")
    from pyspark.sql import SparkSession

    def faces(batches):
        analyzer = fer_rs.Analyzer(threads=1, onnxruntime=False)
        for batch in batches:
            yield analyzer.analyze_table(batch)

    os.environ["PYSPARK_PYTHON"] = sys.executable
    spark = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    try:
        photos = spark.createDataFrame(contents, "uri string, bytes binary").repartition(2)
        rows = [row.asDict() for row in photos.mapInArrow(faces, fer_rs.SPARK_SCHEMA).collect()]
    finally:
        spark.stop()
    assert by_source(rows) == by_source(expected)


def test_daft(arrow, contents, expected):
    daft = module("daft")
    row = daft.DataType.from_arrow_type(arrow.struct(list(arrow.schema(fer_rs.to_arrow([])))))

    @daft.cls
    class Faces:
        def __init__(self):
            self.analyzer = fer_rs.Analyzer(threads=1, onnxruntime=False)

        @daft.method(return_dtype=row, unnest=True)
        def rows(self, uri, photo):
            yield from self.analyzer.analyze_table(batch_of(arrow, [(uri, photo)])).to_pylist()

    uris, photos = zip(*contents)
    photos = daft.from_pydict({"uri": list(uris), "bytes": list(photos)})
    found = photos.select(Faces().rows(photos["uri"], photos["bytes"])).to_pylist()
    assert by_source(found) == by_source(expected)


def test_the_schema_for_spark_has_the_columns_of_the_table(arrow):
    kinds = {"string": "string", "int64": "bigint", "int32": "int", "float": "float", "bool": "boolean"}
    columns = arrow.schema(fer_rs.to_arrow([]))
    assert fer_rs.SPARK_SCHEMA == ", ".join(f"{field.name} {kinds[str(field.type)]}" for field in columns)
