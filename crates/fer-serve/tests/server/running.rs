//! Start, access control, and what operators see.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::*;

/// Runs a command that must exit with code 1 and one line on standard error. Returns the line.
fn refusal(command: &mut Command) -> String {
    let Output { status, stderr, .. } = command.args(["--bind", "127.0.0.1:0"]).output().unwrap();
    let message = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{message}");
    assert_eq!(message.trim_end().lines().count(), 1, "{message}");
    let (mut said, mut parts) = (std::collections::HashSet::new(), message.trim_end().split(": "));
    assert!(parts.all(|part| said.insert(part)), "said twice: {message}");
    message
}

#[test]
fn what_it_cannot_start_with_is_named_in_one_line() {
    assert!(refusal(program().args(["--detector", "nowhere"])).contains("pnet.onnx"));
    let with_library = |file: &str| refusal(program().args(["--engine", "auto", "--onnxruntime", file]));
    assert!(with_library("nowhere.so").contains("nowhere.so"));
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
    // However the path is spelled.
    for path in ["/%761/model", "/v%31/model", "/v1//model", "/v1/model/", "/v1/music", "/nowhere"] {
        server.get(path).refused(401, "no_key");
    }
    for open in ["/", "/live.js", "/healthz", "/readyz", "/metrics"] {
        assert_eq!(server.get(open).status, 200, "{open}");
    }
    // A browser cannot add a header to a WebSocket, so its first message is the key.
    let mut socket = server.live(None).unwrap();
    socket.send(tungstenite::Message::text(r#"{"api_key":"a-key-of-some-length"}"#)).unwrap();
    send(&mut socket, &sample());
    assert_eq!(receive(&mut socket)["faces"][0]["dominant_emotion"], "happy");
    for wrong in [tungstenite::Message::text("{}"), tungstenite::Message::binary(sample())] {
        let mut socket = server.live(None).unwrap();
        socket.send(wrong).unwrap();
        assert!(farewell(&mut socket).contains("API key"));
    }
    let started = Instant::now();
    assert!(
        farewell(&mut server.live(None).unwrap()).contains("API key"),
        "the server does not wait for a silent client"
    );
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
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
    server.get("/nowhere").refused(404, "not_found");
    let answers: Vec<Answer> = (0..12).map(|_| server.get("/v1/model")).collect();
    let refused = answers.iter().filter(|answer| answer.status == 429).collect::<Vec<_>>();
    assert!(refused.len() >= 6, "{}", refused.len());
    refused[0].refused(429, "too_many_requests");
    assert!(refused[0].headers.contains_key("retry-after"));
    let value = |name: &str| server.metric(name);
    assert_eq!(value("fer_http_requests_total{route=\"/v1/analyze\",status=\"200\"}"), 1.0);
    assert!(value("fer_http_requests_total{route=\"/v1/model\",status=\"429\"}") >= 6.0);
    assert_eq!(value("fer_http_requests_total{route=\"other\",status=\"404\"}"), 1.0);
    assert_eq!(value("fer_stage_seconds_count{stage=\"detect\"}"), 1.0);
    assert_eq!((value("fer_queue_waiting"), value("fer_worker_panics")), (0.0, 0.0));
    assert!(server.get("/metrics").text.ends_with("# EOF\n"));
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

/// Such a server used to speak plain HTTP on the address where its operator expected HTTPS.
#[test]
fn a_configuration_file_with_half_of_tls_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("serve.json");
    for (half, missing) in [("tls_cert", "--tls-key"), ("tls_key", "--tls-cert")] {
        std::fs::write(&file, json!({ half: "some.pem" }).to_string()).unwrap();
        let message = refusal(program().arg("--config").arg(&file));
        assert!(message.contains(&format!("{missing} is not")), "{message}");
    }
}

/// The server used to load this library, whoever had put it there.
#[test]
fn no_library_is_loaded_from_the_working_directory() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = folder.path().join("assets/runtime");
    std::fs::create_dir_all(&runtime).unwrap();
    for name in ["libonnxruntime.so", "libonnxruntime.dylib", "onnxruntime.dll"] {
        std::fs::write(runtime.join(name), "not a library").unwrap();
    }
    let mut command = program();
    command.args(["--bind", "127.0.0.1:0", "--workers", "1", "--engine", "auto"]).current_dir(folder.path());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.contains("http://") && !line.contains(folder.path().to_str().unwrap()), "{line:?}");
}

#[test]
fn head_is_answered_wherever_get_is() {
    let server = Server::start(&["--workers", "1"]);
    for path in ["/", "/app.js", "/docs", "/healthz", "/readyz", "/metrics", "/v1/model", "/v1/music"] {
        let head = Answer::of(agent().head(server.url(path)).call());
        assert_eq!((head.status, head.text.as_str()), (200, ""), "{path}");
        let get = server.get(path);
        assert_eq!(head.headers["content-type"], get.headers["content-type"], "{path}");
        if path != "/metrics" {
            assert_eq!(head.headers["content-length"], get.text.len().to_string().as_str(), "{path}");
        }
    }
    let refused = server.post_to("/v1/model", "text/plain", b"x");
    refused.refused(405, "method_not_allowed");
    assert_eq!(refused.headers["allow"], "GET, HEAD");
    assert_eq!(Answer::of(agent().head(server.url("/v1/analyze")).call()).status, 405);
    // Without the handshake's headers there is no connection to open, for either method.
    assert_eq!(Answer::of(agent().head(server.url("/v1/live")).call()).status, 400);
}

/// Behind a proxy that is trusted, each client has its own rate, and no client can choose the address that it is counted for.
#[test]
fn a_client_behind_a_proxy_cannot_choose_its_address() {
    let arguments = ["--workers", "1", "--rate-limit", "1", "--trusted-proxy", "::ffff:127.0.0.1"];
    let server = Server::start(&arguments);
    let limited = |address: &dyn Fn(usize) -> String| {
        let ask = |number| {
            let request = agent().get(server.url("/v1/model")).header("x-forwarded-for", address(number));
            Answer::of(request.call()).status == 429
        };
        (0..8).filter(|&number| ask(number)).count()
    };
    assert_eq!(limited(&|number| format!("192.0.2.{number}")), 0, "eight clients");
    assert!(limited(&|number| format!("203.0.113.{number}, 198.51.100.1:{number}")) >= 4);
    assert!(limited(&|number| format!("203.0.113.{number}, rubbish")) >= 4);
    assert!(limited(&|number| format!("2001:db8::{number}")) >= 4, "one network");
}

/// The time of decoding used to be zero except on `/v1/analyze`.
#[test]
fn decoding_is_timed_on_every_route() {
    let server = Server::start(&["--workers", "1"]);
    let decoding = || server.metric("fer_stage_seconds_sum{stage=\"decode\"}");
    for (path, field) in [
        ("/v1/analyze", "image"),
        ("/v1/annotate", "image"),
        ("/analyze", "img"),
        ("/detect_emotions", "image"),
    ] {
        let before = decoding();
        // One of the answers is a picture.
        let sent = agent().post(server.url(path)).content_type(FORM).send(&form(field, &sample())[..]);
        assert_eq!(sent.unwrap().status().as_u16(), 200, "{path}");
        assert!(decoding() > before, "{path}");
    }
}
