//! The configuration: one struct for flags, environment variables and the configuration file.
//!
//! A flag overrides an environment variable, which overrides the file, which overrides the default. Rules that concern several
//! settings, such as a certificate and its key, are checked after merging, so that they hold wherever a value comes from.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::builder::BoolishValueParser;
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser, ValueEnum};
use fer_engine::{EngineKind, Precision};
use fer_model::LabelSet;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// How the log is written. It never contains photos, faces or results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// Lines for people to read.
    Text,
    /// One JSON object per line.
    Json,
    /// Only errors.
    Off,
}

/// Which engine runs the networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EngineChoice {
    /// ONNX Runtime if its library is found, otherwise tract.
    Auto,
    /// The built-in engine.
    Tract,
    /// ONNX Runtime; the server does not start without its library.
    Onnxruntime,
}

impl EngineChoice {
    /// The engine that it insists on.
    pub(crate) fn kind(self) -> Option<EngineKind> {
        match self {
            Self::Auto => None,
            Self::Tract => Some(EngineKind::Tract),
            Self::Onnxruntime => Some(EngineKind::OnnxRuntime),
        }
    }
}

/// Which header a trusted proxy adds the client's address to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ProxyHeader {
    /// `X-Forwarded-For`, a list of addresses.
    XForwardedFor,
    /// `Forwarded` of RFC 7239, whose `for` parameters are read.
    Forwarded,
}

