//! The real binary over real HTTP.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use image::{DynamicImage, ImageFormat, RgbImage};
use serde_json::{Value, json};

fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fer-serve"));
    command
        .env_remove("ORT_DYLIB_PATH")
        .env_remove("FER_DETECTOR")
        .env_remove("FER_MODEL")
        .env("FER_LOG", "off");
    command
}

/// A running server on a port of its own, in an empty folder of its own; killed at the end.
struct Server {
    child: Child,
    base: String,
    folder: tempfile::TempDir,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = program()
            .args(["--bind", "127.0.0.1:0"])
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

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn get(&self, path: &str) -> Answer {
        Answer::of(agent().get(self.url(path)).call())
    }

    fn analyze(&self, body: &[u8]) -> Answer {
        self.post("application/octet-stream", body)
    }

    fn post(&self, content_type: &str, body: &[u8]) -> Answer {
        self.post_to("/v1/analyze", content_type, body)
    }

    fn post_to(&self, path: &str, content_type: &str, body: &[u8]) -> Answer {
        Answer::of(agent().post(self.url(path)).content_type(content_type).send(body))
    }

    fn post_json(&self, path: &str, body: &Value) -> Answer {
        self.post_to(path, "application/json", body.to_string().as_bytes())
    }

    /// Peak resident memory so far, in bytes.
    #[cfg(target_os = "linux")]
    fn peak_memory(&self) -> u64 {
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

fn agent() -> ureq::Agent {
    // The servers of these tests sign their own certificates.
    let tls = ureq::tls::TlsConfig::builder().disable_verification(true).build();
    ureq::Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(120)))
        .build()
        .into()
}

struct Answer {
    status: u16,
    headers: ureq::http::HeaderMap,
    json: Value,
    text: String,
}

impl Answer {
    fn of(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Self {
        let mut response = response.unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Self { status: response.status().as_u16(), headers: response.headers().clone(), json, text }
    }

    #[track_caller]
    fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, &self.json["error"]["code"]), (status, &json!(code)), "{}", self.text);
        assert!(
            self.json["error"]["message"].as_str().is_some_and(|message| message.len() > 10),
            "{}",
            self.text
        );
    }
}

fn sample() -> Vec<u8> {
    std::fs::read(workspace("assets/samples/astronaut.png")).unwrap()
}

fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// The sample's head at three places.
fn group() -> RgbImage {
    let photo = image::load_from_memory(&sample()).unwrap().into_rgb8();
    let head = image::imageops::crop_imm(&photo, 140, 20, 170, 190).to_image();
    let mut group = RgbImage::from_pixel(640, 300, image::Rgb([118, 121, 125]));
    for (x, y) in [(10, 20), (230, 60), (440, 30)] {
        image::imageops::overlay(&mut group, &head, x, y);
    }
    group
}

fn form(field: &str, content: &[u8]) -> Vec<u8> {
    let head = format!(
        "--b\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n--b\r\n\
         Content-Disposition: form-data; name=\"{field}\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n"
    );
    [head.as_bytes(), content, b"\r\n--b--\r\n"].concat()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn a_photo_is_answered_as_documented() {
    let server = Server::start(&["--workers", "1"]);
    let answer = server.post("image/png", &sample());
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.headers["cache-control"], "no-store");
    let emotions = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"];
    let json = &answer.json;
    assert_eq!(keys(json), ["image", "faces", "mood", "timing_ms", "model"]);
    assert_eq!(json["image"], json!({"width": 512, "height": 512}));
    assert_eq!(json["faces"].as_array().unwrap().len(), 1);
    let face = &json["faces"][0];
    assert_eq!(keys(face), ["box", "confidence", "landmarks", "emotions", "dominant_emotion", "uncertain"]);
    for (side, golden) in [("x", 177.09), ("y", 56.46), ("width", 96.45), ("height", 128.45)] {
        assert!((face["box"][side].as_f64().unwrap() - golden).abs() < 1.0, "{side} of {face}");
    }
    assert_eq!(keys(&face["landmarks"]), ["left_eye", "right_eye", "nose", "mouth_left", "mouth_right"]);
    let eyes = ["left_eye", "right_eye"].map(|eye| face["landmarks"][eye][0].as_f64().unwrap());
    assert!(eyes[0] < eyes[1], "left is as seen in the image");
    assert_eq!(keys(&face["emotions"]), emotions);
    let sum: f64 = face["emotions"].as_object().unwrap().values().map(|p| p.as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-3);
    assert_eq!((&face["dominant_emotion"], &face["uncertain"]), (&json!("happy"), &json!(false)));
    assert_eq!(keys(&json["mood"]), ["dominant_emotion", "faces", "mean"]);
    assert_eq!(keys(&json["mood"]["mean"]), emotions);
    assert_eq!(keys(&json["timing_ms"]), ["decode", "detect", "classify", "total"]);
    assert_eq!(json["model"], json!({"name": "cnn6", "engine": "tract"}));
    let empty = std::fs::read_dir(server.folder.path()).unwrap().next().is_none();
    assert!(empty, "the server wrote a file");
}

