//! The photos that the measurements use.

use std::io::Cursor;
use std::path::Path;

use anyhow::Result;
use image::{ImageFormat, RgbImage, imageops};

use crate::workspace;

/// A grey 640×480 picture with the head of the sample photo, six times in different sizes.
///
/// # Errors
/// The sample photo cannot be read.
pub(crate) fn six_faces() -> Result<RgbImage> {
    up_to_six_faces(6)
}

/// A grey 640×480 picture with the head of the sample photo, `count` times in different sizes.
///
/// # Errors
/// The sample photo cannot be read.
pub(crate) fn up_to_six_faces(count: u32) -> Result<RgbImage> {
    // 130 to 180 pixels wide, so that the faces are of different sizes.
    heads(3, 2, count, |position| 130 + 10 * position)
}

/// A grey 640×480 picture with the head of the sample photo, sixty times in different sizes.
///
/// # Errors
/// The sample photo cannot be read.
pub(crate) fn sixty_faces() -> Result<RgbImage> {
    heads(10, 6, 60, |position| 52 + position % 6)
}

/// A grid with heads in its first `count` positions; `width` gives a head's width by its position.
fn heads(columns: u32, rows: u32, count: u32, width: impl Fn(u32) -> u32) -> Result<RgbImage> {
    let sample = image::open(workspace("assets/samples/astronaut.png"))?.into_rgb8();
    let head = imageops::crop_imm(&sample, 140, 20, 170, 190).to_image();
    let mut photo = RgbImage::from_pixel(640, 480, image::Rgb([118, 121, 125]));
    for position in 0..count.min(columns * rows) {
        let width = width(position);
        let face = imageops::resize(&head, width, width * 190 / 170, imageops::FilterType::Triangle);
        let (column, row) = (position % columns, position / columns);
        let place =
            |number: u32, side: u32, count: u32| i64::from(15 / columns + number * (side - 10) / count);
        imageops::overlay(&mut photo, &face, place(column, 640, columns), place(row, 480, rows));
    }
    Ok(photo)
}

/// A picture as the bytes of a JPEG file.
///
/// # Errors
/// The picture cannot be encoded.
pub(crate) fn jpeg(picture: &RgbImage) -> Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Jpeg)?;
    Ok(bytes.into_inner())
}

/// Fills a folder with JPEG files, each a copy of one of the pictures in turn with another pixel.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn write_folder(folder: &Path, photos: usize, pictures: &mut [RgbImage]) -> Result<()> {
    let kinds = pictures.len();
    for number in 0..photos {
        let picture = &mut pictures[number % kinds];
        picture.put_pixel((number % 640) as u32, (number / 640 % 480) as u32, image::Rgb([255; 3]));
        std::fs::write(folder.join(format!("{number:06}.jpg")), jpeg(picture)?)?;
    }
    Ok(())
}
