//! Tables of faces: one [`Row`] for each face, picture without a face and picture that could not be analysed.
//!
//! A [`TableWriter`] writes rows as Parquet, CSV, JSON Lines or Arrow IPC ([`Format`]), in the columns of this program or in
//! those of another package ([`Layout`]). [`read`] reads the four formats back. [`kernel`] analyses photos that come as an
//! Arrow record batch, for engines that move record batches. The crate knows no such engine, no network and no terminal.

mod batch;
mod cell;
mod error;
mod format;
pub mod kernel;
mod layout;
mod read;
mod row;
mod write;

use std::collections::BTreeMap;

pub use batch::{from_batch, schema, to_batch};
pub use cell::{Column, Kind, Value};
pub use error::TableError;
pub use format::Format;
pub use layout::Layout;
pub use read::{TableReader, read};
pub use row::Row;
pub use write::TableWriter;

/// What a table says about itself: the program's version, model, engine and settings, as texts by key.
///
/// Parquet and Arrow IPC files store it; CSV and JSON Lines have no place for it.
pub type Metadata = BTreeMap<String, String>;