#[test]
fn bodies_forms_formats_and_orientations() {
    let server = Server::start(&["--workers", "2"]);
    let faces = |answer: &Answer| {
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json["faces"].as_array().unwrap().len()
    };
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
        let answer = server.post(format.to_mime_type(), &encoded(group(), format));
        assert_eq!((faces(&answer), &answer.json["mood"]["faces"]), (3, &json!(3)), "{format:?}");
    }
    let form = form("image", &sample());
    assert_eq!(faces(&server.post("multipart/form-data; boundary=b", &form)), 1);
    let grey = RgbImage::from_pixel(320, 240, image::Rgb([90; 3]));
    let nobody = server.analyze(&encoded(grey, ImageFormat::Jpeg));
    assert_eq!((faces(&nobody), &nobody.json["mood"]), (0, &Value::Null));
    // Lies on its side, and says so.
    let jpeg = encoded(image::imageops::rotate270(&group()), ImageFormat::Jpeg);
    let exif = b"\xff\xe1\0\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let turned = server.analyze(&[&jpeg[..2], exif, &jpeg[2..]].concat());
    assert_eq!((faces(&turned), &turned.json["image"]), (3, &json!({"width": 640, "height": 300})));
}

#[test]
fn every_refusal_has_its_code() {
    let server = Server::start(&["--workers", "1", "--max-body", "600000"]);
    let png = encoded(group(), ImageFormat::Png);
    server.analyze(b"").refused(400, "empty_body");
    server.post("multipart/form-data; boundary=b", &form("picture", b"x")).refused(400, "missing_field");
    server.post("multipart/form-data; boundary=b", &form("image", b"")).refused(400, "empty_body");
    server.post("multipart/form-data", b"x").refused(400, "bad_request");
    server.post("multipart/form-data; boundary=b", b"no form at all").refused(400, "bad_request");
    server.get("/nowhere").refused(404, "not_found");
    server.get("/v1/analyze").refused(405, "method_not_allowed");
    assert_eq!(server.get("/v1/analyze").headers["allow"], "POST");
    Answer::of(agent().post(server.url("/v1/model")).send(&b"x"[..])).refused(405, "method_not_allowed");
    server.analyze(&vec![1; 600_001]).refused(413, "body_too_large");
    server
        .post("multipart/form-data; boundary=b", &form("image", &vec![1; 600_001]))
        .refused(413, "body_too_large");
    let chunked = ureq::SendBody::from_owned_reader(std::io::repeat(7).take(700_000));
    Answer::of(agent().post(server.url("/v1/analyze")).send(chunked)).refused(413, "body_too_large");
    server.post("image/png", b"hello").refused(415, "not_an_image");
    server.post("image/jpeg", b"GIF89a, in truth").refused(415, "not_an_image");
    server.post("image/png", &png[..png.len() / 2]).refused(422, "corrupt_image");
    server.post("image/jpeg", b"\xff\xd8\xff\xe0 and then nothing").refused(422, "corrupt_image");
    // Still there, and no worker lost.
    assert_eq!(server.analyze(&png).status, 200);
    let health = server.get("/healthz");
    assert_eq!(
        (health.status, &health.json["status"], &health.json["worker_panics"]),
        (200, &json!("ok"), &json!(0))
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_bomb_costs_no_more_than_a_photo() {
    let server = Server::start(&["--workers", "1"]);
    assert_eq!(server.analyze(&encoded(RgbImage::new(1600, 1200), ImageFormat::Png)).status, 200);
    let photo = server.peak_memory();
    let bomb = encoded(RgbImage::new(8200, 8200), ImageFormat::Png);
    assert!(bomb.len() < 1 << 20, "200 MB in {} bytes", bomb.len());
    server.analyze(&bomb).refused(413, "too_many_pixels");
    let deep = encoded(DynamicImage::new_rgba16(5000, 5000), ImageFormat::Png);
    server.analyze(&deep).refused(413, "too_many_pixels");
    let grown = server.peak_memory() - photo;
    assert!(grown < 16 << 20, "the bombs cost {grown} bytes");
}

#[test]
fn a_full_queue_answers_503_and_recovers() {
    let server = Server::start(&["--workers", "1", "--queue", "1"]);
    let photo = encoded(group(), ImageFormat::Png);
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..12).map(|_| scope.spawn(|| server.analyze(&photo))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let (served, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
    assert!(!served.is_empty() && !refused.is_empty(), "{} served, {} refused", served.len(), refused.len());
    for answer in refused {
        answer.refused(503, "busy");
        assert_eq!(answer.headers["retry-after"], "1");
    }
    assert_eq!(server.analyze(&photo).status, 200);
}

#[test]
fn the_page_and_what_it_needs() {
    let server = Server::start(&["--workers", "1"]);
    let page = server.get("/");
    assert!(page.status == 200 && page.text.contains("<title>"), "{}", page.text);
    assert!(page.headers["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
    let parts: Vec<&str> = ["src=\"", "href=\""]
        .iter()
        .flat_map(|attribute| page.text.split(attribute).skip(1))
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    let imports = |module: &str| -> Vec<String> {
        let text = server.get(module).text;
        let files =
            text.split(" from \"./").skip(1).map(|rest| format!("/{}", rest.split('"').next().unwrap()));
        files.collect()
    };
    for module in
        imports("/app.js").iter().flat_map(|module| [vec![module.clone()], imports(module)].concat())
    {
        assert_eq!(server.get(&module).headers["content-type"], "text/javascript; charset=utf-8", "{module}");
    }
    assert!(parts.contains(&"/app.js") && parts.contains(&"/style.css"), "{parts:?}");
    for part in parts {
        assert_eq!(server.get(part).status, 200, "{part}");
    }
    assert!(
        !page.text.contains("http://") && !page.text.contains("https://"),
        "the page loads something from elsewhere"
    );
    let model = server.get("/v1/model").json;
    assert_eq!((&model["name"], &model["engine"]), (&json!("cnn6"), &json!("tract")));
    assert_eq!(model["bundle"]["network"]["labels"].as_array().unwrap().len(), 7);
    assert!(model["bundle"]["network"]["layers"].as_array().unwrap().len() > 20);
}

#[test]
#[cfg(unix)]
fn it_stops_when_told_to() {
    let mut server = Server::start(&["--workers", "2"]);
    assert_eq!(server.get("/healthz").status, 200);
    let told = Command::new("kill").args(["-TERM", &server.child.id().to_string()]).status().unwrap();
    assert!(told.success());
    let waiting = Instant::now();
    let status = loop {
        if let Some(status) = server.child.try_wait().unwrap() {
            break status;
        }
        assert!(waiting.elapsed() < Duration::from_secs(40), "it does not stop");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(status.success(), "{status}");
}

/// Exit code 1 and one line on standard error, which is returned.
fn refusal(command: &mut Command) -> String {
    let Output { status, stderr, .. } = command.args(["--bind", "127.0.0.1:0"]).output().unwrap();
    let message = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{message}");
    assert_eq!(message.trim_end().lines().count(), 1, "{message}");
    message
}

#[test]
fn what_it_cannot_start_with_is_named_in_one_line() {
    assert!(refusal(program().args(["--detector", "nowhere"])).contains("pnet.onnx"));
    assert!(refusal(program().args(["--onnxruntime", "nowhere.so"])).contains("nowhere.so"));
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let shipped = |name: &str| std::fs::read(workspace("assets/models/emotion").join(name)).unwrap();
    let (json, weights) = (shipped("model.json"), shipped("weights.safetensors"));
    let with_bundle = |json: &[u8], weights: &[u8]| {
        std::fs::write(file("model.json"), json).unwrap();
        std::fs::write(file("weights.safetensors"), weights).unwrap();
        refusal(program().arg("--model").arg(folder.path()))
    };
    let mut damaged = weights.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let message = with_bundle(&json, &damaged);
    assert!(message.contains("sha256") && message.contains("weights.safetensors"), "{message}");
    let message = with_bundle(&json, &weights[..weights.len() / 2]);
    assert!(message.contains("weights.safetensors"), "{message}");
    let mut other: Value = serde_json::from_slice(&json).unwrap();
    other["network"]["layers"][0]["channels"] = json!(32);
    let message = with_bundle(other.to_string().as_bytes(), &weights);
    assert!(message.contains("layers.0.weight"), "{message}");
    other["network"]["layers"][0]["kernel"] = json!(99);
    let message = with_bundle(other.to_string().as_bytes(), &weights);
    assert!(message.contains("layer 0"), "{message}");
}

#[test]
fn serving_links_nothing_of_training() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--offline",
            "-p",
            "fer-serve",
            "-e",
            "normal",
            "--prefix",
            "none",
            "-f",
            "{p}",
        ])
        .current_dir(workspace(""))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    assert!(
        tree.contains("fer-vision") && tree.contains("tract-onnx"),
        "not the tree that was asked for: {tree}"
    );
    for line in tree.lines() {
        let package = line.split_whitespace().next().unwrap_or_default();
        let training = ["burn", "wgpu", "cubecl", "autodiff", "fer-train"];
        assert!(!training.iter().any(|name| package.contains(name)), "fer-serve links {package}");
    }
}

/// A multipart body of fields with their contents.
fn fields(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, content) in parts {
        let head = format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"a\"\r\n\r\n");
        body.extend([head.as_bytes(), content, b"\r\n"].concat());
    }
    [body, b"--b--\r\n".to_vec()].concat()
}

const FORM: &str = "multipart/form-data; boundary=b";

#[test]
fn a_batch_answers_in_order_and_one_bad_image_spoils_nothing() {
    let server = Server::start(&["--workers", "2", "--queue", "1", "--max-body", "600000"]);
    let grey = encoded(RgbImage::from_pixel(64, 64, image::Rgb([90; 3])), ImageFormat::Png);
    let group = encoded(group(), ImageFormat::Png);
    let large = vec![7; 600_001];
    let parts: [&[u8]; 6] = [&grey, &group, b"no image", &large, &grey, &group];
    let parts: Vec<_> =
        parts.iter().map(|content| ("image", *content)).chain([("note", &b"x"[..])]).collect();
    let answer = server.post_to("/v1/batch", FORM, &fields(&parts));
    assert_eq!(answer.status, 200, "{}", answer.text);
    let results = answer.json["results"].as_array().unwrap();
    let faces = |result: &Value| result["faces"].as_array().map(Vec::len);
    let codes = |result: &Value| result["error"]["code"].as_str().map(str::to_owned);
    assert_eq!(
        results.iter().map(faces).collect::<Vec<_>>(),
        [Some(0), Some(3), None, None, Some(0), Some(3)]
    );
    assert_eq!(codes(&results[2]).unwrap(), "not_an_image");
    assert_eq!(codes(&results[3]).unwrap(), "body_too_large");
    server.post_to("/v1/batch", FORM, &fields(&[("photo", &grey)])).refused(400, "missing_field");
    server.post_to("/v1/batch", "image/png", &grey).refused(400, "bad_request");
    let many: Vec<_> = (0..65).map(|_| ("image", &b"x"[..])).collect();
    server.post_to("/v1/batch", FORM, &fields(&many)).refused(400, "bad_request");
}

#[test]
fn an_annotated_photo_is_a_photo() {
    let server = Server::start(&["--workers", "1"]);
    let annotate = |accept: &str| {
        let request =
            agent().post(server.url("/v1/annotate")).content_type("image/png").header("accept", accept);
        let mut response = request.send(&sample()[..]).unwrap();
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        (kind, response.body_mut().read_to_vec().unwrap())
    };
    let (kind, bytes) = annotate("image/png");
    assert_eq!(kind, "image/png");
    let drawn = image::load_from_memory(&bytes).unwrap().into_rgb8();
    let before = image::load_from_memory(&sample()).unwrap().into_rgb8();
    let changed = drawn.pixels().zip(before.pixels()).filter(|(a, b)| a != b).count();
    assert!((500..30_000).contains(&changed), "a box and a label: {changed} pixels");
    let (kind, bytes) = annotate("*/*");
    assert_eq!((kind.as_str(), image::guess_format(&bytes).unwrap()), ("image/jpeg", ImageFormat::Jpeg));
    server.post_to("/v1/annotate", "image/png", b"").refused(400, "empty_body");
}

/// The shape that DeepFace's REST server gives for the action `emotion`, with ours in it.
#[test]
fn deepfaces_clients_need_another_address_alone() {
    use base64::Engine as _;
    let server = Server::start(&["--workers", "1"]);
    let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let uri = format!("data:image/png;base64,{}", encode(&sample()));
    let asked = json!({"img": uri, "actions": ["emotion"], "detector_backend": "mtcnn", "align": true});
    let answer = server.post_json("/analyze", &asked);
    assert_eq!(answer.status, 200, "{}", answer.text);
    let results = answer.json["results"].as_array().unwrap();
    let face = &results[0];
    assert_eq!((results.len(), &face["dominant_emotion"]), (1, &json!("happy")));
    assert_eq!(keys(face), ["emotion", "dominant_emotion", "region", "face_confidence"]);
    assert_eq!(keys(&face["region"]), ["x", "y", "w", "h", "left_eye", "right_eye"]);
    let scores = face["emotion"].as_object().unwrap().values().map(|score| score.as_f64().unwrap());
    assert!((scores.sum::<f64>() - 100.0).abs() < 0.1 && face["region"]["w"].is_i64(), "{face}");
    let [left, right] = ["left_eye", "right_eye"].map(|eye| face["region"][eye][0].as_i64().unwrap());
    assert!(left > right, "the person's left eye is at the right of the picture: {face}");
    let form = fields(&[("img", &sample()), ("actions", b"['emotion']"), ("enforce_detection", b"false")]);
    assert_eq!(server.post_to("/analyze", FORM, &form).json["results"], answer.json["results"]);

    let grey = encode(&encoded(RgbImage::from_pixel(64, 48, image::Rgb([90; 3])), ImageFormat::Png));
    let none = server.post_json("/analyze", &json!({"img": grey, "actions": ["emotion"]}));
    none.refused(400, "no_face");
    assert_eq!(none.json["exception"], none.json["error"]["message"]);
    let whole = server.post_json("/analyze", &json!({"img": grey, "enforce_detection": "false"}));
    let face = &whole.json["results"][0];
    assert_eq!(
        (&face["region"]["w"], &face["region"]["left_eye"], &face["face_confidence"]),
        (&json!(64), &Value::Null, &json!(0.0)),
        "{}",
        whole.text
    );
    for wrong in [
        json!({"img": grey, "actions": ["age", "emotion"]}),
        json!({"img": "http://127.0.0.1/face.jpg"}),
        json!({"img": "/etc/passwd"}),
        json!({"img": 7}),
    ] {
        server.post_json("/analyze", &wrong).refused(400, "bad_request");
    }
    server.post_json("/analyze", &json!({"actions": ["emotion"]})).refused(400, "missing_field");
    server.post_to("/analyze", "application/json", b"[").refused(400, "bad_request");
}

/// The list that `FER().detect_emotions` gives.
#[test]
fn the_fer_packages_list_is_given() {
    let server = Server::start(&["--workers", "1"]);
    let group = encoded(group(), ImageFormat::Png);
    for (kind, body) in [("image/png", group.clone()), (FORM, fields(&[("image", &group)]))] {
        let answer = server.post_to("/detect_emotions", kind, &body);
        let faces = answer.json.as_array().unwrap();
        assert_eq!(faces.len(), 3, "{}", answer.text);
        assert_eq!(keys(&faces[0]), ["box", "emotions"]);
        assert!(faces[0]["box"].as_array().unwrap().iter().all(Value::is_i64), "{}", answer.text);
        let shares = faces[0]["emotions"].as_object().unwrap().values().map(|share| share.as_f64().unwrap());
        assert!((shares.sum::<f64>() - 1.0).abs() < 0.05, "{}", answer.text);
    }
    let none = server.post_to("/detect_emotions", "image/png", b"none");
    none.refused(415, "not_an_image");
    assert_eq!(none.json["exception"], none.json["error"]["message"]);
}

#[cfg(unix)]
#[test]
fn told_to_stop_it_finishes_what_it_has() {
    let mut server = Server::start(&["--workers", "1", "--shutdown-seconds", "30"]);
    assert_eq!(server.get("/readyz").json["status"], "ready");
    let group = encoded(group(), ImageFormat::Png);
    let (url, sent) = (server.url("/v1/batch"), fields(&[("image", &group[..]); 12]));
    let client = std::thread::spawn(move || Answer::of(agent().post(url).content_type(FORM).send(&sent[..])));
    std::thread::sleep(Duration::from_millis(300));
    let id = server.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let answer = client.join().unwrap();
    assert_eq!((answer.status, answer.json["results"].as_array().unwrap().len()), (200, 12));
    let started = Instant::now();
    let status = server.child.wait().unwrap();
    assert!(status.success() && started.elapsed() < Duration::from_secs(30), "{status}");
}

type Socket = tungstenite::WebSocket<std::net::TcpStream>;

impl Server {
    fn live(&self, origin: Option<&str>) -> Result<Socket, u16> {
        use tungstenite::client::IntoClientRequest;
        let host = self.base.strip_prefix("http://").unwrap();
        let mut request = format!("ws://{host}/v1/live").into_client_request().unwrap();
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().unwrap());
        }
        let stream = std::net::TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => Ok(socket),
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
                Err(response.status().as_u16())
            }
            Err(other) => panic!("{other}"),
        }
    }
}

