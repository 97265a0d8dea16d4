//! Why a query has no result, in the words of somebody who wrote it.

use std::io;
use std::path::PathBuf;

use datafusion::common::utils::quote_identifier;
use datafusion::common::{Column, SchemaError};
use datafusion::error::DataFusionError;
use fer_table::TableError;

use super::nearest::nearest;

/// Why a query has no result.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The threads that compute the result cannot be started.
    #[error("cannot start threads: {0}")]
    Threads(io::Error),
    /// A table cannot be read.
    #[error("{}: {message}", path.display())]
    Table {
        /// The table's file or folder.
        path: PathBuf,
        /// Why it cannot be read.
        message: String,
    },
    /// The text is not valid SQL.
    #[error("this is not SQL that can be run: {0}")]
    Syntax(String),
    /// The statement is not a `SELECT`.
    #[error("only SELECT is possible; name a file with --out to keep the result")]
    NotSelect,
    /// The query names a table that was not given.
    #[error("there is no table `{name}`; the tables are {}", quoted(known))]
    NoTable {
        /// The name in the query.
        name: String,
        /// The names that exist.
        known: Vec<String>,
    },
    /// The query names a column that no table has.
    #[error("there is no column `{name}`; the nearest are {}", quoted(nearest))]
    NoColumn {
        /// The name in the query.
        name: String,
        /// Columns with similar names, as they must be written.
        nearest: Vec<String>,
    },
    /// Anything else that DataFusion reports.
    #[error("{0}")]
    Engine(String),
    /// The result cannot be written.
    #[error("the result cannot be written: {0}")]
    Write(#[source] TableError),
}

fn quoted(names: &[String]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

impl QueryError {
    /// The cause of an error of DataFusion, without the steps in which it was found.
    pub(super) fn from_engine(error: DataFusionError) -> Self {
        match error {
            DataFusionError::SchemaError(cause, _) => match *cause {
                SchemaError::FieldNotFound { field, valid_fields } => {
                    let is_qualified = field.relation.is_some();
                    let written = |column: &Column| match is_qualified {
                        true => column.quoted_flat_name(),
                        false => quote_identifier(column.name()).into_owned(),
                    };
                    let names: Vec<_> = valid_fields.iter().map(written).collect();
                    let name = written(&field);
                    Self::NoColumn { nearest: nearest(&name, &names), name }
                }
                other => Self::Engine(other.to_string()),
            },
            DataFusionError::SQL(cause, _) => {
                Self::Syntax(cause.to_string().replace("sql parser error: ", ""))
            }
            DataFusionError::Diagnostic(_, cause) | DataFusionError::Context(_, cause) => {
                Self::from_engine(*cause)
            }
            DataFusionError::Shared(cause) => Self::Engine(cause.strip_backtrace()),
            DataFusionError::Plan(message) | DataFusionError::Execution(message) => Self::Engine(message),
            DataFusionError::ArrowError(cause, _) => Self::Engine(cause.to_string()),
            DataFusionError::ParquetError(cause) => Self::Engine(cause.to_string()),
            other => Self::Engine(other.strip_backtrace()),
        }
    }

    /// The error of a table that is being opened.
    pub(super) fn of_table(path: &std::path::Path, error: DataFusionError) -> Self {
        Self::Table { path: path.to_owned(), message: Self::from_engine(error).to_string() }
    }
}
