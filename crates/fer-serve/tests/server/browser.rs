//! The page in a real headless Chromium, whose camera is a video made of the sample photo. Skipped where there is no
//! `chromedriver` (Debian: `apt install chromium chromium-driver`).

use std::io::{BufRead, BufReader};
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

/// How long a state of the page may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// WebDriver's codes of keys without a character.
const TAB: char = '\u{e004}';
const ENTER: char = '\u{e007}';

#[derive(Clone, Copy, PartialEq, Eq)]
enum Camera {
    Allowed,
    Refused,
}

/// chromedriver with a browser of its own; the whole process group is ended when dropped.
struct Browser {
    driver: Child,
    driver_url: String,
    client: Client,
    /// Its downloads, and the video of its camera.
    folder: tempfile::TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        drop(Command::new("kill").args(["-KILL", "--", &format!("-{}", self.driver.id())]).status());
        drop(self.driver.wait());
    }
}

impl Browser {
    /// None where there is no chromedriver on this machine.
    async fn open(camera: Camera) -> Option<Self> {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdout(Stdio::piped()).process_group(0);
        let mut driver = command.spawn().ok()?;
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

    /// A file for the Photo view.
    async fn choose(&self, file: &Path) {
        let input = self.client.find(Locator::Css("#file")).await.unwrap();
        input.send_keys(file.canonicalize().unwrap().to_str().unwrap()).await.unwrap();
    }

    async fn choose_sample(&self) {
        self.choose(&workspace("assets/samples/astronaut.png")).await;
    }

    /// A key, for whatever has the focus.
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

    /// A download's content, when it is whole.
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

    /// What the page wrote to the console: errors, and what its content security policy stopped.
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

/// Opens a browser, or ends the test with a line.
macro_rules! browser {
    ($camera:expr) => {
        match Browser::open($camera).await {
            Some(browser) => browser,
            None => return println!("skipped: no chromedriver on this machine"),
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
    browser.goto(&server, "/docs").await;
    browser.until("#api", |text| text.contains("POST /v1/analyze")).await;
    let complaints = browser.complaints().await;
    // The refusal of the damaged picture is one, as it should be.
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
    sleep(Duration::from_millis(500)).await;
    browser.click("#shoot").await;
    browser.find("#photo-view[data-state=done]").await;
    assert!(browser.text("#boxes .tag").await.contains("happy"));

    browser.click("#live-tab").await;
    browser.click("#live-camera").await;
    browser.until("#live-mood", |text| text.contains("happy")).await;
    browser.click("#music").await;
    browser.until("#music-mood", |text| text.contains("happy")).await;
    sleep(Duration::from_secs(10)).await;
    let rate = browser.text("#live-rate").await;
    let frames: f64 = rate.split(' ').next().unwrap().parse().unwrap();
    assert!(frames >= 2.0, "{rate}");
    assert_eq!(browser.client.find_all(Locator::Css("#live-boxes .face")).await.unwrap().len(), 1);
    browser.click("#music").await;
    assert_eq!(browser.text("#music").await, "Music by mood");
    browser.click("#live-pause").await;
    browser.click("#live-csv").await;
    let csv = String::from_utf8(browser.download("faces.csv").await).unwrap();
    let mut lines = csv.lines();
    let columns = "timestamp_ms,frame,track_id,x,y,width,height,confidence,angry,disgust,fear,happy,sad,surprise,neutral,dominant";
    assert_eq!(lines.next(), Some(columns));
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    assert!(rows.len() > 20 && rows.iter().all(|row| row.len() == 16), "{} rows", rows.len());
    let followed = rows.iter().filter(|row| row[2] == "1" && row[15] == "happy").count();
    assert!(followed * 10 >= rows.len() * 8, "{followed} of {} rows are the one face, happy", rows.len());
    browser.click("#live-json").await;
    let records: Value = serde_json::from_slice(&browser.download("faces.json").await).unwrap();
    let last = records.as_array().unwrap().last().unwrap();
    assert!(last["happy"].is_f64() && last["raw_emotions"]["happy"].is_f64(), "smoothed and raw: {last}");
    browser.click("#live-stop").await;
    browser.find("#live-view[data-state=empty]").await;
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
    // The tone is two seconds long, and is begun again: the browser has it already.
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
    let server = Server::start(&["--workers", "1"]);
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
    sleep(Duration::from_millis(500)).await;
    // The button has the focus already.
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
