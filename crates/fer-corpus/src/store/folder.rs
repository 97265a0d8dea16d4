//! A folder on this machine or in a store. Its files appear as a whole or not at all.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt as _, WriteMultipart};
use tempfile::NamedTempFile;

use super::address::{Address, text};
use super::error::{reason, within};
use super::{Opened, StoreError, local_path};

/// Largest file that is sent in one request, and the size of the pieces of larger ones.
const PIECE: usize = 16 << 20;

/// A folder.
pub(crate) struct Folder {
    place: Place,
    /// The folder as it was named.
    name: String,
    /// A store that sends nothing for this long counts as stalled.
    timeout: Duration,
}

enum Place {
    Local(PathBuf),
    Store(Arc<dyn ObjectStore>, Key),
}

impl Folder {
    /// Names a folder: a path, or an address. It need not exist.
    ///
    /// # Errors
    /// If the address is not valid, or the environment lacks a setting of its store.
    pub(crate) fn new(name: &str, opened: &Opened, timeout: Duration) -> Result<Self, StoreError> {
        let place = if name.starts_with("file://") {
            Place::Local(local_path(name)?)
        } else if name.contains("://") {
            let address = Address::parse(name)?;
            Place::Store(opened.open(&address)?, address.key)
        } else {
            Place::Local(PathBuf::from(name))
        };
        Ok(Self { place, name: name.to_owned(), timeout })
    }

    fn error(&self, file: &str, message: String) -> StoreError {
        StoreError::File { place: format!("{}/{file}", self.name.trim_end_matches('/')), message }
    }

    /// Names of the files in the folder; none if it does not exist.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub(crate) async fn names(&self) -> Result<Vec<String>, StoreError> {
        let failed = |message: String| self.error("", format!("cannot be listed: {message}"));
        match &self.place {
            Place::Local(folder) => match std::fs::read_dir(folder) {
                Ok(entries) => {
                    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
                    names.collect::<io::Result<_>>().map_err(|error| failed(error.to_string()))
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
                Err(error) => Err(failed(error.to_string())),
            },
            Place::Store(store, key) => {
                let listed =
                    within(self.timeout, store.list_with_delimiter(Some(key))).await.map_err(failed)?;
                let objects = listed.map_err(|error| failed(reason(&error)))?.objects;
                let names = objects.iter().filter_map(|object| object.location.filename());
                Ok(names.map(str::to_owned).collect())
            }
        }
    }

    /// The bytes of a file; `None` if there is none of this name.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) async fn get(&self, file: &str) -> Result<Option<Bytes>, StoreError> {
        let failed = |message: String| self.error(file, format!("cannot be read: {message}"));
        match &self.place {
            Place::Local(folder) => match std::fs::read(folder.join(file)) {
                Ok(bytes) => Ok(Some(Bytes::from(bytes))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(failed(error.to_string())),
            },
            Place::Store(store, folder) => {
                let key = inside(folder, file);
                let found = match within(self.timeout, store.get(&key)).await.map_err(failed)? {
                    Err(object_store::Error::NotFound { .. }) => return Ok(None),
                    found => found.map_err(|error| failed(reason(&error)))?,
                };
                let bytes = within(self.timeout, found.bytes()).await.map_err(failed)?;
                bytes.map(Some).map_err(|error| failed(reason(&error)))
            }
        }
    }

    /// A file to be written and then given to [`Folder::commit`].
    ///
    /// # Errors
    /// If it cannot be created.
    pub(crate) fn stage(&self) -> Result<NamedTempFile, StoreError> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".fer-").suffix(".partial");
        let staged = match &self.place {
            Place::Local(folder) => {
                #[cfg(unix)]
                builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
                std::fs::create_dir_all(folder).and_then(|()| builder.tempfile_in(folder))
            }
            Place::Store(..) => builder.tempfile(),
        };
        staged.map_err(|error| self.error("", format!("cannot be written: {error}")))
    }

    /// Makes a staged file the file of this name.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) async fn commit(&self, file: &str, staged: NamedTempFile) -> Result<(), StoreError> {
        let failed = |message: String| self.error(file, format!("cannot be written: {message}"));
        match &self.place {
            Place::Local(folder) => {
                staged.as_file().sync_all().map_err(|error| failed(error.to_string()))?;
                staged.persist(folder.join(file)).map_err(|error| failed(error.error.to_string()))?;
                Ok(())
            }
            Place::Store(store, folder) => {
                let sent = send(&**store, &inside(folder, file), staged.path()).await;
                sent.map_err(failed)
            }
        }
    }

    /// Removes a file.
    ///
    /// # Errors
    /// If it is there and cannot be removed.
    pub(crate) async fn remove(&self, file: &str) -> Result<(), StoreError> {
        let failed = |message: String| self.error(file, format!("cannot be removed: {message}"));
        match &self.place {
            Place::Local(folder) => match std::fs::remove_file(folder.join(file)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error.to_string())),
                _ => Ok(()),
            },
            Place::Store(store, folder) => match store.delete(&inside(folder, file)).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(failed(reason(&error))),
            },
        }
    }

    /// Writes a small file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) async fn put(&self, file: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let staged = self.stage()?;
        io::Write::write_all(&mut staged.as_file(), bytes)
            .map_err(|error| self.error(file, format!("cannot be written: {error}")))?;
        self.commit(file, staged).await
    }
}

fn inside(folder: &Key, file: &str) -> Key {
    Key::from(format!("{}/{file}", text(folder)))
}

/// Sends a file. Stores show an object once it is complete.
async fn send(store: &dyn ObjectStore, key: &Key, path: &Path) -> Result<(), String> {
    let cannot = |error: io::Error| error.to_string();
    let mut file = File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    let mut piece = |bytes: &mut Vec<u8>| {
        bytes.clear();
        file.by_ref().take(PIECE as u64).read_to_end(bytes)
    };
    if piece(&mut bytes).map_err(cannot)? < PIECE {
        store.put(key, bytes.into()).await.map_err(|error| reason(&error))?;
        return Ok(());
    }
    let upload = store.put_multipart(key).await.map_err(|error| reason(&error))?;
    let mut writer = WriteMultipart::new_with_chunk_size(upload, PIECE);
    while !bytes.is_empty() {
        writer.wait_for_capacity(1).await.map_err(|error| reason(&error))?;
        writer.write(&bytes);
        piece(&mut bytes).map_err(cannot)?;
    }
    writer.finish().await.map_err(|error| reason(&error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_of_a_folder_appear_as_a_whole() {
        let temporary = tempfile::tempdir().unwrap();
        let name = temporary.path().join("new/folder");
        let folder = Folder::new(name.to_str().unwrap(), &Opened::default(), Duration::from_secs(1)).unwrap();
        assert!(folder.names().await.unwrap().is_empty());
        assert_eq!(folder.get("a").await.unwrap(), None);
        let staged = folder.stage().unwrap();
        assert!(folder.names().await.unwrap()[0].starts_with(".fer-"));
        drop(staged);
        folder.put("a", b"bytes").await.unwrap();
        assert_eq!(folder.names().await.unwrap(), ["a"]);
        assert_eq!(folder.get("a").await.unwrap().unwrap().as_ref(), b"bytes");
        let nowhere = Folder::new("/dev/null/x", &Opened::default(), Duration::from_secs(1)).unwrap();
        let message = nowhere.stage().unwrap_err().to_string();
        assert!(message.starts_with("/dev/null/x/: cannot be written"), "{message}");
    }
}
