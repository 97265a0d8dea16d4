//! Answers of the API.

use std::collections::BTreeSet;
use std::io::{Read, Write};

use image::{ImageFormat, RgbImage};
use serde_json::{Value, json};

use crate::document::Document;
use crate::harness::*;

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
    for (side, golden) in [("x", 176.26), ("y", 56.49), ("width", 98.57), ("height", 126.41)] {
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
    assert_eq!(json["model"], json!({"name": "cnn6-ferplus", "engine": "tract"}));
    let empty = std::fs::read_dir(server.folder.path()).unwrap().next().is_none();
    assert!(empty, "the server wrote a file");
}

/// Compares whole answers of every kind with the ones that were last reviewed.
#[test]
fn answers_are_what_they_were() {
    let server = Server::start(&["--workers", "1", "--group-report"]);
    let group = encoded(group(), ImageFormat::Png);
    snapshot("analyze", &server.post("image/png", &sample()).json);
    let two = fields(&[("image", &group), ("image", b"x")]);
    snapshot("batch", &server.post_to("/v1/batch", FORM, &two).json);
    snapshot("deepface", &server.post_to("/analyze", FORM, &fields(&[("img", &group)])).json);
    snapshot("deepface-refusal", &server.post_to("/analyze", FORM, &fields(&[("img", b"x")])).json);
    snapshot("fer", &server.post_to("/detect_emotions", "image/png", &group).json);
    snapshot("refusal", &server.get("/nowhere").json);
    snapshot("healthz", &server.get("/healthz").json);
    snapshot("readyz", &server.get("/readyz").json);
    let mut model = server.get("/v1/model").json;
    // The model's own file, which other tests check.
    model["bundle"].take();
    snapshot("model", &model);
    let mut socket = server.live(None).unwrap();
    send(&mut socket, &group);
    snapshot("live", &receive(&mut socket));
    send(&mut socket, b"x");
    snapshot("live-refusal", &receive(&mut socket));
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
    assert_eq!(faces(&server.post(FORM, &form)), 1);
    let grey = RgbImage::from_pixel(320, 240, image::Rgb([90; 3]));
    let nobody = server.analyze(&encoded(grey, ImageFormat::Jpeg));
    assert_eq!((faces(&nobody), &nobody.json["mood"]), (0, &Value::Null));
    // A picture that lies on its side and has the EXIF orientation for it.
    let jpeg = encoded(image::imageops::rotate270(&group()), ImageFormat::Jpeg);
    let exif = b"\xff\xe1\0\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let turned = server.analyze(&[&jpeg[..2], exif, &jpeg[2..]].concat());
    assert_eq!((faces(&turned), &turned.json["image"]), (3, &json!({"width": 640, "height": 300})));
}

