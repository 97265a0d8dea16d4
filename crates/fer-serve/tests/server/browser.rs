//! The page in a real headless Chromium, whose camera is a video made of the sample photo. The tests are skipped if there is no
//! `chromedriver` (Debian: `apt install chromium chromium-driver`).
//!
//! The tests wait for states of the page and never for fixed times, so that they pass on a busy machine too.

use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use actix_web::rt::time::sleep;
use fantoccini::actions::{InputSource, KeyAction, KeyActions};
use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use image::{ImageFormat, RgbImage};
use serde_json::{Value, json};

use crate::harness::*;

/// How long a test waits for a state of the page. Only a test that fails waits for so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// WebDriver's codes of two keys.
const TAB: char = '\u{e004}';
const ENTER: char = '\u{e007}';

#[derive(Clone, Copy, PartialEq, Eq)]
enum Camera {
    Allowed,
    Refused,
}

/// A chromedriver process with its browser. The whole process group is killed when it is dropped.
struct Browser {
    driver: Child,
    driver_url: String,
    client: Client,
    /// Holds the browser's downloads and the video of its camera.
    folder: tempfile::TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        drop(Command::new("kill").args(["-KILL", "--", &format!("-{}", self.driver.id())]).status());
        drop(self.driver.wait());
    }
}

