//! The command line; every flag is an environment variable too, and a key of the configuration file. The command line wins,
//! then the environment.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{CommandFactory, FromArgMatches, Parser, ValueEnum};
use serde_json::{Map, Value};

/// How the log is written. Pictures, faces and answers are never in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// An object a line.
    Json,
    /// Errors alone.
    Off,
}

/// Serves a page and an API that find faces in photos and guess their expressions.
///
/// Photos are analysed in memory and never stored.
#[derive(Parser, Debug)]
#[command(version)]
pub struct Options {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, env = "FER_BIND", default_value = "127.0.0.1:8080")]
    pub(crate) bind: String,
    /// JSON object of flags, see configs/serve/.
    #[arg(long, env = "FER_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Emotion bundle (model.json, weights.safetensors) instead of the embedded one.
    #[arg(long, env = "FER_MODEL", value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// Folder of a face detector (model.json, or facenet-pytorch's pnet.onnx, rnet.onnx and onet.onnx without one) instead of the embedded one.
    #[arg(long, env = "FER_DETECTOR", value_name = "DIR")]
    pub(crate) detector: Option<PathBuf>,
    /// ONNX Runtime's shared library; without it tract, which is built in.
    #[arg(long, env = "ORT_DYLIB_PATH", value_name = "FILE")]
    pub(crate) onnxruntime: Option<PathBuf>,
    /// Inference threads; 0 for one a core.
    #[arg(long, env = "FER_WORKERS", default_value_t = 0)]
    pub(crate) workers: usize,
    /// Photos that may wait for a worker; more are refused with 503.
    #[arg(long, env = "FER_QUEUE", default_value_t = 32)]
    pub(crate) queue: usize,
    /// Largest request body in bytes.
    #[arg(long, env = "FER_MAX_BODY", default_value_t = 10 << 20)]
    pub(crate) max_body: usize,
    /// Largest body of a batch in bytes.
    #[arg(long, env = "FER_MAX_BATCH", default_value_t = 64 << 20)]
    pub(crate) max_batch: usize,
    /// Seconds in which a request's body must come.
    #[arg(long, env = "FER_BODY_SECONDS", default_value_t = 60)]
    pub(crate) body_seconds: u64,
    /// Largest photo in pixels.
    #[arg(long, env = "FER_MAX_PIXELS", default_value_t = 40_000_000)]
    pub(crate) max_pixels: u64,
    /// Live connections of all clients.
    #[arg(long, env = "FER_LIVE_CONNECTIONS", default_value_t = 64)]
    pub(crate) live_connections: usize,
    /// Live connections of one client, by its address.
    #[arg(long, env = "FER_LIVE_PER_CLIENT", default_value_t = 32)]
    pub(crate) live_per_client: usize,
    /// Seconds without a frame after which a live connection is closed.
    #[arg(long, env = "FER_LIVE_IDLE_SECONDS", default_value_t = 60)]
    pub(crate) live_idle_seconds: u64,
    /// Certificate chain as PEM; then the server speaks HTTPS.
    #[arg(long, env = "FER_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's key as PEM.
    #[arg(long, env = "FER_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// HTTPS with a certificate made at the start, of which browsers warn.
    #[arg(long, env = "FER_TLS_SELF_SIGNED", conflicts_with = "tls_cert")]
    pub(crate) tls_self_signed: bool,
    /// File with API keys, one a line: then the API wants one of them, and the page asks for it.
    #[arg(long, env = "FER_API_KEY_FILE", value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// Requests a second of one client, twice as many at once; 0 for any.
    #[arg(long, env = "FER_RATE_LIMIT", default_value_t = 0)]
    pub(crate) rate_limit: u32,
    /// Address of a proxy that may say by X-Forwarded-For on whose behalf it asks; may be given several times.
    #[arg(long, env = "FER_TRUSTED_PROXY", value_name = "IP", value_delimiter = ',')]
    pub(crate) trusted_proxy: Vec<IpAddr>,
    /// Origin whose pages may use the API, such as https://example.org; may be given several times.
    #[arg(long, env = "FER_CORS_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    pub(crate) cors_origin: Vec<String>,
    /// Offer reports on the mood of a group: means alone. See docs/responsible-use.md before.
    #[arg(long, env = "FER_GROUP_REPORT")]
    pub(crate) group_report: bool,
    /// Fewest faces of which a group report says anything.
    #[arg(long, env = "FER_GROUP_MIN_FACES", default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) group_min_faces: u32,
    /// Music of your own for the page, in place of what it makes up: DIR/<emotion>/ holds the files for a mood.
    #[arg(long, env = "FER_MUSIC", value_name = "DIR")]
    pub(crate) music: Option<PathBuf>,
    /// A line for each request on standard error.
    #[arg(long, env = "FER_LOG", value_enum, default_value = "text")]
    pub(crate) log: LogFormat,
    /// Seconds that requests under way get after SIGTERM or Ctrl-C.
    #[arg(long, env = "FER_SHUTDOWN_SECONDS", default_value_t = 20)]
    pub(crate) shutdown_seconds: u64,
    /// Smallest face in pixels, in the photo reduced to a longer side of 800 [default: the detector's, 20 for the embedded one].
    #[arg(long, env = "FER_MIN_FACE")]
    pub(crate) min_face: Option<f32>,
}

