//! Draws the bounding box and the label of each face into a photo.

use ab_glyph::{Font, FontRef, InvalidFont, PxScale, ScaleFont, point};
use image::{Rgb, RgbImage};

use crate::{Analysis, FaceAnalysis};

const LINE: Rgb<u8> = Rgb([255, 255, 255]);
const EDGE: Rgb<u8> = Rgb([16, 20, 19]);

/// Draws a box around each face and writes its label above the box.
///
/// `photo` must be the photo that was analysed. Lines and letters grow with the photo's longer side.
pub fn annotate(photo: &mut RgbImage, analysis: &Analysis) {
    let Ok(font) = font() else { return };
    let longer = photo.width().max(photo.height()) as f32;
    let thickness = (longer / 400.0).round().clamp(2.0, 8.0) as i32;
    let scale = PxScale::from((longer / 32.0).clamp(14.0, 64.0));
    for face in &analysis.faces {
        let bounding_box = face.face.bounding_box;
        let [left, top] = [bounding_box.x, bounding_box.y].map(|side| side.round() as i32);
        let [right, bottom] = [bounding_box.x + bounding_box.width, bounding_box.y + bounding_box.height]
            .map(|side| side.round() as i32);
        frame(photo, [left - 1, top - 1, right + 1, bottom + 1], thickness + 2, EDGE);
        frame(photo, [left, top, right, bottom], thickness, LINE);
    }
    // Labels come after all boxes, so that no box covers a label.
    for face in &analysis.faces {
        tag(photo, &font, scale, face);
    }
}

/// The text of the label, such as `happy 93 %`.
fn text(face: &FaceAnalysis) -> String {
    let dominant = face.emotions.dominant();
    let doubt = if face.emotions.is_uncertain() { ", uncertain" } else { "" };
    format!("{dominant} {:.0} %{doubt}", 100.0 * face.emotions.get(dominant))
}

fn font() -> Result<FontRef<'static>, InvalidFont> {
    FontRef::try_from_slice(epaint_default_fonts::UBUNTU_LIGHT)
}

/// Writes the label above the box, or below the box's upper edge if there is no room above it. The label stays within the photo.
fn tag(photo: &mut RgbImage, font: &FontRef<'_>, scale: PxScale, face: &FaceAnalysis) {
    let scaled = font.as_scaled(scale);
    let text = text(face);
    let width: f32 = text.chars().map(|letter| scaled.h_advance(scaled.glyph_id(letter))).sum();
    let pad = (0.25 * scale.y).ceil();
    let (wide, high) = ((width + 2.0 * pad).ceil() as i32, (scaled.height() + pad).ceil() as i32);
    let bounding_box = face.face.bounding_box;
    let left = (bounding_box.x.round() as i32).min(photo.width() as i32 - wide).max(0);
    let above = bounding_box.y.round() as i32 - high - 2;
    let top = if above >= 0 { above } else { (bounding_box.y.round() as i32).max(0) };
    fill(photo, [left, top, left + wide, top + high], EDGE);
    let mut x = left as f32 + pad;
    let baseline = top as f32 + 0.5 * pad + scaled.ascent();
    for letter in text.chars() {
        let glyph = scaled.glyph_id(letter).with_scale_and_position(scale, point(x, baseline));
        x += scaled.h_advance(glyph.id);
        let Some(outline) = font.outline_glyph(glyph) else { continue };
        let corner = outline.px_bounds().min;
        outline.draw(|across, down, coverage| {
            blend(photo, corner.x as i32 + across as i32, corner.y as i32 + down as i32, LINE, coverage);
        });
    }
}

/// Draws the four edges of a rectangle, `thickness` pixels wide and inside of it.
fn frame(photo: &mut RgbImage, [left, top, right, bottom]: [i32; 4], thickness: i32, colour: Rgb<u8>) {
    fill(photo, [left, top, right, top + thickness], colour);
    fill(photo, [left, bottom - thickness, right, bottom], colour);
    fill(photo, [left, top, left + thickness, bottom], colour);
    fill(photo, [right - thickness, top, right, bottom], colour);
}

/// Fills the part of a rectangle that lies in the photo. Coordinates are left, top, right, bottom in pixels.
fn fill(photo: &mut RgbImage, [left, top, right, bottom]: [i32; 4], colour: Rgb<u8>) {
    let (width, height) = (photo.width() as i32, photo.height() as i32);
    for y in top.max(0)..bottom.min(height) {
        for x in left.max(0)..right.min(width) {
            photo.put_pixel(x as u32, y as u32, colour);
        }
    }
}

/// Mixes a colour into one pixel, if the pixel lies in the photo. `share` is the colour's weight, 0 to 1.
fn blend(photo: &mut RgbImage, x: i32, y: i32, colour: Rgb<u8>, share: f32) {
    let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { return };
    if let Some(pixel) = photo.get_pixel_mut_checked(x, y) {
        for (old, new) in pixel.0.iter_mut().zip(colour.0) {
            *old =
                (f32::from(*old) + (f32::from(new) - f32::from(*old)) * share.clamp(0.0, 1.0)).round() as u8;
        }
    }
}