impl Browser {
    /// `None` if there is no chromedriver on this machine.
    async fn open(camera: Camera) -> Option<Self> {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdout(Stdio::piped()).process_group(0);
        let mut driver = match command.spawn() {
            Ok(driver) => driver,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => panic!("chromedriver does not start: {error}"),
        };
        let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port: u16 = lines
            .map_while(Result::ok)
            .find_map(|line| line.split_once("successfully on port ")?.1.trim_end_matches('.').parse().ok())
            .unwrap();
        let driver_url = format!("http://127.0.0.1:{port}");
        let folder = tempfile::tempdir().unwrap();
        let video = folder.path().join("camera.mjpeg");
        std::fs::write(&video, film()).unwrap();
        let mut arguments = vec![
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-gpu".to_owned(),
            "--mute-audio".to_owned(),
            "--window-size=1280,900".to_owned(),
            "--use-fake-device-for-media-stream".to_owned(),
            format!("--use-file-for-fake-video-capture={}", video.display()),
        ];
        if camera == Camera::Allowed {
            arguments.push("--use-fake-ui-for-media-stream".to_owned());
        }
        let capabilities = json!({
            "goog:chromeOptions": {
                "args": arguments,
                "prefs": {
                    "download.default_directory": folder.path(),
                    // 2: never.
                    "profile.default_content_setting_values.media_stream_camera":
                        if camera == Camera::Refused { 2 } else { 1 },
                },
            },
            "goog:loggingPrefs": {"browser": "ALL"},
        });
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities.as_object().unwrap().clone())
            .connect(&driver_url)
            .await
            .unwrap_or_else(|error| panic!("chromedriver is there, but Chromium does not start: {error}"));
        Some(Self { driver, driver_url, client, folder })
    }

    async fn goto(&self, server: &Server, path: &str) {
        self.client.goto(&server.url(path)).await.unwrap();
    }

    async fn find(&self, css: &str) -> Element {
        let found = self.client.wait().at_most(PATIENCE).for_element(Locator::Css(css)).await;
        found.unwrap_or_else(|error| panic!("{css}: {error}"))
    }

    async fn click(&self, css: &str) {
        self.find(css).await.click().await.unwrap_or_else(|error| panic!("{css}: {error}"));
    }

    async fn text(&self, css: &str) -> String {
        self.find(css).await.text().await.unwrap()
    }

    /// Waits until an element's text is as wanted, and returns it.
    async fn until(&self, css: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = self.text(css).await;
            if wanted(&text) {
                return text;
            }
            assert!(Instant::now() < deadline, "{css} says {text:?}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Chooses a file in the Photo view.
    async fn choose(&self, file: &Path) {
        let input = self.client.find(Locator::Css("#file")).await.unwrap();
        input.send_keys(file.canonicalize().unwrap().to_str().unwrap()).await.unwrap();
    }

    async fn choose_sample(&self) {
        self.choose(&workspace("assets/samples/astronaut.png")).await;
    }

    /// Presses a key in the element that has the focus.
    async fn press(&self, key: char) {
        let keyboard = KeyActions::new("keyboard".to_owned());
        let pressed = keyboard.then(KeyAction::Down { value: key }).then(KeyAction::Up { value: key });
        self.client.perform_actions(pressed).await.unwrap();
    }

    /// Presses Tab until the element has the focus.
    async fn tab_to(&self, id: &str) {
        for _ in 0..40 {
            let active = self.client.active_element().await.unwrap();
            if active.attr("id").await.unwrap().as_deref() == Some(id) {
                return;
            }
            self.press(TAB).await;
        }
        panic!("no way to #{id} by the keyboard");
    }

    /// Waits for a download and returns its content. Chromium gives the file this name when it is complete.
    async fn download(&self, name: &str) -> Vec<u8> {
        let (path, deadline) = (self.folder.path().join(name), Instant::now() + PATIENCE);
        loop {
            if let Ok(bytes) = std::fs::read(&path)
                && !bytes.is_empty()
            {
                return bytes;
            }
            assert!(Instant::now() < deadline, "{name} is not downloaded");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Errors in the browser's console, which include what the content security policy blocked.
    async fn complaints(&self) -> Vec<String> {
        let session = self.client.session_id().await.unwrap().unwrap();
        let url = format!("{}/session/{session}/se/log", self.driver_url);
        let answer = Answer::of(agent().post(url).send(json!({"type": "browser"}).to_string()));
        let entries = answer.json["value"].as_array().unwrap();
        entries
            .iter()
            .filter(|entry| entry["level"] == "SEVERE")
            .map(|entry| entry["message"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Waits until a JavaScript expression is true.
    async fn until_true(&self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        let script = format!("return Boolean({expression})");
        while self.client.execute(&script, Vec::new()).await.unwrap() != Value::Bool(true) {
            assert!(Instant::now() < deadline, "never true: {expression}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until the camera shows a picture in the Photo view.
    async fn see_preview(&self) {
        self.until_true("document.getElementById('preview').videoWidth > 0").await;
    }

    async fn close(self) {
        self.client.clone().close().await.unwrap();
    }
}

/// Two seconds of a face that moves a little, as Motion JPEG.
fn film() -> Vec<u8> {
    let photo = image::load_from_memory(&sample()).unwrap().into_rgb8();
    let frame = |number: u32| {
        let mut frame = RgbImage::from_pixel(640, 480, image::Rgb([120, 125, 130]));
        let shift = 24.0 * (f64::from(number) / 60.0 * std::f64::consts::TAU).sin();
        image::imageops::overlay(&mut frame, &photo, 74 + shift as i64, -16);
        encoded(frame, ImageFormat::Jpeg)
    };
    (0..60).flat_map(frame).collect()
}

/// Opens a browser, or reports that the test is skipped and returns.
macro_rules! browser {
    ($camera:expr) => {
        match Browser::open($camera).await {
            Some(browser) => browser,
            None => return fer_testing::skip("chromium", "no chromedriver on this machine"),
        }
    };
}

#[actix_web::test]
async fn a_photo_is_chosen_looked_at_and_saved() {
    let browser = browser!(Camera::Allowed);
    let server = Server::start(&["--workers", "1"]);
    browser.goto(&server, "/").await;
    assert!(browser.text("#intro").await.contains("analysed in memory and not kept"));
    browser.choose_sample().await;
    browser.find("#photo-view[data-state=done]").await;
    assert!(browser.text("#boxes .tag").await.contains("happy"));
    assert_eq!(browser.client.find_all(Locator::Css("#bars li")).await.unwrap().len(), 7);
    let said = browser.find("#live-region").await.prop("textContent").await.unwrap().unwrap();
    assert_eq!(said, "1 face: happy.");
    browser.click("#save-picture").await;
    let picture = image::load_from_memory(&browser.download("annotated.jpg").await).unwrap();
    assert_eq!((picture.width(), picture.height()), (512, 512));
    browser.click("#save-json").await;
    let saved: Value = serde_json::from_slice(&browser.download("faces.json").await).unwrap();
    assert_eq!(saved["faces"][0]["dominant_emotion"], "happy");

    // Several faces are numbered from left to right.
    browser.click("#again").await;
    let several = browser.folder.path().join("several.png");
    std::fs::write(&several, encoded(group(), ImageFormat::Png)).unwrap();
    browser.choose(&several).await;
    browser.find("#photo-view[data-state=done]").await;
    let mut left = Vec::new();
    for face in browser.client.find_all(Locator::Css("#boxes .face")).await.unwrap() {
        left.push(face.rectangle().await.unwrap().0 as i64);
    }
    assert!(left.len() == 3 && left.is_sorted(), "{left:?}");

    browser.click("#again").await;
    let damaged = browser.folder.path().join("damaged.png");
    std::fs::write(&damaged, &sample()[..9000]).unwrap();
    browser.choose(&damaged).await;
    browser.find("#photo-view[data-state=failed]").await;
    browser.until("#message", |text| text.contains("damaged or cut off")).await;

    browser.click("#about-tab").await;
    browser.until("#card-facts", |text| text.contains("95 % interval")).await;
    assert_eq!(browser.client.find_all(Locator::Css("#confusion td[title]")).await.unwrap().len(), 49);
    let complaints = browser.complaints().await;
    // The one error is the refusal of the damaged picture.
    assert!(complaints.len() == 1 && complaints[0].contains("422"), "{complaints:?}");
    browser.close().await;
}

#[actix_web::test]
async fn the_camera_takes_a_photo_and_is_followed_live() {
    let browser = browser!(Camera::Allowed);
    let server = Server::start(&["--workers", "1"]);
    browser.goto(&server, "/").await;
    browser.click("#open-camera").await;
    browser.find("#photo-view[data-state=camera]").await;
    browser.see_preview().await;
    browser.click("#shoot").await;
    browser.find("#photo-view[data-state=done]").await;
    assert!(browser.text("#boxes .tag").await.contains("happy"));

    browser.click("#live-tab").await;
    browser.click("#live-camera").await;
    browser.until("#live-mood", |text| text.contains("happy")).await;
    browser.click("#music").await;
    browser.until("#music-mood", |text| text.contains("happy")).await;
    // More frames than the rows that the download must have.
    let deadline = Instant::now() + PATIENCE;
    while server.metric("fer_stage_seconds_count{stage=\"detect\"}") < 40.0 {
        assert!(Instant::now() < deadline, "few frames come: {}", browser.text("#live-rate").await);
        sleep(Duration::from_millis(100)).await;
    }
    let rate = browser.text("#live-rate").await;
    let frames: f64 = rate.split(' ').next().unwrap().parse().unwrap();
    assert!(frames > 0.0, "{rate}");
    browser.until_true("document.querySelectorAll('#live-boxes .face').length === 1").await;
    browser.click("#music").await;
    assert_eq!(browser.text("#music").await, "Music by mood");
    browser.click("#live-pause").await;
    browser.click("#live-csv").await;
    let csv = String::from_utf8(browser.download("faces.csv").await).unwrap();
    let mut lines = csv.lines();
    let columns = fer_vision::FaceRecord::COLUMNS;
    assert_eq!(lines.next(), Some(columns.join(",").as_str()));
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    assert!(rows.len() > 20 && rows.iter().all(|row| row.len() == columns.len()), "{} rows", rows.len());
    let column = |name: &str| columns.iter().position(|column| *column == name).unwrap();
    let (track, dominant, status) = (column("track_id"), column("dominant"), column("status"));
    let followed = rows.iter().filter(|row| row[track] == "1" && row[dominant] == "happy").count();
    assert!(rows.iter().all(|row| ["ok", "no_face"].contains(&row[status])), "{csv}");
    assert!(followed * 10 >= rows.len() * 8, "{followed} of {} rows are the one face, happy", rows.len());
    browser.click("#live-json").await;
    let records: Value = serde_json::from_slice(&browser.download("faces.json").await).unwrap();
    let last = records.as_array().unwrap().last().unwrap();
    assert!(last["happy"].is_f64() && last["raw_emotions"]["happy"].is_f64(), "smoothed and raw: {last}");
    let mut record = last.clone();
    record.as_object_mut().unwrap().remove("raw_emotions");
    serde_json::from_value::<fer_vision::FaceRecord>(record).unwrap();
    browser.click("#live-stop").await;
    browser.find("#live-view[data-state=empty]").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.close().await;
}

/// A photo is tried in the viewer of the API, whose content security policy blocks nothing that the viewer needs.
#[actix_web::test]
async fn a_photo_is_tried_on_the_page_of_the_api() {
    let browser = browser!(Camera::Allowed);
    let server = Server::start(&["--workers", "1"]);
    browser.goto(&server, "/docs").await;
    browser.until("#api", |text| text.contains("/v1/analyze") && text.contains("/detect_emotions")).await;
    let operation = "#operations-photos-analyze";
    browser.click(&format!("{operation} .opblock-summary-control")).await;
    let input = browser.find(&format!("{operation} input[type=file]")).await;
    let photo = workspace("assets/samples/astronaut.png").canonicalize().unwrap();
    input.send_keys(photo.to_str().unwrap()).await.unwrap();
    browser.click(&format!("{operation} .execute")).await;
    let answer = format!("{operation} .live-responses-table");
    browser
        .until(&answer, |text| text.contains("200") && text.contains("\"dominant_emotion\": \"happy\""))
        .await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.close().await;
}

/// The threshold is the model's, and the page says what it means.
#[actix_web::test]
async fn an_uncertain_answer_is_explained() {
    let browser = browser!(Camera::Allowed);
    let bundle = tempfile::tempdir().unwrap();
    let shipped = workspace("assets/models/emotion");
    let mut manifest: Value =
        serde_json::from_slice(&std::fs::read(shipped.join("model.json")).unwrap()).unwrap();
    let head = &mut manifest["heads"][0];
    assert!(head["calibration"]["certain_accuracy"].as_f64().unwrap() >= 0.8);
    head["temperature"] = json!(3.0);
    head["calibration"] = json!({
        "faces": 100, "error": 0.01, "certain_above": 0.97, "certain": 0.25, "certain_accuracy": 0.85
    });
    std::fs::write(bundle.path().join("model.json"), manifest.to_string()).unwrap();
    std::fs::copy(shipped.join("weights.safetensors"), bundle.path().join("weights.safetensors")).unwrap();
    let server = Server::start(&["--workers", "1", "--model", bundle.path().to_str().unwrap()]);
    browser.goto(&server, "/").await;
    browser.choose_sample().await;
    browser.find("#photo-view[data-state=done]").await;
    assert!(browser.text("#boxes .tag").await.contains("uncertain"));
    let doubt = browser.until("#doubt", |text| text.contains("97 %")).await;
    assert!(doubt.contains("25 % of the answers have more, and 85 % of those are right"), "{doubt}");
    browser.goto(&server, "/#about").await;
    browser.until("#card-facts", |text| text.contains("25 % have such an answer")).await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.close().await;
}

/// Each label has its own drawing, with a name where no word stands next to it.
#[actix_web::test]
async fn the_seven_faces_are_drawn_and_named() {
    let browser = browser!(Camera::Allowed);
    let server = Server::start(&["--workers", "1"]);
    browser.goto(&server, "/#about").await;
    browser.until_true("document.querySelectorAll('#confusion td[title]').length === 49").await;
    let script = "return [...document.querySelectorAll('#confusion th[scope=col] svg.emoji')].map((svg) =>
        [svg.getAttribute('role'), svg.getAttribute('aria-label'), svg.innerHTML.replace(/<title>.*?<.title>/, ''), svg.getBoundingClientRect().width])";
    let faces = browser.client.execute(script, Vec::new()).await.unwrap();
    let faces = faces.as_array().unwrap();
    let names: Vec<&str> = faces.iter().map(|face| face[1].as_str().unwrap()).collect();
    assert_eq!(names, ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]);
    let drawings: std::collections::BTreeSet<String> = faces.iter().map(|face| face[2].to_string()).collect();
    assert_eq!(drawings.len(), 7, "no two drawings are the same");
    for face in faces {
        assert!(face[0] == "img" && face[3].as_f64().unwrap() > 10.0, "{face}");
    }
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.close().await;
}

#[actix_web::test]
async fn own_music_is_played_for_its_mood() {
    let browser = browser!(Camera::Allowed);
    let songs = tempfile::tempdir().unwrap();
    std::fs::create_dir(songs.path().join("happy")).unwrap();
    std::fs::write(songs.path().join("happy/tone.wav"), tone()).unwrap();
    let server = Server::start(&["--workers", "1", "--music", songs.path().to_str().unwrap()]);
    browser.goto(&server, "/#live").await;
    browser.click("#live-camera").await;
    browser.click("#music").await;
    browser.until("#music-mood", |text| text.contains("happy")).await;
    // The tone is two seconds long and starts again. The browser has it in its cache, so that the server answers 304.
    let route = "fer_http_requests_total{route=\"/v1/music/{emotion}/{file}\",status=\"304\"}";
    let deadline = Instant::now() + PATIENCE;
    while server.metric_or_zero(route) < 2.0 {
        assert!(Instant::now() < deadline, "the song is not played: {:?}", browser.complaints().await);
        sleep(Duration::from_millis(100)).await;
    }
    browser.click("#live-stop").await;
    browser.until("#music-mood", str::is_empty).await;
    browser.click("#music").await;
    assert_eq!(browser.text("#music").await, "Music by mood");
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.close().await;
}

#[actix_web::test]
async fn a_refused_camera_is_explained() {
    let browser = browser!(Camera::Refused);
    let server = Server::start(&["--workers", "1"]);
    browser.goto(&server, "/").await;
    browser.click("#open-camera").await;
    browser.until("#message", |text| text.contains("not allowed to use the camera")).await;
    browser.find("#photo-view[data-state=empty]").await;
    browser.goto(&server, "/#live").await;
    browser.click("#live-camera").await;
    browser.until("#live-message", |text| text.contains("not allowed to use the camera")).await;
    browser.find("#live-view[data-state=empty]").await;
    browser.close().await;
}

#[actix_web::test]
async fn a_server_that_goes_away_and_comes_back_is_waited_for() {
    let browser = browser!(Camera::Allowed);
    // No other test takes a port of this address while the server is away.
    let host = if cfg!(target_os = "linux") { "127.0.0.77:0" } else { "127.0.0.1:0" };
    let server = Server::start_at(host, &["--workers", "1"]);
    let address = server.address().to_owned();
    browser.goto(&server, "/").await;
    drop(server);
    browser.choose_sample().await;
    browser.until("#message", |text| text.contains("does not answer")).await;
    let server = Server::start_at(&address, &["--workers", "1"]);
    browser.click("#retry").await;
    browser.find("#photo-view[data-state=done]").await;

    browser.click("#live-tab").await;
    browser.click("#live-camera").await;
    browser.until("#live-mood", |text| text.contains("happy")).await;
    drop(server);
    browser.until("#live-message", |text| text.contains("Trying again")).await;
    let server = Server::start_at(&address, &["--workers", "1"]);
    let message = browser.client.find(Locator::Css("#live-message")).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while message.is_displayed().await.unwrap() {
        assert!(Instant::now() < deadline, "the page does not come back");
        sleep(Duration::from_millis(100)).await;
    }
    while server.metric("fer_stage_seconds_count{stage=\"detect\"}") < 3.0 {
        assert!(Instant::now() < deadline, "no frames come");
        sleep(Duration::from_millis(100)).await;
    }
    browser.close().await;
}

#[actix_web::test]
async fn the_keyboard_is_enough() {
    let browser = browser!(Camera::Allowed);
    let server = Server::start(&["--workers", "1"]);
    browser.goto(&server, "/").await;
    browser.tab_to("file").await;
    browser.tab_to("open-camera").await;
    browser.press(ENTER).await;
    browser.find("#photo-view[data-state=camera]").await;
    browser.see_preview().await;
    // The button has the focus already.
    browser.until_true("document.activeElement.id === 'shoot'").await;
    browser.press(ENTER).await;
    browser.find("#photo-view[data-state=done]").await;
    browser.tab_to("save-json").await;
    browser.press(ENTER).await;
    browser.download("faces.json").await;
    browser.goto(&server, "/").await;
    browser.tab_to("live-tab").await;
    browser.press(ENTER).await;
    browser.tab_to("live-camera").await;
    browser.press(ENTER).await;
    browser.until("#live-mood", |text| text.contains("happy")).await;
    browser.tab_to("live-stop").await;
    browser.press(ENTER).await;
    browser.find("#live-view[data-state=empty]").await;
    browser.close().await;
}