/// Serves a page and an API that find faces in photos and estimate their facial expressions.
///
/// Photos are analysed in memory and never stored.
#[derive(Parser, Debug, Serialize, Deserialize)]
#[command(version)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Address to listen on. Port 0 selects a free port.
    #[arg(long, env = "FER_BIND", default_value = "127.0.0.1:8080")]
    pub(crate) bind: String,
    /// Configuration file: a JSON object whose keys are the names of these flags. See configs/serve/.
    #[arg(long, env = "FER_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    pub(crate) config: Option<PathBuf>,
    /// Emotion bundle (model.json, weights.safetensors) to use instead of the embedded one.
    #[arg(long, env = "FER_MODEL", value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// Labels that the answers follow: `fer2013` or `ferplus`. The default is the model's; a model knows those it was trained on.
    #[arg(long, env = "FER_LABELS", value_name = "NAME")]
    pub(crate) labels: Option<LabelSet>,
    /// Face detector to use instead of the embedded default: `mtcnn` for the embedded MTCNN, or a folder with model.json, or
    /// with facenet-pytorch's pnet.onnx, rnet.onnx and onet.onnx.
    #[arg(long, env = "FER_DETECTOR", value_name = "DIR")]
    pub(crate) detector: Option<PathBuf>,
    /// Engine that runs the networks.
    #[arg(long, env = "FER_ENGINE", value_enum, default_value = "auto")]
    pub(crate) engine: EngineChoice,
    /// Shared library of ONNX Runtime. Without this flag the server looks beside its executable and, if it was built in a checkout,
    /// in the checkout's assets/runtime.
    #[arg(long, env = "ORT_DYLIB_PATH", value_name = "FILE")]
    pub(crate) onnxruntime: Option<PathBuf>,
    /// What convolutions are computed in: `f32` or `int8`. The default is `int8` for ONNX Runtime on processors that are made for
    /// it, and otherwise `f32`.
    #[arg(long, env = "FER_PRECISION", value_name = "NAME")]
    pub(crate) precision: Option<Precision>,
    /// Inference threads; 0 starts one per core.
    #[arg(long, env = "FER_WORKERS", default_value_t = 0)]
    pub(crate) workers: usize,
    /// Photos that may wait for an inference thread. Further requests are refused with status 503.
    #[arg(long, env = "FER_QUEUE", default_value_t = 32)]
    pub(crate) queue: usize,
    /// Largest request body, in bytes.
    #[arg(long, env = "FER_MAX_BODY", default_value_t = 10 << 20)]
    pub(crate) max_body: usize,
    /// Largest body of a batch request, in bytes.
    #[arg(long, env = "FER_MAX_BATCH", default_value_t = 64 << 20)]
    pub(crate) max_batch: usize,
    /// Bytes of all request bodies and live frames that the server holds at once. Further requests are refused with status 503.
    /// The default is four times the largest body.
    #[arg(long, env = "FER_MAX_INFLIGHT_BYTES", value_name = "BYTES")]
    pub(crate) max_inflight_bytes: Option<usize>,
    /// Seconds within which the whole body of a request must arrive.
    #[arg(long, env = "FER_BODY_SECONDS", default_value_t = 60)]
    pub(crate) body_seconds: u64,
    /// Largest photo, in pixels.
    #[arg(long, env = "FER_MAX_PIXELS", default_value_t = 40_000_000)]
    pub(crate) max_pixels: u64,
    /// Live connections of all clients together.
    #[arg(long, env = "FER_LIVE_CONNECTIONS", default_value_t = 64)]
    pub(crate) live_connections: usize,
    /// Live connections of one client, identified by its address.
    #[arg(long, env = "FER_LIVE_PER_CLIENT", default_value_t = 32)]
    pub(crate) live_per_client: usize,
    /// Seconds without a frame after which a live connection is closed.
    #[arg(long, env = "FER_LIVE_IDLE_SECONDS", default_value_t = 60)]
    pub(crate) live_idle_seconds: u64,
    /// PEM file with the certificate chain for HTTPS. Needs --tls-key.
    #[arg(long, env = "FER_TLS_CERT", value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// PEM file with the private key of the certificate. Needs --tls-cert.
    #[arg(long, env = "FER_TLS_KEY", value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Serve HTTPS with a certificate that is made at the start. Browsers show a warning about it.
    #[arg(long, env = "FER_TLS_SELF_SIGNED", value_name = "BOOL", default_value = "false", value_parser = BoolishValueParser::new(),
          action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) tls_self_signed: bool,
    /// File with API keys, one per line. The API then requires one of them, and the page asks for it.
    #[arg(long, env = "FER_API_KEY_FILE", value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// Requests per second of one client, with bursts of twice as many; 0 sets no limit.
    #[arg(long, env = "FER_RATE_LIMIT", default_value_t = 0)]
    pub(crate) rate_limit: u32,
    /// Address of a proxy whose --proxy-header is trusted. May be given several times.
    #[arg(long, env = "FER_TRUSTED_PROXY", value_name = "IP", value_delimiter = ',')]
    #[serde(deserialize_with = "one_or_many")]
    pub(crate) trusted_proxy: Vec<IpAddr>,
    /// Header in which trusted proxies pass on the client's address.
    #[arg(long, env = "FER_PROXY_HEADER", value_enum, default_value = "x-forwarded-for")]
    pub(crate) proxy_header: ProxyHeader,
    /// Origin whose pages may use the API, such as https://example.org. May be given several times.
    #[arg(long, env = "FER_CORS_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    #[serde(deserialize_with = "one_or_many")]
    pub(crate) cors_origin: Vec<String>,
    /// Offer reports on the mood of a group, which contain only means. Read docs/responsible-use.md first.
    #[arg(long, env = "FER_GROUP_REPORT", value_name = "BOOL", default_value = "false", value_parser = BoolishValueParser::new(),
          action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) group_report: bool,
    /// Fewest faces that a group report needs, at least 2.
    #[arg(long, env = "FER_GROUP_MIN_FACES", default_value_t = 5)]
    pub(crate) group_min_faces: u32,
    /// Folder with your own music for the page: DIR/<emotion>/ holds the files for an emotion. Without it the page makes up its
    /// music.
    #[arg(long, env = "FER_MUSIC", value_name = "DIR")]
    pub(crate) music: Option<PathBuf>,
    /// Log on standard error, with one line per request.
    #[arg(long, env = "FER_LOG", value_enum, default_value = "text")]
    pub(crate) log: LogFormat,
    /// Seconds that running requests are given to finish after SIGTERM or Ctrl-C.
    #[arg(long, env = "FER_SHUTDOWN_SECONDS", default_value_t = 20)]
    pub(crate) shutdown_seconds: u64,
    /// Smallest face in pixels, measured in the photo after reducing its longer side to 800. The default is the detector's, 12 for
    /// the embedded one.
    #[arg(long, env = "FER_MIN_FACE", value_name = "PIXELS")]
    pub(crate) min_face: Option<f32>,
}

