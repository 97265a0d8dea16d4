//! A photo with what was found drawn into it: a box for each face, and its label above.

use ab_glyph::{Font, FontRef, InvalidFont, PxScale, ScaleFont, point};
use image::{Rgb, RgbImage};

use crate::{Analysis, FaceAnalysis};

const LINE: Rgb<u8> = Rgb([255, 255, 255]);
const EDGE: Rgb<u8> = Rgb([16, 20, 19]);

/// Draws into the photo that the analysis is of; the labels are as large as the photo allows.
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
    // Over all boxes, so that every one can be read.
    for face in &analysis.faces {
        tag(photo, &font, scale, face);
    }
}

/// The label's text.
fn text(face: &FaceAnalysis) -> String {
    let dominant = face.emotions.dominant();
    let doubt = if face.emotions.is_uncertain() { ", uncertain" } else { "" };
    format!("{dominant} {:.0} %{doubt}", 100.0 * face.emotions.get(dominant))
}

fn font() -> Result<FontRef<'static>, InvalidFont> {
    FontRef::try_from_slice(epaint_default_fonts::UBUNTU_LIGHT)
}

/// Above the box, or below its upper edge where there is no room; within the photo.
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

/// The lines inside of a rectangle's edges.
fn frame(photo: &mut RgbImage, [left, top, right, bottom]: [i32; 4], thickness: i32, colour: Rgb<u8>) {
    fill(photo, [left, top, right, top + thickness], colour);
    fill(photo, [left, bottom - thickness, right, bottom], colour);
    fill(photo, [left, top, left + thickness, bottom], colour);
    fill(photo, [right - thickness, top, right, bottom], colour);
}

/// What of a rectangle lies in the photo.
fn fill(photo: &mut RgbImage, [left, top, right, bottom]: [i32; 4], colour: Rgb<u8>) {
    let (width, height) = (photo.width() as i32, photo.height() as i32);
    for y in top.max(0)..bottom.min(height) {
        for x in left.max(0)..right.min(width) {
            photo.put_pixel(x as u32, y as u32, colour);
        }
    }
}

fn blend(photo: &mut RgbImage, x: i32, y: i32, colour: Rgb<u8>, share: f32) {
    let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { return };
    if let Some(pixel) = photo.get_pixel_mut_checked(x, y) {
        for (old, new) in pixel.0.iter_mut().zip(colour.0) {
            *old =
                (f32::from(*old) + (f32::from(new) - f32::from(*old)) * share.clamp(0.0, 1.0)).round() as u8;
        }
    }
}
