//! Addresses of objects, and the stores that they name.

use std::fmt;
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::path::Path as Key;
use object_store::{ClientConfigKey, ObjectStore, RetryConfig};

use super::StoreError;

/// Longest duration of one download. Stalled downloads are ended much earlier.
const LONGEST: &str = "1day";

/// How often a request is repeated that failed for reasons that may pass.
const RETRIES: usize = 6;

/// The text of a key.
pub(super) fn text(key: &Key) -> &str {
    key.as_ref()
}

/// An address, in its parts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Address {
    scheme: Scheme,
    /// Scheme and bucket or host, without a slash at the end.
    pub(super) root: String,
    /// Name inside the bucket or of the file on the host.
    pub(super) key: Key,
    /// Whether it can only be a folder: it ends in a slash or has no key.
    pub(super) is_folder: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Scheme {
    S3,
    Google,
    Azure,
    Web,
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.uri_of(&self.key))
    }
}

impl Address {
    /// Reads an address. Keys of stores stand as they are; paths of web servers may be percent-encoded.
    ///
    /// # Errors
    /// If the scheme is not known, or the rest is not valid.
    pub(super) fn parse(text: &str) -> Result<Self, StoreError> {
        let invalid = |problem: String| StoreError::Address { address: text.to_owned(), problem };
        let (name, rest) = text.split_once("://").ok_or_else(|| invalid("it has no ://".to_owned()))?;
        let scheme = match name {
            "s3" | "s3a" => Scheme::S3,
            "gs" => Scheme::Google,
            "az" | "azure" | "abfs" | "abfss" => Scheme::Azure,
            "http" | "https" => Scheme::Web,
            _ => {
                let known = "s3://, gs://, az://, http://, https:// and file://";
                return Err(invalid(format!("{name}:// is not known; known are {known}")));
            }
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.is_empty() {
            return Err(invalid("the name of the bucket or host is missing".to_owned()));
        }
        let is_folder = path.is_empty() || path.ends_with('/');
        let key = if scheme == Scheme::Web {
            if path.contains(['?', '#']) {
                let problem = "addresses with ? or # are not supported; download the file first";
                return Err(invalid(problem.to_owned()));
            }
            Key::from_url_path(path)
        } else {
            Key::parse(path)
        };
        let key = key.map_err(|error| invalid(error.to_string()))?;
        Ok(Self { scheme, root: format!("{name}://{authority}"), key, is_folder })
    }

    /// The address of another object of the same store.
    pub(super) fn uri_of(&self, key: &Key) -> String {
        let key = match self.scheme {
            Scheme::Web => text(key).replace('%', "%25").replace('?', "%3F").replace('#', "%23"),
            Scheme::S3 | Scheme::Google | Scheme::Azure => key.to_string(),
        };
        format!("{}/{key}", self.root)
    }

    /// Whether it is a file of a web server, which cannot say whether a name is a folder.
    pub(super) fn is_web(&self) -> bool {
        self.scheme == Scheme::Web
    }

    /// Opens the store, without a connection.
    ///
    /// # Errors
    /// If the environment lacks a setting that the store needs.
    pub(super) fn open(&self) -> Result<Arc<dyn ObjectStore>, StoreError> {
        let retry = RetryConfig { max_retries: RETRIES, ..RetryConfig::default() };
        let (root, key) = (self.root.as_str(), ClientConfigKey::Timeout);
        let store: Result<Arc<dyn ObjectStore>, _> = match self.scheme {
            Scheme::S3 => AmazonS3Builder::from_env()
                .with_url(root)
                .with_config(AmazonS3ConfigKey::Client(key), LONGEST)
                .with_retry(retry)
                .build()
                .map(|store| Arc::new(store) as _),
            Scheme::Google => GoogleCloudStorageBuilder::from_env()
                .with_url(root)
                .with_config(GoogleConfigKey::Client(key), LONGEST)
                .with_retry(retry)
                .build()
                .map(|store| Arc::new(store) as _),
            Scheme::Azure => MicrosoftAzureBuilder::from_env()
                .with_url(root)
                .with_config(AzureConfigKey::Client(key), LONGEST)
                .with_retry(retry)
                .build()
                .map(|store| Arc::new(store) as _),
            Scheme::Web => HttpBuilder::new()
                .with_url(root)
                .with_config(key, LONGEST)
                .with_config(ClientConfigKey::AllowHttp, "true")
                .with_retry(retry)
                .build()
                .map(|store| Arc::new(store) as _),
        };
        store.map_err(|error| StoreError::Address { address: self.to_string(), problem: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, String, bool) {
        let address = Address::parse(text).unwrap();
        (address.root, address.key.to_string(), address.is_folder)
    }

    #[test]
    fn addresses_have_a_root_and_a_key() {
        let expected = |root: &str, key: &str, is_folder| (root.to_owned(), key.to_owned(), is_folder);
        assert_eq!(parsed("s3://bucket"), expected("s3://bucket", "", true));
        assert_eq!(parsed("s3://bucket/a b/c#1.jpg"), expected("s3://bucket", "a b/c#1.jpg", false));
        assert_eq!(parsed("gs://bucket/a/"), expected("gs://bucket", "a", true));
        let percent = Address::parse("http://host/a%2520b.jpg").unwrap();
        assert_eq!(percent.to_string(), "http://host/a%2520b.jpg");
        assert_eq!(parsed("http://host:80/a%20b.jpg"), expected("http://host:80", "a b.jpg", false));
    }

    #[test]
    fn other_addresses_are_refused() {
        let refused = |text: &str, words: &str| {
            let message = Address::parse(text).unwrap_err().to_string();
            assert!(message.contains(words), "{text}: {message}");
        };
        refused("ftp://host/a.jpg", "known are s3://");
        refused("s3:///key", "bucket or host is missing");
        refused("https://host/a.jpg?token=1", "download the file first");
        refused("s3://bucket/a//b.jpg", "");
    }
}
