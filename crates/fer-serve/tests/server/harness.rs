//! Starts a real server as a child process, sends requests to it, and reads its answers.

use std::io::{BufRead, BufReader, Cursor, ErrorKind};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use image::{DynamicImage, ImageFormat, RgbImage};
use serde_json::{Value, json};

pub(crate) fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fer-serve"));
    command
        .env("FER_ENGINE", "tract")
        .env_remove("ORT_DYLIB_PATH")
        .env_remove("FER_DETECTOR")
        .env_remove("FER_MODEL")
        .env("FER_LOG", "off");
    command
}

/// A running server on a free port, in an empty temporary folder. It is killed when dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) base: String,
    pub(crate) folder: tempfile::TempDir,
}

impl Server {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", arguments)
    }

    pub(crate) fn start_at(address: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = program()
            .args(["--bind", address])
            .args(arguments)
            .current_dir(folder.path())
            .env("TMPDIR", folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split_whitespace().find(|word| word.starts_with("http"));
        let base =
            address.unwrap_or_else(|| panic!("no address in {line:?}")).trim_end_matches(':').to_owned();
        assert!(line.contains("engine tract") && line.contains("model cnn6"), "{line}");
        Self { child, base, folder }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        Answer::of(agent().get(self.url(path)).call())
    }

    pub(crate) fn analyze(&self, body: &[u8]) -> Answer {
        self.post("application/octet-stream", body)
    }

    pub(crate) fn post(&self, content_type: &str, body: &[u8]) -> Answer {
        self.post_to("/v1/analyze", content_type, body)
    }

    pub(crate) fn post_to(&self, path: &str, content_type: &str, body: &[u8]) -> Answer {
        Answer::of(agent().post(self.url(path)).content_type(content_type).send(body))
    }

    pub(crate) fn post_json(&self, path: &str, body: &Value) -> Answer {
        self.post_to(path, "application/json", body.to_string().as_bytes())
    }

    /// Sends SIGTERM.
    #[cfg(unix)]
    pub(crate) fn terminate(&self) {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(told.unwrap().success());
    }

    /// Waits until the server exits, which must be with code 0.
    pub(crate) fn ends_well(&mut self, within: Duration) {
        let waiting = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(waiting.elapsed() < within, "the server does not stop");
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(status.success(), "{status}");
    }

    /// Address and port, such as `127.0.0.1:8080`.
    pub(crate) fn address(&self) -> &str {
        self.base.strip_prefix("http://").unwrap()
    }

    /// A new connection. Reading from it fails after 30 seconds.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    /// The value of a metric.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        self.metric_if_there(name).unwrap_or_else(|| panic!("no metric {name}"))
    }

    /// The value of a metric that is absent until something was counted.
    pub(crate) fn metric_or_zero(&self, name: &str) -> f64 {
        self.metric_if_there(name).unwrap_or(0.0)
    }

    fn metric_if_there(&self, name: &str) -> Option<f64> {
        let text = self.get("/metrics").text;
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// Peak resident memory so far, in bytes.
    #[cfg(target_os = "linux")]
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) fn agent() -> ureq::Agent {
    // The servers of these tests have self-signed certificates.
    let tls = ureq::tls::TlsConfig::builder().disable_verification(true).build();
    ureq::Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(120)))
        .build()
        .into()
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) json: Value,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn of(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Self {
        let mut response = response.unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Self { status: response.status().as_u16(), headers: response.headers().clone(), json, text }
    }

    /// Parses the text of a response. The headers are left out.
    pub(crate) fn of_text(text: &str) -> Self {
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Self {
            status: status.unwrap_or_else(|| panic!("no answer: {text:?}")),
            headers: ureq::http::HeaderMap::new(),
            json: serde_json::from_str(body).unwrap_or(Value::Null),
            text: body.to_owned(),
        }
    }

    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, &self.json["error"]["code"]), (status, &json!(code)), "{}", self.text);
        assert!(
            self.json["error"]["message"].as_str().is_some_and(|message| message.len() > 10),
            "{}",
            self.text
        );
    }
}

pub(crate) fn sample() -> Vec<u8> {
    std::fs::read(workspace("assets/samples/astronaut.png")).unwrap()
}

pub(crate) fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A quiet tone of two seconds as WAV, with one channel, 8 bits and 8,000 samples per second.
pub(crate) fn tone() -> Vec<u8> {
    let samples = (0..16_000).map(|t| (128.0 + 20.0 * (f64::from(t) * 0.35).sin()) as u8);
    let mut wav =
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data\0\0\0\0"
            .to_vec();
    wav.extend(samples);
    for (at, size) in [(4, wav.len() - 8), (40, wav.len() - 44)] {
        wav[at..at + 4].copy_from_slice(&(size as u32).to_le_bytes());
    }
    wav
}