/// Reaches every code that the document lists. A unit test compares that list with the enum.
#[test]
#[expect(clippy::too_many_lines, reason = "it counts that one list of requests reaches every code")]
fn every_refusal_has_its_code() {
    let server = Server::start(
        &"--workers 1 --queue 1 --max-body 600000 --max-pixels 1000000 --body-seconds 2 --live-connections 1"
            .split(' ')
            .collect::<Vec<_>>(),
    );
    let document = Document::of(&server);
    let mut reached = BTreeSet::new();
    let mut refused = |answer: Answer, status: u16, code: &str| {
        answer.refused(status, code);
        document.holds("Error", &answer.json);
        reached.insert(code.to_owned());
    };
    let png = encoded(group(), ImageFormat::Png);
    refused(server.analyze(b""), 400, "empty_body");
    refused(server.post(FORM, &form("image", b"")), 400, "empty_body");
    refused(server.post(FORM, &form("picture", b"x")), 400, "missing_field");
    refused(server.post("multipart/form-data", b"x"), 400, "bad_request");
    refused(server.post(FORM, b"no form at all"), 400, "bad_request");
    refused(server.get("/nowhere"), 404, "not_found");
    refused(server.get("/v1/analyze"), 405, "method_not_allowed");
    assert_eq!(server.get("/v1/analyze").headers["allow"], "POST");
    refused(server.post_to("/v1/model", "text/plain", b"x"), 405, "method_not_allowed");
    refused(server.analyze(&vec![1; 600_001]), 413, "body_too_large");
    refused(server.post(FORM, &form("image", &vec![1; 600_001])), 413, "body_too_large");
    let chunked = ureq::SendBody::from_owned_reader(std::io::repeat(7).take(700_000));
    let chunked = Answer::of(agent().post(server.url("/v1/analyze")).send(chunked));
    refused(chunked, 413, "body_too_large");
    refused(server.analyze(&encoded(RgbImage::new(1200, 900), ImageFormat::Png)), 413, "too_many_pixels");
    refused(server.post("image/png", b"hello"), 415, "not_an_image");
    refused(server.post("image/jpeg", b"GIF89a, in truth"), 415, "not_an_image");
    refused(server.post("image/png", &png[..png.len() / 2]), 422, "corrupt_image");
    refused(server.post("image/jpeg", b"\xff\xd8\xff\xe0 and then nothing"), 422, "corrupt_image");
    let grey = encoded(RgbImage::from_pixel(64, 48, image::Rgb([90; 3])), ImageFormat::Png);
    refused(server.post_to("/analyze", FORM, &fields(&[("img", &grey)])), 400, "no_face");
    let mut stalls = server.connect();
    stalls.write_all(head(1000).as_bytes()).unwrap();
    let mut answer = String::new();
    stalls.read_to_string(&mut answer).unwrap();
    refused(Answer::of_text(&answer), 408, "too_slow");
    let foreign = agent().get(server.url("/v1/live")).header("origin", "https://elsewhere.example");
    refused(Answer::of(foreign.call()), 403, "forbidden_origin");
    let place = server.live(None).unwrap();
    refused(server.get("/v1/live"), 503, "too_many_connections");
    drop(place);
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..12).map(|_| scope.spawn(|| server.analyze(&png))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    refused(answers.into_iter().find(|answer| answer.status != 200).unwrap(), 503, "busy");
    // Still there, and no worker lost.
    assert_eq!(server.analyze(&png).status, 200);
    let health = server.get("/healthz");
    assert_eq!(
        (health.status, &health.json["status"], &health.json["worker_panics"]),
        (200, &json!("ok"), &json!(0))
    );

    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "a-key-of-some-length\n").unwrap();
    let guarded = Server::start(&["--api-key-file", keys.to_str().unwrap(), "--rate-limit", "1"]);
    refused(guarded.get("/v1/model"), 401, "no_key");
    let model = || {
        Answer::of(agent().get(guarded.url("/v1/model")).header("x-api-key", "a-key-of-some-length").call())
    };
    let too_many = (0..8).map(|_| model()).find(|answer| answer.status != 200).unwrap();
    refused(too_many, 429, "too_many_requests");

    // A detector whose second network cannot run on what it is given.
    for (network, file) in [("pnet", "pnet.onnx"), ("rnet", "onet.onnx"), ("onet", "onet.onnx")] {
        let from = workspace("assets/models/mtcnn").join(file);
        std::fs::copy(from, folder.path().join(format!("{network}.onnx"))).unwrap();
    }
    let broken = Server::start(&["--detector", folder.path().to_str().unwrap()]);
    refused(broken.analyze(&sample()), 500, "internal");

    let document = server.get("/openapi.json").json;
    let listed = document["components"]["schemas"]["ErrorCode"]["enum"].as_array().unwrap();
    let listed: BTreeSet<String> = listed.iter().map(|code| code.as_str().unwrap().to_owned()).collect();
    assert_eq!(reached, listed);
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
    assert_eq!((&model["name"], &model["engine"]), (&json!("cnn6-ferplus"), &json!("tract")));
    assert_eq!(model["labels"], model["bundle"]["heads"][0]["label_set"]);
    assert_eq!(model["bundle"]["network"]["labels"].as_array().unwrap().len(), 7);
    assert!(model["bundle"]["network"]["layers"].as_array().unwrap().len() > 20);
}

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

