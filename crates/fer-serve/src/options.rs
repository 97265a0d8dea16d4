//! The command line; every flag is an environment variable too.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

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
pub(crate) struct Options {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, env = "FER_BIND", default_value = "127.0.0.1:8080")]
    pub(crate) bind: String,
    /// Emotion bundle (model.json, weights.safetensors) instead of the embedded one.
    #[arg(long, env = "FER_MODEL", value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// Face detector (pnet.onnx, rnet.onnx, onet.onnx) instead of the embedded one.
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
    /// A line for each request on standard error.
    #[arg(long, env = "FER_LOG", value_enum, default_value = "text")]
    pub(crate) log: LogFormat,
    /// Seconds that requests under way get after SIGTERM or Ctrl-C.
    #[arg(long, env = "FER_SHUTDOWN_SECONDS", default_value_t = 20)]
    pub(crate) shutdown_seconds: u64,
    /// Smallest face in pixels, of the photo reduced to a longer side of 800.
    #[arg(long, env = "FER_MIN_FACE", default_value_t = 20.0)]
    pub(crate) min_face: f32,
}
