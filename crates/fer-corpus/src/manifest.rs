//! A manifest: objects listed once, as Parquet files of `uri, size, etag` in a folder, and `plan.json`, which is written last.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema};
use futures_util::StreamExt as _;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::store::{Folder, Listed, Opened, stream};
use crate::{CorpusError, store};

/// The file that says that a manifest is complete.
const PLAN: &str = "plan.json";

/// Objects in one file of a manifest, by default.
pub const OBJECTS_PER_PART: usize = 10_000;

/// What a manifest holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// SHA-256 of the list of objects.
    pub id: String,
    /// Number of Parquet files.
    pub parts: usize,
    /// Number of objects.
    pub objects: u64,
    /// Bytes of the objects whose size the listing says.
    pub bytes: u64,
}

impl Plan {
    /// Reads `plan.json` of a manifest.
    ///
    /// # Errors
    /// If the folder is no manifest, or a half one.
    pub async fn read(manifest: &str, timeout: Duration) -> Result<Self, CorpusError> {
        let folder = Folder::new(manifest, &Opened::default(), timeout)?;
        let problem = |problem: String| CorpusError::Manifest { place: manifest.to_owned(), problem };
        let Some(bytes) = folder.get(PLAN).await? else {
            let missing =
                format!("there is no {PLAN}; `fer corpus plan` writes it once the manifest is complete");
            return Err(problem(missing));
        };
        serde_json::from_slice(&bytes).map_err(|error| problem(format!("{PLAN} is damaged: {error}")))
    }

    /// Names of the parts, of the manifest and of the results alike.
    pub fn part_names(&self) -> impl Iterator<Item = String> + use<> {
        (0..self.parts).map(part_name)
    }
}

fn part_name(number: usize) -> String {
    format!("part-{number:05}.parquet")
}

/// Writes a manifest. Memory is bounded by one part.
pub struct Planner {
    folder: Folder,
    opened: Opened,
    timeout: Duration,
    per_part: usize,
    pending: Vec<Listed>,
    hash: Sha256,
    plan: Plan,
}

impl Planner {
    /// Begins a manifest. A store that sends nothing for `timeout` counts as stalled. With `force` an old one is replaced.
    ///
    /// # Errors
    /// If there is a manifest and `force` is false, or the folder cannot be read.
    pub async fn new(
        manifest: &str,
        per_part: usize,
        timeout: Duration,
        force: bool,
    ) -> Result<Self, CorpusError> {
        let opened = Opened::default();
        let folder = Folder::new(manifest, &opened, timeout)?;
        if force {
            // Until the new one is complete there is none.
            folder.remove(PLAN).await?;
        } else if folder.get(PLAN).await?.is_some() {
            return Err(damaged(manifest, &"there is a manifest; --force replaces it"));
        }
        let plan = Plan { id: String::new(), parts: 0, objects: 0, bytes: 0 };
        let (per_part, hash) = (per_part.max(1), Sha256::new());
        Ok(Self { folder, opened, timeout, per_part, pending: Vec::new(), hash, plan })
    }

    /// Adds an object.
    ///
    /// # Errors
    /// If a file of the manifest cannot be written.
    pub async fn add(&mut self, object: Listed) -> Result<(), CorpusError> {
        let Listed { uri, size, etag } = &object;
        let line = format!("{uri}\0{}\0{}\n", size.unwrap_or_default(), etag.as_deref().unwrap_or_default());
        self.hash.update(line);
        self.plan.objects += 1;
        self.plan.bytes += size.unwrap_or_default();
        self.pending.push(object);
        if self.pending.len() >= self.per_part { self.write().await } else { Ok(()) }
    }

    /// Adds the objects of a folder of a store for which `takes` returns true.
    ///
    /// # Errors
    /// If the store does not answer as it should, or a file of the manifest cannot be written.
    pub async fn add_folder(
        &mut self,
        address: &str,
        takes: impl Fn(&Path) -> bool,
    ) -> Result<(), CorpusError> {
        let mut objects = std::pin::pin!(stream(address, &self.opened, self.timeout, takes)?);
        while let Some(object) = objects.next().await {
            self.add(object?).await?;
        }
        Ok(())
    }

    /// Ends the manifest.
    ///
    /// # Errors
    /// If a file of the manifest cannot be written, or there is no object.
    pub async fn finish(mut self) -> Result<Plan, CorpusError> {
        if self.plan.objects == 0 {
            return Err(damaged("inputs", &"there is no photo or video in them"));
        }
        self.write().await?;
        self.plan.id = self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let json = serde_json::to_vec_pretty(&self.plan).map_err(|error| damaged(PLAN, &error))?;
        self.folder.put(PLAN, &json).await?;
        Ok(self.plan)
    }

    async fn write(&mut self) -> Result<(), CorpusError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let name = part_name(self.plan.parts);
        let bytes = to_parquet(&self.pending).map_err(|error| damaged(&name, &error))?;
        self.folder.put(&name, &bytes).await?;
        self.pending.clear();
        self.plan.parts += 1;
        Ok(())
    }
}