/// Whether and how the server speaks HTTPS.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    /// Plain HTTP.
    Off,
    /// A certificate that is made at the start.
    SelfSigned,
    /// The operator's certificate chain and private key.
    Files { certificate: PathBuf, key: PathBuf },
}

impl Options {
    /// Reads the arguments, the environment, and the configuration file that they name.
    ///
    /// clap ends the process when an argument or an environment variable cannot be parsed, and for `--help` and `--version`.
    ///
    /// # Errors
    /// A configuration file that cannot be read or has an unknown key, and settings that contradict each other.
    pub fn read(arguments: &[OsString]) -> Result<Self> {
        let matches = Self::command().get_matches_from(arguments);
        let mut options = Self::from_arg_matches(&matches)?;
        if let Some(path) = options.config.take() {
            options = options.with_file(&matches, &path)?;
            options.config = Some(path);
        }
        options.check()?;
        Ok(options)
    }

    /// Takes the file's value for every setting that is neither on the command line nor in the environment.
    fn with_file(self, matches: &ArgMatches, path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("--config: cannot read {}", path.display()))?;
        let file: Map<String, Value> = serde_json::from_str(&text)
            .with_context(|| format!("--config: {} is not a JSON object", path.display()))?;
        let mut merged = serde_json::to_value(&self).context("--config")?;
        for (key, value) in file {
            let id = key.replace('-', "_");
            ensure!(
                merged.get(&id).is_some(),
                "--config: {}: there is no flag --{}",
                path.display(),
                key.replace('_', "-")
            );
            // A value that does not fit is refused even where a flag overrides it.
            let mut alone = merged.clone();
            alone[&id] = value;
            let read = Self::deserialize(&alone);
            read.with_context(|| format!("--config: {}: {key}", path.display()))?;
            let source = matches.value_source(&id);
            if !matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable)) {
                merged = alone;
            }
        }
        Self::deserialize(&merged).with_context(|| format!("--config: {}", path.display()))
    }

    /// Rules that no parser of a single value can check.
    fn check(&self) -> Result<()> {
        self.tls()?;
        ensure!(
            self.group_min_faces >= 2,
            "--group-min-faces is {}; a report needs at least 2 faces",
            self.group_min_faces
        );
        let (bound, largest) = (self.inflight_bytes(), self.largest_body());
        ensure!(
            bound >= largest,
            "--max-inflight-bytes is {bound}, but --max-body and --max-batch allow a body of {largest} bytes"
        );
        Ok(())
    }

    /// How the server speaks HTTPS.
    ///
    /// # Errors
    /// A certificate without a key, a key without a certificate, or either together with `--tls-self-signed`.
    pub(crate) fn tls(&self) -> Result<Tls> {
        Ok(match (&self.tls_cert, &self.tls_key, self.tls_self_signed) {
            (None, None, false) => Tls::Off,
            (None, None, true) => Tls::SelfSigned,
            (Some(certificate), Some(key), false) => {
                Tls::Files { certificate: certificate.clone(), key: key.clone() }
            }
            (Some(_), None, _) => bail!("--tls-cert is set, but --tls-key is not; HTTPS needs both"),
            (None, Some(_), _) => bail!("--tls-key is set, but --tls-cert is not; HTTPS needs both"),
            (Some(_), Some(_), true) => {
                bail!("--tls-self-signed and --tls-cert exclude each other; set only one of them")
            }
        })
    }

    /// Bytes of bodies and frames that the server holds at once.
    pub(crate) fn inflight_bytes(&self) -> usize {
        self.max_inflight_bytes.unwrap_or_else(|| self.largest_body().saturating_mul(4))
    }

    /// Largest JSON body with a photo as base64, in bytes. Base64 is a third longer than the photo.
    pub(crate) fn max_encoded_body(&self) -> usize {
        (self.max_body / 3).saturating_mul(4).saturating_add(4096)
    }

    fn largest_body(&self) -> usize {
        self.max_encoded_body().max(self.max_batch)
    }
}