/// One row for each face, and one for a photo without a face or that could not be read.
#[test]
fn records_are_the_analysis_as_flat_rows() {
    let server = Server::start(&["--workers", "1"]);
    let group = encoded(group(), ImageFormat::Png);
    let grey = encoded(RgbImage::from_pixel(64, 48, image::Rgb([90; 3])), ImageFormat::Png);
    let analysis = server.analyze(&group).json;
    let rows = server.post_to("/v1/analyze?format=records", "image/png", &group).json;
    let rows = rows.as_array().unwrap();
    let faces = analysis["faces"].as_array().unwrap();
    assert_eq!((rows.len(), faces.len()), (3, 3));
    for (index, (row, face)) in rows.iter().zip(faces).enumerate() {
        assert_eq!([&row["face"], &row["status"]], [&json!(index), &json!("ok")]);
        assert_eq!([&row["image_width"], &row["image_height"]], [640, 300]);
        for column in ["x", "y", "width", "height"] {
            assert_eq!(row[column], face["box"][column], "{column}");
        }
        for (emotion, probability) in face["emotions"].as_object().unwrap() {
            assert_eq!(&row[emotion], probability, "{emotion}");
        }
        assert_eq!(row["nose_y"], face["landmarks"]["nose"][1]);
        assert_eq!([&row["dominant"], &row["uncertain"]], [&face["dominant_emotion"], &face["uncertain"]]);
        assert!(row["frame"].is_null() && row["track_id"].is_null() && row["message"].is_null(), "{row}");
    }
    let parts = fields(&[("image", &group), ("image", b"no image"), ("image", &grey)]);
    let rows = server.post_to("/v1/batch?format=records", FORM, &parts).json;
    let statuses: Vec<&str> =
        rows.as_array().unwrap().iter().map(|row| row["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["ok", "ok", "ok", "error", "no_face"]);
    assert!(rows.as_array().unwrap().iter().all(|row| row["source"] == "a"), "the files' names: {rows}");
    assert!(rows[3]["message"].as_str().unwrap().len() > 10 && rows[3]["image_width"].is_null(), "{rows}");
    assert!(
        rows[4]["face"].is_null() && rows[4]["happy"].is_null() && rows[4]["image_width"] == 64,
        "{rows}"
    );
    assert!(
        rows.as_array().unwrap().iter().all(|row| keys(row) == keys(&rows[0])),
        "every row has every column"
    );
}

/// The records of live frames have the number, the time and the track of each face, and the smoothed emotions.
#[test]
fn live_answers_have_records_if_they_are_asked_for() {
    let server = Server::start(&["--workers", "1"]);
    let mut socket = server.live_with("?format=records", None).unwrap();
    let group = encoded(group(), ImageFormat::Png);
    for frame in 1..=2 {
        send(&mut socket, &group);
        let answer = receive(&mut socket);
        let rows = answer["records"].as_array().unwrap();
        assert_eq!(rows.len(), 3, "{answer}");
        for (row, face) in rows.iter().zip(answer["faces"].as_array().unwrap()) {
            assert_eq!([&row["frame"], &row["timestamp_ms"]], [&json!(frame), &answer["timestamp_ms"]]);
            assert_eq!([&row["track_id"], &row["happy"]], [&face["track_id"], &face["emotions"]["happy"]]);
        }
    }
    send(&mut socket, b"x");
    let answer = receive(&mut socket);
    let row = &answer["records"][0];
    assert_eq!([&row["frame"], &row["status"]], [&json!(3), &json!("error")]);
    assert_eq!(row["message"], answer["error"]["message"]);
    assert_eq!(server.live_with("?format=csv", None).err(), Some(400));
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
fn deepface_clients_work_with_another_url() {
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

#[test]
fn the_operators_music_is_given_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let happy = folder.path().join("happy");
    std::fs::create_dir(&happy).unwrap();
    std::fs::write(happy.join("a song.wav"), tone()).unwrap();
    std::fs::write(folder.path().join("secret.wav"), "x").unwrap();
    let server = Server::start(&["--music", folder.path().to_str().unwrap()]);
    assert_eq!(server.get("/v1/music").json, json!({"happy": ["a song.wav"]}));
    let mut song = agent().get(server.url("/v1/music/happy/a%20song.wav")).call().unwrap();
    assert!(song.headers()["content-type"].to_str().unwrap().starts_with("audio/"));
    assert_eq!(song.body_mut().read_to_vec().unwrap(), tone());
    for other in ["happy/..%2Fsecret.wav", "sad/a%20song.wav", "happy/b.wav", "%2e%2e/secret.wav"] {
        server.get(&format!("/v1/music/{other}")).refused(404, "not_found");
    }
    assert_eq!(Server::start(&[]).get("/v1/music").json, json!({}));
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
