//! SQL over tables: files of any format, or folders of Parquet files.

mod error;
mod nearest;
mod rows;
mod table;

use std::path::{Path, PathBuf};

use datafusion::common::TableReference;
use datafusion::config::Dialect;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use tokio::runtime::Runtime;

pub use error::QueryError;
pub use rows::Rows;

/// Name of the first table.
const FIRST: &str = "faces";

/// Tables that can be asked.
pub struct Query {
    runtime: Runtime,
    context: SessionContext,
    /// Names of the tables, in the order of the files.
    names: Vec<String>,
}

impl Query {
    /// Opens tables. The first is called `faces`, the second `faces2` and so on. Each also has the stem of its file as a
    /// name, unless an earlier table has that name.
    ///
    /// # Errors
    /// If a table cannot be read; the message names it.
    pub fn open(tables: &[PathBuf]) -> Result<Self, QueryError> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.enable_all().build().map_err(QueryError::Threads)?;
        let mut config = SessionConfig::new();
        let options = config.options_mut();
        // Results are written as plain texts, which every reader of Parquet and Arrow knows.
        options.execution.parquet.schema_force_view_types = false;
        options.sql_parser.map_string_types_to_utf8view = false;
        let context = SessionContext::new_with_config(config);
        let mut query = Self { runtime, context, names: Vec::new() };
        for (path, number) in tables.iter().zip(1..) {
            query.add(path, number)?;
        }
        Ok(query)
    }

    fn add(&mut self, path: &Path, number: usize) -> Result<(), QueryError> {
        let table = self.runtime.block_on(table::open(&self.context, path))?;
        let given = if number == 1 { FIRST.to_owned() } else { format!("{FIRST}{number}") };
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        for name in std::iter::once(given).chain(stem) {
            if !self.names.contains(&name) {
                let reference = TableReference::bare(name.clone());
                self.context.register_table(reference, table.clone()).map_err(QueryError::from_engine)?;
                self.names.push(name);
            }
        }
        Ok(())
    }

    /// Runs a `SELECT`. Its rows are computed while they are taken.
    ///
    /// # Errors
    /// If the text is not SQL, is another statement, or names a table, column or function that does not exist.
    pub fn select(self, sql: &str) -> Result<Rows, QueryError> {
        let state = self.context.state();
        let statement = state.sql_to_statement(sql, &Dialect::default()).map_err(QueryError::from_engine)?;
        if matches!(statement, Statement::CopyTo(_) | Statement::CreateExternalTable(_)) {
            return Err(QueryError::NotSelect);
        }
        let named = state.resolve_table_references(&statement).map_err(QueryError::from_engine)?;
        let is_known = |table: &TableReference| {
            self.names.iter().any(|name| name == table.table())
                || table.schema() == Some("information_schema")
        };
        if let Some(table) = named.iter().find(|table| !is_known(table)) {
            return Err(QueryError::NoTable { name: table.to_string(), known: self.names });
        }
        let (context, runtime) = (self.context, self.runtime);
        let stream = runtime.block_on(async {
            let plan = state.statement_to_plan(statement).await.map_err(QueryError::from_engine)?;
            let reads_only =
                SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
            reads_only.verify_plan(&plan).map_err(|_| QueryError::NotSelect)?;
            let frame = context.execute_logical_plan(plan).await.map_err(QueryError::from_engine)?;
            frame.execute_stream().await.map_err(QueryError::from_engine)
        })?;
        Ok(Rows::new(runtime, stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use fer_table::Format;

    const CSV: &str =
        "source,frame,face,happy,status\na.jpg,,0,0.75,ok\nb.jpg,,0,0.25,ok\nc.jpg,,,,no_face\n";

    /// The result as a table of texts.
    fn ask(tables: &[PathBuf], sql: &str) -> Result<String, QueryError> {
        let batches = Query::open(tables)?.select(sql)?.collect::<Result<Vec<_>, _>>()?;
        Ok(pretty_format_batches(&batches).unwrap().to_string())
    }

    fn refused(tables: &[PathBuf], sql: &str, words: &str) {
        let message = ask(tables, sql).unwrap_err().to_string();
        assert!(message.contains(words), "{sql}: {message}");
    }

    #[test]
    fn every_format_gives_the_same_result_and_can_be_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let first = folder.path().join("my table [1] 100%.csv");
        std::fs::write(&first, CSV).unwrap();
        let sql =
            "SELECT status, count(*) AS n, max(happy) AS most FROM faces GROUP BY status ORDER BY status";
        let expected = ask(std::slice::from_ref(&first), sql).unwrap();
        assert!(expected.contains("| ok      | 2 | 0.75 |"), "{expected}");
        let formats = [
            ("t.csv", Format::Csv),
            ("t.parquet", Format::Parquet),
            ("t.jsonl", Format::JsonLines),
            ("t.arrow", Format::Arrow),
            ("t.arrows", Format::ArrowStream),
        ];
        for (name, format) in formats {
            let rows =
                Query::open(std::slice::from_ref(&first)).unwrap().select("SELECT * FROM faces").unwrap();
            let copy = folder.path().join(name);
            let mut bytes = Vec::new();
            assert_eq!(rows.write(&mut bytes, format).unwrap(), 3);
            std::fs::write(&copy, bytes).unwrap();
            assert_eq!(ask(std::slice::from_ref(&copy), sql).unwrap(), expected, "{name}");
            let read = fer_table::read(&copy).unwrap().map(|piece| piece.unwrap().len()).sum::<usize>();
            assert_eq!(read, 3, "{name}");
        }
        // A folder of Parquet files is one table.
        let parts = folder.path().join("parts");
        std::fs::create_dir(&parts).unwrap();
        for name in ["a.parquet", "b.parquet"] {
            std::fs::copy(folder.path().join("t.parquet"), parts.join(name)).unwrap();
        }
        let count = ask(std::slice::from_ref(&parts), "SELECT count(*) AS n FROM parts").unwrap();
        assert!(count.contains("| 6 |"), "{count}");
        // Two tables, by number and by stem.
        let joined = ask(
            &[first, parts],
            "SELECT count(*) AS n FROM faces JOIN faces2 ON faces.source = parts.source",
        );
        assert!(joined.unwrap_err().to_string().contains("parts"));
    }

    #[test]
    fn errors_say_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("t.csv");
        std::fs::write(&table, CSV).unwrap();
        let one = [table];
        refused(&one, "SELECT hapy FROM faces", "there is no column `hapy`; the nearest are `happy`");
        refused(&one, "SELECT * FROM facs", "there is no table `facs`; the tables are `faces`, `t`");
        refused(&one, "SELEC 1", "this is not SQL");
        refused(&one, "SELECT flor(happy) FROM t", "floor");
        for other in [
            "DROP TABLE faces",
            "COPY faces TO 'x.csv'",
            "INSERT INTO faces SELECT * FROM faces",
            "SET x = 1",
        ] {
            refused(&one, other, "only SELECT");
        }
        refused(&[folder.path().join("absent.csv")], "SELECT 1", "absent.csv: No such file");
        refused(&[folder.path().to_owned()], "SELECT 1", "the folder has no .parquet file");
        let damaged = folder.path().join("damaged.parquet");
        std::fs::write(&damaged, b"PAR1 and nothing more").unwrap();
        refused(&[damaged], "SELECT 1", "damaged.parquet: ");
        let bad = folder.path().join("bad.csv");
        std::fs::write(&bad, "a,b\n1,2\n3\n").unwrap();
        refused(&[bad], "SELECT * FROM bad", "");
    }

    #[test]
    fn columns_without_values_keep_their_types() {
        let folder = tempfile::tempdir().unwrap();
        let csv = folder.path().join("t.csv");
        std::fs::write(&csv, "source,frame,happy,status,mine\n7,,1,ok,\n\"a\nb\",,,error,\n").unwrap();
        let types = "SELECT arrow_typeof(source) AS s, arrow_typeof(frame) AS f, arrow_typeof(happy) AS h FROM t LIMIT 1";
        let found = ask(std::slice::from_ref(&csv), types).unwrap();
        assert!(found.contains("| Utf8 | Int64 | Float32 |"), "{found}");
        let empty = folder.path().join("empty.jsonl");
        std::fs::write(&empty, "").unwrap();
        let rows = Query::open(&[empty]).unwrap().select("SELECT source, happy FROM empty").unwrap();
        assert_eq!(rows.schema().fields().len(), 2);
        assert_eq!(rows.count(), 0);
    }
}
