"""The notebook of the documentation runs from the first cell to the last."""

from conftest import ROOT, module


def test_the_notebook_runs(photos, tmp_path, monkeypatch):
    nbclient, nbformat = module("nbclient"), module("nbformat")
    for needed in ("ipykernel", "matplotlib", "polars"):
        module(needed)
    notebook = nbformat.read(ROOT / "docs/python.ipynb", as_version=4)
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": ROOT / "docs"}}).execute()
    pictures = [output for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
    assert len(pictures) >= 2
