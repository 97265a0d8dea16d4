//! A folder with photos and videos, and the program run in it.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fer_table::Row;
use image::{DynamicImage, GenericImage as _, ImageFormat, RgbImage};
use tempfile::TempDir;

/// A working directory.
pub(crate) struct Folder(TempDir);

/// How a run of the program ended.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Run {
    /// Fails unless the exit code is as expected.
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        self
    }
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: impl AsRef<Path>, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// The command, with two threads of tract, whose results do not depend on the machine.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fer"));
        command.args(arguments).current_dir(self.0.path()).stdin(Stdio::null());
        command.env("FER_ENGINE", "tract").env("FER_WORKERS", "2");
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        ended(&mut self.command(arguments))
    }

    /// The rows of a table.
    pub(crate) fn rows(&self, table: &str) -> Vec<Row> {
        fer_table::read(&self.path(table)).unwrap().flat_map(|piece| piece.unwrap()).collect()
    }

    #[cfg(feature = "corpus")]
    pub(crate) fn has_ffmpeg(&self) -> bool {
        Command::new("ffmpeg").arg("-version").output().is_ok()
    }

    pub(crate) fn ffmpeg(&self, arguments: &str) -> bool {
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-y"]).args(arguments.split_whitespace()).current_dir(self.0.path());
        command.status().unwrap().success()
    }

    /// A video of 12 frames, ten a second, in which the sample's face moves to the left. Each frame is coded by itself.
    pub(crate) fn clip(&self, name: &str) {
        self.write("sample.source", &png(&sample()));
        let filter = "scale=300:300,crop=240:200:x=4*n:y=0";
        let made = format!(
            "-f image2 -loop 1 -framerate 10 -i sample.source -t 1.2 -vf {filter} -pix_fmt yuv420p -g 1 {name}"
        );
        assert!(self.ffmpeg(&made));
    }
}

pub(crate) fn ended(command: &mut Command) -> Run {
    let output = command.output().unwrap();
    Run {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// NASA's portrait, 512×512, one face.
pub(crate) fn sample() -> RgbImage {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/samples/astronaut.png");
    image::open(path).unwrap().into_rgb8()
}

/// The part of the sample with the face, 220 pixels wide and high.
pub(crate) fn face() -> RgbImage {
    image::imageops::crop_imm(&sample(), 120, 0, 220, 220).to_image()
}

/// Two faces beside each other.
pub(crate) fn pair() -> RgbImage {
    let face = face();
    let mut pair = RgbImage::new(440, 220);
    pair.copy_from(&face, 0, 0).unwrap();
    pair.copy_from(&face, 220, 0).unwrap();
    pair
}

/// A picture without a face.
pub(crate) fn plain() -> RgbImage {
    RgbImage::from_pixel(120, 90, image::Rgb([90, 120, 150]))
}

pub(crate) fn png(image: &RgbImage) -> Vec<u8> {
    encoded(image, ImageFormat::Png)
}

pub(crate) fn jpeg(image: &RgbImage) -> Vec<u8> {
    encoded(image, ImageFormat::Jpeg)
}

fn encoded(image: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(image.clone()).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// What each row is about: source, frame and status.
pub(crate) fn outline(rows: &[Row]) -> Vec<(String, Option<u64>, String)> {
    rows.iter()
        .map(|row| {
            let status = serde_json::to_value(row.record.status).unwrap();
            (row.record.source.clone().unwrap(), row.record.frame, status.as_str().unwrap().to_owned())
        })
        .collect()
}