fn send(socket: &mut Socket, frame: &[u8]) {
    socket.send(tungstenite::Message::binary(frame.to_vec())).unwrap();
}

fn receive(socket: &mut Socket) -> Value {
    serde_json::from_str(socket.read().unwrap().to_text().unwrap()).unwrap()
}

/// The reason that the server gives when it ends a connection.
fn farewell(socket: &mut Socket) -> String {
    loop {
        if let tungstenite::Message::Close(frame) = socket.read().unwrap() {
            return frame.unwrap().reason.to_string();
        }
    }
}

#[test]
fn a_live_connection_follows_faces_and_the_newest_frame_wins() {
    let server = Server::start(&["--workers", "1"]);
    let mut socket = server.live(None).unwrap();
    let photo = image::load_from_memory(&sample()).unwrap().into_rgb8();
    let frame = |shift: u32| {
        let part = image::imageops::crop_imm(&photo, 40 + shift, 0, 420, 400).to_image();
        encoded(part, ImageFormat::Jpeg)
    };
    for number in 1..=4_u32 {
        send(&mut socket, &frame(number * 8));
        let answer = receive(&mut socket);
        assert_eq!((&answer["frame"], &answer["dropped"]), (&json!(number), &json!(0)), "{answer}");
        let face = &answer["faces"][0];
        assert_eq!((&face["track_id"], &face["dominant_emotion"]), (&json!(1), &json!("happy")), "{answer}");
        assert!(face["raw_emotions"]["happy"].is_f64() && face["emotions"]["happy"].is_f64());
        assert_eq!(answer["image"], json!({"width": 420, "height": 400}));
    }
    send(&mut socket, b"no picture");
    let answer = receive(&mut socket);
    assert_eq!((&answer["frame"], &answer["error"]["code"]), (&json!(5), &json!("not_an_image")));
    send(&mut socket, &encoded(RgbImage::from_pixel(64, 64, image::Rgb([90; 3])), ImageFormat::WebP));
    assert_eq!(receive(&mut socket)["faces"], json!([]), "a frame without a face has an answer");
    // Many at once: the first is in work, the last is the newest.
    for _ in 0..30 {
        send(&mut socket, &frame(0));
    }
    let (mut last, mut answers) = (json!({}), 0);
    while last["frame"] != json!(36) {
        last = receive(&mut socket);
        answers += 1;
    }
    assert_eq!(last["dropped"].as_u64().unwrap(), 30 - answers, "{last}");
    assert!(answers < 25, "{answers} of 30 frames were answered");
}