/// A list, or one text with commas between the values.
fn one_or_many<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
    D: Deserializer<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a text or a list of texts")]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    let values = match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(text) => text.split(',').map(str::to_owned).collect(),
        OneOrMany::Many(list) => list,
    };
    let parsed = values.iter().map(|text| {
        text.trim().parse().map_err(|error| serde::de::Error::custom(format_args!("{text:?}: {error}")))
    });
    parsed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str, more: &[&str]) -> Result<Options> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("serve.json");
        std::fs::write(&file, json).unwrap();
        let arguments =
            ["fer-serve", "--config", file.to_str().unwrap()].into_iter().chain(more.iter().copied());
        Options::read(&arguments.map(OsString::from).collect::<Vec<_>>())
    }

    fn refusal(json: &str, more: &[&str]) -> String {
        format!("{:#}", read(json, more).unwrap_err())
    }

    #[test]
    fn the_file_overrides_defaults_and_flags_override_the_file() {
        let json = r#"{"queue": 7, "bind": "0.0.0.0:9", "tls_self_signed": true, "log": "json",
                       "trusted-proxy": ["192.0.2.1", "192.0.2.2"], "min_face": 30.5}"#;
        let options = read(json, &["--queue", "8"]).unwrap();
        assert_eq!((options.queue, options.bind.as_str(), options.log), (8, "0.0.0.0:9", LogFormat::Json));
        assert!(
            options.tls_self_signed && options.trusted_proxy.len() == 2 && options.min_face == Some(30.5)
        );
        assert_eq!(read("{}", &[]).unwrap().queue, 32);
        // A flag may repeat the default: it still overrides the file.
        assert_eq!(read(json, &["--queue", "32"]).unwrap().queue, 32);
        assert!(!read(json, &["--tls-self-signed=false"]).unwrap().tls_self_signed);
        assert_eq!(read(r#"{"trusted_proxy": "192.0.2.1, ::1"}"#, &[]).unwrap().trusted_proxy.len(), 2);
    }

    #[test]
    fn keys_and_values_that_do_not_fit_are_named() {
        assert!(refusal(r#"{"quue": 7}"#, &[]).contains("there is no flag --quue"));
        assert!(refusal(r#"{"config": "other.json"}"#, &[]).contains("there is no flag --config"));
        let message = refusal(r#"{"queue": {}}"#, &["--queue", "8"]);
        assert!(message.contains("queue: invalid type: map"), "{message}");
        assert!(refusal(r#"{"trusted_proxy": ["nobody"]}"#, &[]).contains("\"nobody\": invalid IP address"));
        assert!(refusal("[]", &[]).contains("is not a JSON object"));
        assert!(refusal(r#"{"group_min_faces": 1}"#, &[]).contains("--group-min-faces is 1"));
        assert!(refusal(r#"{"max_inflight_bytes": 9}"#, &[]).contains("--max-inflight-bytes is 9"));
    }

    /// Such a server used to speak plain HTTP when the half came from the file.
    #[test]
    fn half_of_a_tls_configuration_is_refused_wherever_it_comes_from() {
        assert!(refusal(r#"{"tls_cert": "a.pem"}"#, &[]).contains("--tls-key is not"));
        assert!(refusal(r#"{"tls_key": "a.pem"}"#, &[]).contains("--tls-cert is not"));
        assert!(refusal("{}", &["--tls-cert", "a.pem"]).contains("--tls-key is not"));
        assert!(refusal(r#"{"tls_cert": "a.pem"}"#, &["--tls-self-signed"]).contains("--tls-key is not"));
        let both = refusal(r#"{"tls_cert": "a.pem", "tls_key": "b.pem"}"#, &["--tls-self-signed"]);
        assert!(both.contains("exclude each other"), "{both}");
        let options = read(r#"{"tls_cert": "a.pem"}"#, &["--tls-key", "b.pem"]).unwrap();
        let files = Tls::Files { certificate: "a.pem".into(), key: "b.pem".into() };
        assert_eq!(options.tls().unwrap(), files);
        assert_eq!(read("{}", &[]).unwrap().tls().unwrap(), Tls::Off);
    }

    #[test]
    fn the_example_file_is_valid() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/serve/production.json");
        let arguments = ["fer-serve".into(), "--config".into(), file.into_os_string()];
        let options = Options::read(&arguments).unwrap();
        assert_eq!((options.log, options.rate_limit), (LogFormat::Json, 20));
    }
}