/// A file of this machine as an object of a manifest.
///
/// # Errors
/// Why it cannot be one, as a sentence.
pub fn local(path: &Path) -> Result<Listed, String> {
    let cannot = |error: std::io::Error| format!("cannot be listed: {error}");
    let path = std::path::absolute(path).map_err(cannot)?;
    let metadata = path.metadata().map_err(cannot)?;
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let etag = modified.map(|time| format!("{:x}-{:x}", time.as_micros(), metadata.len()));
    let uri = url::Url::from_file_path(&path).map_err(|()| "has no absolute path".to_owned())?;
    Ok(Listed { uri: uri.into(), size: Some(metadata.len()), etag })
}

fn damaged(place: &str, error: &dyn std::fmt::Display) -> CorpusError {
    CorpusError::Manifest { place: place.to_owned(), problem: error.to_string() }
}

fn to_parquet(objects: &[Listed]) -> Result<Vec<u8>, parquet::errors::ParquetError> {
    let field = |name: &str, kind, nullable| Field::new(name, kind, nullable);
    let fields = vec![
        field("uri", DataType::Utf8, false),
        field("size", DataType::Int64, true),
        field("etag", DataType::Utf8, true),
    ];
    let size = |object: &Listed| object.size.and_then(|size| i64::try_from(size).ok());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(objects.iter().map(|object| &object.uri))),
        Arc::new(objects.iter().map(size).collect::<Int64Array>()),
        Arc::new(objects.iter().map(|object| object.etag.as_deref()).collect::<StringArray>()),
    ];
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
    let compression = Compression::ZSTD(ZstdLevel::try_new(3)?);
    let properties = WriterProperties::builder().set_compression(compression).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    writer.into_inner()
}

/// The objects of one file of a manifest.
///
/// # Errors
/// If it is not such a file.
pub(crate) async fn read_part(folder: &Folder, part: &str) -> Result<Vec<store::Listed>, CorpusError> {
    let missing = || damaged(part, &"it is not in the manifest, which must not change while it is run");
    let bytes = folder.get(part).await?.ok_or_else(missing)?;
    from_parquet(bytes).map_err(|error| damaged(part, &error))
}

fn from_parquet(bytes: Bytes) -> Result<Vec<Listed>, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(ParquetRecordBatchReaderBuilder::build);
    let mut objects = Vec::new();
    for batch in reader.map_err(|error| text(&error))? {
        let batch = batch.map_err(|error| text(&error))?;
        let column =
            |name: &str| batch.column_by_name(name).ok_or_else(|| format!("it has no column `{name}`"));
        let wrong = |name: &str| format!("the column `{name}` has another type");
        let uris = column("uri")?.as_string_opt::<i32>().ok_or_else(|| wrong("uri"))?;
        let sizes = column("size")?.as_primitive_opt::<Int64Type>().ok_or_else(|| wrong("size"))?;
        let etags = column("etag")?.as_string_opt::<i32>().ok_or_else(|| wrong("etag"))?;
        objects.extend((0..batch.num_rows()).map(|row| Listed {
            uri: uris.value(row).to_owned(),
            size: sizes.is_valid(row).then(|| sizes.value(row).unsigned_abs()),
            etag: etags.is_valid(row).then(|| etags.value(row).to_owned()),
        }));
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);

    fn object(number: u64) -> Listed {
        Listed { uri: format!("s3://b/{number}"), size: (number != 1).then_some(number), etag: None }
    }

    #[tokio::test]
    async fn objects_come_back_in_their_order_and_a_half_manifest_is_none() {
        let temporary = tempfile::tempdir().unwrap();
        let name = temporary.path().join("manifest");
        let name = name.to_str().unwrap();
        let mut planner = Planner::new(name, 2, TIMEOUT, false).await.unwrap();
        for number in 0..5 {
            planner.add(object(number)).await.unwrap();
        }
        let error = Plan::read(name, TIMEOUT).await.unwrap_err().to_string();
        assert!(error.contains("there is no plan.json"), "{error}");
        let plan = planner.finish().await.unwrap();
        assert_eq!((plan.parts, plan.objects, plan.bytes), (3, 5, 9));
        assert_eq!(Plan::read(name, TIMEOUT).await.unwrap(), plan);
        let folder = Folder::new(name, &Opened::default(), TIMEOUT).unwrap();
        let mut objects = Vec::new();
        for part in plan.part_names() {
            objects.extend(read_part(&folder, &part).await.unwrap());
        }
        assert_eq!(objects, (0..5).map(object).collect::<Vec<_>>());
        assert!(read_part(&folder, "plan.json").await.unwrap_err().to_string().starts_with("plan.json: "));
        let refused = Planner::new(name, 2, TIMEOUT, false).await.err().unwrap().to_string();
        assert!(refused.contains("--force replaces it"), "{refused}");
    }

    #[test]
    fn a_file_becomes_an_address() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("a b%.jpg");
        assert!(local(&path).unwrap_err().starts_with("cannot be listed: "));
        std::fs::write(&path, "x").unwrap();
        let listed = local(&path).unwrap();
        assert_eq!((store::local_path(&listed.uri).unwrap(), listed.size), (path, Some(1)));
    }
}