#[test]
fn live_connections_are_limited_and_end_with_a_reason() {
    let mut server = Server::start(&[
        "--workers",
        "1",
        "--live-connections",
        "2",
        "--live-idle-seconds",
        "1",
        "--shutdown-seconds",
        "20",
    ]);
    let own = server.base.clone();
    let (mut first, second) = (server.live(None).unwrap(), server.live(Some(&own)).unwrap());
    assert_eq!(server.live(None).err(), Some(503));
    assert_eq!(server.live(Some("https://elsewhere.example")).err(), Some(403));
    drop(second);
    assert!(farewell(&mut first).contains("no frame came"));
    server.get("/v1/live").refused(400, "bad_request");
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut socket = loop {
        match server.live(None) {
            Ok(socket) => break socket,
            Err(status) => assert!(status == 503 && Instant::now() < deadline, "a place becomes free again"),
        }
    };
    #[cfg(unix)]
    {
        let id = server.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        assert!(farewell(&mut socket).contains("stopping"));
        assert!(server.child.wait().unwrap().success());
    }
    #[cfg(not(unix))]
    socket.close(None).unwrap();
}

#[test]
fn with_a_key_file_the_api_wants_a_key_and_the_page_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    std::fs::write(&file, "a-key-of-some-length\n").unwrap();
    let server = Server::start(&["--workers", "1", "--api-key-file", file.to_str().unwrap()]);
    let ask = |header: &str, value: &str| {
        let request = agent().post(server.url("/v1/analyze")).content_type("image/png").header(header, value);
        Answer::of(request.send(&sample()[..])).status
    };
    server.analyze(&sample()).refused(401, "no_key");
    assert_eq!(ask("authorization", "Bearer a-key-of-some-length"), 200);
    assert_eq!(ask("x-api-key", "a-key-of-some-length"), 200);
    assert_eq!((ask("x-api-key", "a-key-of-some-lengtH"), ask("authorization", "Bearer ")), (401, 401));
    server.get("/v1/model").refused(401, "no_key");
    server.post_to("/detect_emotions", "image/png", &sample()).refused(401, "no_key");
    for open in ["/", "/live.js", "/healthz", "/readyz", "/metrics"] {
        assert_eq!(server.get(open).status, 200, "{open}");
    }
    // A browser cannot send a header with a WebSocket: its first message is the key.
    let mut socket = server.live(None).unwrap();
    socket.send(tungstenite::Message::text(r#"{"api_key":"a-key-of-some-length"}"#)).unwrap();
    send(&mut socket, &sample());
    assert_eq!(receive(&mut socket)["faces"][0]["dominant_emotion"], "happy");
    for wrong in [tungstenite::Message::text("{}"), tungstenite::Message::binary(sample())] {
        let mut socket = server.live(None).unwrap();
        socket.send(wrong).unwrap();
        assert!(farewell(&mut socket).contains("API key"));
    }
    let refused = program().args(["--api-key-file", "/nowhere/keys"]).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--api-key-file"), "{refused:?}");
}

#[test]
fn requests_are_counted_limited_and_have_an_id() {
    let origin = "https://example.org";
    let server = Server::start(&["--workers", "1", "--rate-limit", "3", "--cors-origin", origin]);
    assert_eq!(server.analyze(&sample()).status, 200);
    let from = |origin: &str| {
        let request =
            agent().get(server.url("/v1/model")).header("origin", origin).header("x-request-id", "mine-7");
        Answer::of(request.call()).headers
    };
    let headers = from(origin);
    assert_eq!(
        ["access-control-allow-origin", "x-request-id"].map(|name| headers[name].to_str().unwrap()),
        [origin, "mine-7"]
    );
    assert!(!from("https://elsewhere.example").contains_key("access-control-allow-origin"));
    assert!(!server.get("/healthz").headers["x-request-id"].is_empty());
    let answers: Vec<Answer> = (0..12).map(|_| server.get("/v1/model")).collect();
    let refused = answers.iter().filter(|answer| answer.status == 429).collect::<Vec<_>>();
    assert!(refused.len() >= 6, "{}", refused.len());
    refused[0].refused(429, "too_many_requests");
    assert!(refused[0].headers.contains_key("retry-after"));
    server.get("/nowhere").refused(404, "not_found");

    let text = server.get("/metrics").text;
    let value = |line: &str| -> f64 {
        let found = text.lines().find_map(|one| one.strip_prefix(line));
        found.unwrap_or_else(|| panic!("no {line} in {text}")).trim().parse().unwrap()
    };
    assert_eq!(value("fer_http_requests_total{route=\"/v1/analyze\",status=\"200\"}"), 1.0);
    assert!(value("fer_http_requests_total{route=\"/v1/model\",status=\"429\"}") >= 6.0);
    assert_eq!(value("fer_http_requests_total{route=\"other\",status=\"404\"}"), 1.0);
    assert_eq!(value("fer_stage_seconds_count{stage=\"detect\"}"), 1.0);
    assert_eq!((value("fer_queue_waiting"), value("fer_worker_panics")), (0.0, 0.0));
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn https_with_a_certificate_of_its_own_or_of_the_operator() {
    let server = Server::start(&["--workers", "1", "--tls-self-signed"]);
    assert!(server.base.starts_with("https://"), "{}", server.base);
    assert_eq!(server.get("/readyz").json["status"], "ready");
    assert_eq!(server.analyze(&sample()).json["faces"].as_array().unwrap().len(), 1);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("none.pem");
    std::fs::write(&file, "nothing").unwrap();
    let path = file.to_str().unwrap();
    let refused = program().args(["--tls-cert", path, "--tls-key", path]).output().unwrap();
    let message = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && message.contains("--tls-cert"), "{message}");
}

/// Every answer of the tests' photo has the fields that the document requires, and every route stands in it.
#[test]
fn the_document_says_what_the_server_does() {
    let server = Server::start(&["--workers", "1"]);
    let document = server.get("/openapi.json").json;
    assert_eq!(document["openapi"], "3.1.0");
    assert!(server.get("/docs").text.contains("/docs.js"));
    let paths = document["paths"].as_object().unwrap();
    for (path, methods) in paths {
        let method = methods.as_object().unwrap().keys().next().unwrap();
        let other = if method == "get" { server.post_to(path, "image/png", b"x") } else { server.get(path) };
        other.refused(405, "method_not_allowed");
    }
    let routes = include_str!("../src/api/mod.rs").split("only(\"").skip(1);
    let routes: Vec<&str> = routes.map(|rest| rest.split('"').next().unwrap()).collect();
    let missing: Vec<_> = routes.iter().filter(|route| !paths.contains_key(**route)).collect();
    assert!(routes.len() >= 10 && missing.is_empty(), "{missing:?}");

    let holds = |path: &str, method: &str, answer: &Value| {
        let schema = &paths[path][method]["responses"]["200"]["content"]["application/json"]["schema"];
        conforms(&document, schema, answer, path);
    };
    let group = encoded(group(), ImageFormat::Png);
    holds("/v1/analyze", "post", &server.analyze(&group).json);
    holds(
        "/v1/batch",
        "post",
        &server.post_to("/v1/batch", FORM, &fields(&[("image", &group), ("image", b"x")])).json,
    );
    holds("/analyze", "post", &server.post_to("/analyze", FORM, &fields(&[("img", &group)])).json);
    holds("/detect_emotions", "post", &server.post_to("/detect_emotions", "image/png", &group).json);
    assert_eq!(server.get("/v1/model").json["group_report"], Value::Null, "off by default");
    for path in ["/v1/model", "/healthz", "/readyz"] {
        holds(path, "get", &server.get(path).json);
    }
    let mut socket = server.live(None).unwrap();
    let frame = json!({"$ref": "#/components/schemas/LiveFrame"});
    for bytes in [&group[..], b"x"] {
        send(&mut socket, bytes);
        conforms(&document, &frame, &receive(&mut socket), "/v1/live");
    }
}

/// Types, required fields and no field that the schema does not know.
#[track_caller]
fn conforms(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(path) = schema["$ref"].as_str() {
        return conforms(document, document.pointer(&path[1..]).unwrap(), value, place);
    }
    if let Some(options) = schema["oneOf"].as_array() {
        let fits =
            |option: &Value| std::panic::catch_unwind(|| conforms(document, option, value, place)).is_ok();
        assert_eq!(options.iter().filter(|option| fits(option)).count(), 1, "{place}: {value}");
        return;
    }
    if let Some(parts) = schema["allOf"].as_array() {
        let mut whole = json!({"type": "object", "required": [], "properties": {}});
        for part in parts {
            let part = part["$ref"].as_str().map_or(part, |path| document.pointer(&path[1..]).unwrap());
            whole["required"].as_array_mut().unwrap().extend(part["required"].as_array().unwrap().clone());
            whole["properties"]
                .as_object_mut()
                .unwrap()
                .extend(part["properties"].as_object().unwrap().clone());
        }
        return conforms(document, &whole, value, place);
    }
    let kinds = schema["type"].as_array().cloned().unwrap_or_else(|| vec![schema["type"].clone()]);
    let is = |kind: &Value| match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("{place}: type {other}"),
    };
    assert!(kinds.iter().any(is), "{place}: {value} is none of {kinds:?}");
    if let Some(values) = schema["enum"].as_array() {
        assert!(values.contains(value), "{place}: {value}");
    }
    if let (Some(properties), Some(object)) = (schema["properties"].as_object(), value.as_object()) {
        for name in schema["required"].as_array().unwrap() {
            assert!(object.contains_key(name.as_str().unwrap()), "{place}: no {name} in {value}");
        }
        for (name, field) in object {
            let known =
                properties.get(name).unwrap_or_else(|| panic!("{place}: {name} is not in the document"));
            conforms(document, known, field, &format!("{place}.{name}"));
        }
    }
    if let (Some(items), Some(array)) = (schema.get("items"), value.as_array()) {
        array.iter().for_each(|item| conforms(document, items, item, place));
    }
}