/// A picture with three copies of the sample photo's head.
pub(crate) fn group() -> RgbImage {
    let photo = image::load_from_memory(&sample()).unwrap().into_rgb8();
    let head = image::imageops::crop_imm(&photo, 140, 20, 170, 190).to_image();
    let mut group = RgbImage::from_pixel(640, 300, image::Rgb([118, 121, 125]));
    for (x, y) in [(10, 20), (230, 60), (440, 30)] {
        image::imageops::overlay(&mut group, &head, x, y);
    }
    group
}

pub(crate) fn form(field: &str, content: &[u8]) -> Vec<u8> {
    let head = format!(
        "--b\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n--b\r\n\
         Content-Disposition: form-data; name=\"{field}\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n"
    );
    [head.as_bytes(), content, b"\r\n--b--\r\n"].concat()
}

/// The request line and headers for a photo of `bytes` bytes.
pub(crate) fn head(bytes: usize) -> String {
    format!(
        "POST /v1/analyze HTTP/1.1\r\nHost: fer\r\nContent-Type: image/png\r\nContent-Length: {bytes}\r\n\r\n"
    )
}

pub(crate) fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// A multipart body with these fields and contents.
pub(crate) fn fields(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, content) in parts {
        let head = format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"a\"\r\n\r\n");
        body.extend([head.as_bytes(), content, b"\r\n"].concat());
    }
    [body, b"--b--\r\n".to_vec()].concat()
}

pub(crate) const FORM: &str = "multipart/form-data; boundary=b";

pub(crate) type Socket = tungstenite::WebSocket<TcpStream>;

impl Server {
    pub(crate) fn live(&self, origin: Option<&str>) -> Result<Socket, u16> {
        self.live_with("", origin)
    }

    /// The same with a query string.
    pub(crate) fn live_with(&self, query: &str, origin: Option<&str>) -> Result<Socket, u16> {
        use tungstenite::client::IntoClientRequest;
        let mut request = format!("ws://{}/v1/live{query}", self.address()).into_client_request().unwrap();
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().unwrap());
        }
        match tungstenite::client(request, self.connect()) {
            Ok((socket, _)) => Ok(socket),
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
                Err(response.status().as_u16())
            }
            Err(other) => panic!("{other}"),
        }
    }
}

pub(crate) fn send(socket: &mut Socket, frame: &[u8]) {
    socket.send(tungstenite::Message::binary(frame.to_vec())).unwrap();
}

pub(crate) fn receive(socket: &mut Socket) -> Value {
    serde_json::from_str(socket.read().unwrap().to_text().unwrap()).unwrap()
}

/// The reason that the server gives when it ends a connection.
pub(crate) fn farewell(socket: &mut Socket) -> String {
    loop {
        if let tungstenite::Message::Close(frame) = socket.read().unwrap() {
            return frame.unwrap().reason.to_string();
        }
    }
}

/// Like [`farewell`], of a client that sends a ping several times a second and neither a key nor a frame.
pub(crate) fn farewell_to_pings(socket: &mut Socket, within: Duration) -> String {
    let started = Instant::now();
    socket.get_ref().set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    loop {
        assert!(started.elapsed() < within, "pings hold the connection open");
        // The server may have closed the connection already; then the reason can still be read.
        let _ = socket.send(tungstenite::Message::Ping(b"x".to_vec().into()));
        match socket.read() {
            Ok(tungstenite::Message::Close(frame)) => return frame.unwrap().reason.to_string(),
            Ok(_) => std::thread::sleep(Duration::from_millis(100)),
            Err(tungstenite::Error::Io(error))
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Compares an answer with the one in `snapshots/`: keys and their order, texts, and numbers within 0.5 % or 0.01. Times may differ.
/// `FER_SNAPSHOTS=write` writes the files anew, so that the difference can be inspected.
#[track_caller]
pub(crate) fn snapshot(name: &str, found: &Value) {
    let file = workspace("crates/fer-serve/tests/server/snapshots").join(format!("{name}.json"));
    if std::env::var_os("FER_SNAPSHOTS").is_some_and(|wanted| wanted == "write") {
        std::fs::write(&file, serde_json::to_string_pretty(found).unwrap() + "\n").unwrap();
    }
    let expected = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    same(&serde_json::from_slice(&expected).unwrap(), found, name);
}

#[track_caller]
fn same(expected: &Value, found: &Value, place: &str) {
    match (expected, found) {
        (Value::Object(a), Value::Object(b)) => {
            assert!(a.keys().eq(b.keys()), "{place}: {:?} became {:?}", keys(expected), keys(found));
            for (key, value) in a {
                same(value, &b[key], &format!("{place}.{key}"));
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len(), "{place}");
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                same(a, b, &format!("{place}[{index}]"));
            }
        }
        (Value::Number(a), Value::Number(b)) => {
            assert_eq!(a.is_f64(), b.is_f64(), "{place}: {a} became {b}");
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            let time = place.contains("timing_ms") || place.ends_with("_ms");
            assert!(time || (a - b).abs() <= 0.01_f64.max(0.005 * a.abs()), "{place}: {a} became {b}");
        }
        _ => assert_eq!(expected, found, "{place}"),
    }
}
