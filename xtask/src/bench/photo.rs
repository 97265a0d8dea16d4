//! The photo that all measurements use.

use std::io::Cursor;

use anyhow::Result;
use image::{ImageFormat, RgbImage, imageops};

use crate::workspace;

/// A grey 640×480 picture with the head of the sample photo, six times in different sizes.
///
/// # Errors
/// The sample photo cannot be read.
pub(crate) fn six_faces() -> Result<RgbImage> {
    let sample = image::open(workspace("assets/samples/astronaut.png"))?.into_rgb8();
    let head = imageops::crop_imm(&sample, 140, 20, 170, 190).to_image();
    let mut photo = RgbImage::from_pixel(640, 480, image::Rgb([118, 121, 125]));
    for position in 0..6 {
        // 130 to 180 pixels wide, so that the faces fall on different pyramid levels.
        let width = 130 + 10 * position;
        let face = imageops::resize(&head, width, width * 190 / 170, imageops::FilterType::Triangle);
        let (column, row) = (i64::from(position % 3), i64::from(position / 3));
        imageops::overlay(&mut photo, &face, 15 + 210 * column, 15 + 230 * row);
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