impl Options {
    /// From the program's arguments, the environment, and the configuration file that they name.
    ///
    /// # Errors
    /// A configuration file that does not read. What is wrong on the command line ends the program, as clap does.
    pub fn read(arguments: &[OsString]) -> Result<Self> {
        let mut command = Self::command();
        // Whatever else is wrong there is said below, by the command that knows the file's values.
        let named = command.clone().ignore_errors(true).try_get_matches_from(arguments).ok();
        if let Some(path) = named.and_then(|matches| matches.get_one::<PathBuf>("config").cloned()) {
            command = with_file(command, &path)?;
        }
        let matches = command.get_matches_from(arguments);
        Ok(Self::from_arg_matches(&matches)?)
    }
}

/// The same command whose defaults are the file's values.
fn with_file(mut command: clap::Command, path: &Path) -> Result<clap::Command> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("--config: cannot read {}", path.display()))?;
    let json: Map<String, Value> = serde_json::from_str(&text)
        .with_context(|| format!("--config: {} is not a JSON object", path.display()))?;
    for (key, value) in json {
        let id = key.replace('-', "_");
        if id == "config" || !command.get_arguments().any(|argument| argument.get_id() == id.as_str()) {
            bail!("--config: {}: there is no flag --{}", path.display(), key.replace('_', "-"));
        }
        let text = |value: &Value| match value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
            _ => bail!("--config: {}: {key} is neither text, a number nor a truth value", path.display()),
        };
        let values = match &value {
            Value::Array(list) => list.iter().map(text).collect::<Result<Vec<_>>>()?,
            one => vec![text(one)?],
        };
        command = command.mut_arg(id, |argument| argument.default_values(values));
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_gives_defaults_and_the_command_line_wins() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("serve.json");
        let read = |json: &str, more: &[&str]| {
            std::fs::write(&file, json).unwrap();
            let arguments =
                ["fer-serve", "--config", file.to_str().unwrap()].into_iter().chain(more.iter().copied());
            Options::read(&arguments.map(OsString::from).collect::<Vec<_>>())
        };
        let json = r#"{"queue": 7, "bind": "0.0.0.0:9", "tls_self_signed": true, "log": "json",
                       "trusted-proxy": ["192.0.2.1", "192.0.2.2"], "min_face": 30.5}"#;
        let options = read(json, &["--queue", "8"]).unwrap();
        assert_eq!((options.queue, options.bind.as_str(), options.log), (8, "0.0.0.0:9", LogFormat::Json));
        assert!(
            options.tls_self_signed && options.trusted_proxy.len() == 2 && options.min_face == Some(30.5)
        );
        assert_eq!(read("{}", &[]).unwrap().queue, 32);
        let refusal = |json: &str| format!("{:#}", read(json, &[]).unwrap_err());
        assert!(refusal(r#"{"quue": 7}"#).contains("there is no flag --quue"));
        assert!(refusal(r#"{"queue": {}}"#).contains("queue is neither"));
        assert!(refusal("[]").contains("is not a JSON object"));
    }

    #[test]
    fn the_example_holds() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/serve/production.json");
        let arguments = ["fer-serve".into(), "--config".into(), file.into_os_string()];
        let options = Options::read(&arguments).unwrap();
        assert_eq!((options.log, options.rate_limit), (LogFormat::Json, 20));
    }
}
