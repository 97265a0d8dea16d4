//! The served OpenAPI document, and answers held against its schemas.

use image::{ImageFormat, RgbImage};
use jsonschema::Validator;
use serde_json::{Map, Value, json};

use crate::harness::*;

/// The document of a server. No object may have a field that its schema does not name.
pub(crate) struct Document(Value);

impl Document {
    pub(crate) fn of(server: &Server) -> Self {
        let mut document = server.get("/openapi.json").json;
        assert_eq!(document["openapi"], "3.1.0");
        close(&mut document["paths"]);
        for (_, schema) in document["components"]["schemas"].as_object_mut().unwrap() {
            // A component may be one part of an `allOf`, so that it is closed where it is used and not here.
            close_parts(schema.as_object_mut().unwrap());
        }
        Self(document)
    }

    /// Path, method and description of every operation.
    fn operations(&self) -> impl Iterator<Item = (&str, &str, &Value)> {
        let paths = self.0["paths"].as_object().unwrap().iter();
        paths.flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().iter();
            methods.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
        })
    }

    /// Asserts that an operation may give this answer, by its status and by its JSON.
    #[track_caller]
    pub(crate) fn allows(&self, method: &str, path: &str, answer: &Answer) {
        let place = format!("{method} {path}: {}", answer.status);
        let response = &self.0["paths"][path][method]["responses"][answer.status.to_string()];
        assert!(response.is_object(), "{place} is not in the document: {}", answer.text);
        let schema = &response["content"]["application/json"]["schema"];
        assert!(schema.is_object(), "{place} has no schema");
        self.conforms(schema, &answer.json, &place);
    }

    /// Asserts that a value conforms to a component of that name.
    #[track_caller]
    pub(crate) fn holds(&self, name: &str, value: &Value) {
        let schema =
            json!({ "$ref": format!("#/components/schemas/{name}"), "unevaluatedProperties": false });
        self.conforms(&schema, value, name);
    }

    #[track_caller]
    fn conforms(&self, schema: &Value, value: &Value, place: &str) {
        let errors: Vec<String> = self
            .validator(schema)
            .iter_errors(value)
            .map(|error| format!("{error} at '{}'", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{place}: {errors:#?} in {value}");
    }

    fn validator(&self, schema: &Value) -> Validator {
        let mut whole = schema.as_object().unwrap().clone();
        whole.insert("components".to_owned(), self.0["components"].clone());
        jsonschema::draft202012::new(&Value::Object(whole)).unwrap()
    }
}

/// Forbids fields that are not named, in a value's schemas.
fn close(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(close),
        Value::Object(object) => {
            close_parts(object);
            let names_fields = object.get("properties").is_some_and(Value::is_object);
            let refers = object.get("$ref").is_some_and(Value::is_string);
            if names_fields || refers || object.get("allOf").is_some_and(Value::is_array) {
                object.insert("unevaluatedProperties".to_owned(), json!(false));
            }
        }
        _ => {}
    }
}

/// Forbids fields that are not named, in every schema below an object. The parts of an `allOf` stay open, because each of them
/// names only some of the fields.
fn close_parts(object: &mut Map<String, Value>) {
    for (key, part) in object {
        match part {
            Value::Array(parts) if key == "allOf" => {
                parts.iter_mut().filter_map(Value::as_object_mut).for_each(close_parts);
            }
            _ => close(part),
        }
    }
}

#[test]
fn every_route_is_in_the_document_and_answers_other_methods_with_an_error() {
    let server = Server::start(&["--workers", "1"]);
    let document = Document::of(&server);
    let mut documented = Vec::new();
    for (path, method, operation) in document.operations() {
        let plain = path.replace(['{', '}'], "");
        let other =
            if method == "get" { server.post_to(&plain, "image/png", b"x") } else { server.get(&plain) };
        other.refused(405, "method_not_allowed");
        for text in ["operationId", "summary"] {
            assert!(operation[text].as_str().is_some_and(|text| !text.is_empty()), "{path} has no {text}");
        }
        documented.push(path);
    }
    let routes = include_str!("../../src/routes/mod.rs").lines().filter(|line| line.contains(".service("));
    let routes: Vec<&str> =
        routes.filter_map(|line| line.split('"').nth(1)).filter(|path| !path.is_empty()).collect();
    let missing: Vec<_> = routes.iter().filter(|route| !documented.contains(*route)).collect();
    assert!(routes.len() >= 12 && missing.is_empty(), "{missing:?} of {routes:?}");
}

/// A schema that allows everything would pass the other tests.
#[test]
fn the_schemas_refuse_what_the_server_does_not_say() {
    let server = Server::start(&["--workers", "1"]);
    let document = Document::of(&server);
    let answer = server.analyze(&sample()).json;
    document.holds("Analysis", &answer);
    let refuses = |change: &dyn Fn(&mut Value)| {
        let mut changed = answer.clone();
        change(&mut changed);
        let schema = json!({ "$ref": "#/components/schemas/Analysis", "unevaluatedProperties": false });
        assert!(!document.validator(&schema).is_valid(&changed), "{changed}");
    };
    refuses(&|json| json["more"] = json!(1));
    refuses(&|json| json["faces"][0]["more"] = json!(1));
    refuses(&|json| json["faces"][0]["box"]["more"] = json!(1));
    refuses(&|json| json["faces"][0]["emotions"]["happy"] = json!(1.5));
    refuses(&|json| json["faces"][0]["emotions"]["more"] = json!(0.5));
    refuses(&|json| json["faces"][0]["dominant_emotion"] = json!("bored"));
    refuses(&|json| json["faces"][0]["landmarks"]["nose"] = json!([1.0]));
    refuses(&|json| drop(json["faces"][0].as_object_mut().unwrap().remove("uncertain")));
    refuses(&|json| drop(json.as_object_mut().unwrap().remove("mood")));
    refuses(&|json| json["image"]["width"] = json!(-1));
}

#[test]
fn answers_conform_to_their_schemas() {
    let server = Server::start(&["--workers", "1", "--group-report"]);
    let document = Document::of(&server);
    let group = encoded(group(), ImageFormat::Png);
    let grey = encoded(RgbImage::from_pixel(64, 48, image::Rgb([90; 3])), ImageFormat::Png);
    for photo in [&group, &grey] {
        document.allows("post", "/v1/analyze", &server.analyze(photo));
        let records = server.post_to("/v1/analyze?format=records", "image/png", photo);
        document.allows("post", "/v1/analyze", &records);
        document.allows("post", "/detect_emotions", &server.post_to("/detect_emotions", "image/png", photo));
    }
    let parts = fields(&[("image", &group), ("image", b"x"), ("image", &grey)]);
    document.allows("post", "/v1/batch", &server.post_to("/v1/batch", FORM, &parts));
    document.allows("post", "/v1/batch", &server.post_to("/v1/batch?format=records", FORM, &parts));
    document.allows("post", "/analyze", &server.post_to("/analyze", FORM, &fields(&[("img", &group)])));
    let whole = fields(&[("img", &grey), ("enforce_detection", b"false")]);
    let whole = server.post_to("/analyze", FORM, &whole);
    assert_eq!(whole.json["results"][0]["region"]["left_eye"], Value::Null, "{}", whole.text);
    document.allows("post", "/analyze", &whole);
    for path in ["/v1/model", "/v1/music", "/healthz", "/readyz"] {
        document.allows("get", path, &server.get(path));
    }
    let plain = Server::start(&["--workers", "1"]).get("/v1/model");
    assert_eq!(plain.json["group_report"], Value::Null, "off by default");
    document.allows("get", "/v1/model", &plain);
    for query in ["", "?format=records"] {
        let mut socket = server.live_with(query, None).unwrap();
        for bytes in [&group[..], &grey, b"x"] {
            send(&mut socket, bytes);
            let answer = receive(&mut socket);
            assert_eq!(answer["records"].is_array(), !query.is_empty(), "{answer}");
            document.holds("LiveFrame", &answer);
        }
    }
}

#[test]
fn refusals_conform_to_their_schemas() {
    let server = Server::start(&[
        "--workers",
        "1",
        "--max-body",
        "600000",
        "--max-pixels",
        "1000000",
        "--live-connections",
        "1",
    ]);
    let document = Document::of(&server);
    let png = encoded(group(), ImageFormat::Png);
    let large = encoded(RgbImage::new(1200, 900), ImageFormat::Png);
    let bodies: [(&[u8], u16); 5] =
        [(b"", 400), (&vec![1; 600_001], 413), (&large, 413), (b"hello", 415), (&png[..png.len() / 2], 422)];
    for (body, status) in bodies {
        for path in ["/v1/analyze", "/v1/annotate", "/detect_emotions"] {
            let answer = server.post_to(path, "image/png", body);
            assert_eq!(answer.status, status, "{path}: {}", answer.text);
            document.allows("post", path, &answer);
        }
        let answer = server.post_to("/analyze", FORM, &fields(&[("img", body)]));
        assert_eq!(answer.status, status, "{}", answer.text);
        document.allows("post", "/analyze", &answer);
    }
    for path in ["/v1/analyze?format=csv", "/v1/batch?format=csv"] {
        let answer = server.post_to(path, FORM, &form("image", &png));
        answer.refused(400, "bad_request");
        document.allows("post", path.split('?').next().unwrap(), &answer);
    }
    document.allows("post", "/v1/batch", &server.post_to("/v1/batch", "image/png", &png));
    document.allows("get", "/v1/live", &server.get("/v1/live"));
    document.allows("get", "/v1/music/{emotion}/{file}", &server.get("/v1/music/happy/a.mp3"));
    let foreign = agent().get(server.url("/v1/live")).header("origin", "https://elsewhere.example");
    document.allows("get", "/v1/live", &Answer::of(foreign.call()));
    let place = server.live(None).unwrap();
    document.allows("get", "/v1/live", &server.get("/v1/live"));
    drop(place);

    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "a-key-of-some-length\n").unwrap();
    let guarded =
        Server::start(&["--workers", "1", "--api-key-file", keys.to_str().unwrap(), "--rate-limit", "1"]);
    let answers: Vec<Answer> = (0..8).map(|_| guarded.get("/v1/model")).collect();
    for answer in &answers {
        document.allows("get", "/v1/model", answer);
    }
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert!(statuses.contains(&401) && statuses.contains(&429), "{statuses:?}");
}

#[test]
fn the_viewer_is_embedded_and_loosens_no_other_page() {
    let server = Server::start(&["--workers", "1"]);
    let policy = |path: &str| -> String {
        let answer = server.get(path);
        assert_eq!(answer.status, 200, "{path}");
        answer.headers["content-security-policy"].to_str().unwrap().to_owned()
    };
    let docs = server.get("/docs");
    assert!(docs.text.contains("/docs.js") && !docs.text.contains("://"), "{}", docs.text);
    assert!(policy("/docs").contains("script-src 'self';"), "{}", policy("/docs"));
    for path in ["/", "/app.js", "/docs.js", "/openapi.json", "/v1/model"] {
        assert!(!policy(path).contains("unsafe"), "{path}: {}", policy(path));
    }
    let parts = docs.text.split("src=\"").chain(docs.text.split("href=\"")).skip(1);
    let parts = parts
        .filter_map(|rest| rest.split_once('"'))
        .map(|(path, _)| path)
        .filter(|path| path.starts_with('/'));
    for path in parts {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    assert_eq!(
        server.get("/docs/swagger-ui-bundle.js").headers["content-type"],
        "text/javascript; charset=utf-8"
    );
}
