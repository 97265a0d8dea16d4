# Times fer_rs on a folder of photos, and prints one JSON object with seconds. Run by `cargo xtask bench`:
# folder.py FOLDER [LIBRARY]; LIBRARY is ONNX Runtime's, and tract is used without it.
import json
import pathlib
import sys
import time

paths = sorted(map(str, pathlib.Path(sys.argv[1]).iterdir()))
started = time.perf_counter()
import fer_rs

imported = time.perf_counter()
analyzer = fer_rs.Analyzer(onnxruntime=sys.argv[2] if len(sys.argv) > 2 else False)
analyzer.analyze(paths[0])
answered = time.perf_counter()
table = analyzer.analyze_batch(paths).to_arrow()
ended = time.perf_counter()
assert table.num_rows == 6 * len(paths), table
print(json.dumps({"import": imported - started, "first": answered - imported, "batch": ended - answered}))
