//! The extension module `fer_rs._fer_rs`: the engine behind the Python package `fer_rs`.
//!
//! It turns Python's objects into pictures, runs `fer-vision` on all threads without the interpreter's lock, and turns the results
//! into the dataclasses of `fer_rs._results` or into Arrow tables. `python/fer_rs/_fer_rs.pyi` describes it to Python's tools.

mod analyzer;
mod batch;
mod error;
mod models;
mod picture;
mod pixels;
mod results;
mod table;
mod video;

use std::ffi::OsString;

use pyo3::prelude::*;

/// Runs the command `fer` with these arguments, the first of which is the program's name, and returns its exit code.
#[pyfunction]
fn main(py: Python<'_>, arguments: Vec<OsString>) -> PyResult<u8> {
    error::guarded(|| Ok(py.detach(|| fer_cli::run(arguments))))
}

/// Panics, so that a test sees what becomes of panics. Release builds do not have it.
#[cfg(debug_assertions)]
#[pyfunction]
fn panic() -> PyResult<()> {
    error::guarded(|| panic!("a panic for a test"))
}

#[pymodule]
fn _fer_rs(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<analyzer::Analyzer>()?;
    module.add_class::<table::FaceTable>()?;
    module.add_class::<video::Video>()?;
    module.add_function(wrap_pyfunction!(table::to_arrow, module)?)?;
    module.add_function(wrap_pyfunction!(main, module)?)?;
    #[cfg(debug_assertions)]
    module.add_function(wrap_pyfunction!(panic, module)?)?;
    Ok(())
}
