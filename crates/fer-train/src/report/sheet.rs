//! Labelled grids of faces, as SVG with embedded PNGs and as PNG.

use std::fmt::Write as _;
use std::io::Cursor;
use std::path::Path;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::{DynamicImage, ImageFormat};

use crate::report::charts;

/// Side of a face in pixels.
const FACE: usize = 96;

/// Height of the text below a face in pixels.
const TEXT: usize = 16;

/// Width of the name before a row in pixels.
const NAME: usize = 88;

/// Named rows of faces; a face may have a text below it.
pub struct Sheet {
    across: usize,
    rows: Vec<(String, Vec<(DynamicImage, String)>)>,
}

impl Sheet {
    /// An empty sheet with room for `across` faces side by side.
    pub fn new(across: usize) -> Self {
        Self { across, rows: Vec::new() }
    }

    /// Appends a row of faces with their texts.
    pub fn row(&mut self, name: &str, faces: Vec<(impl Into<DynamicImage>, String)>) {
        let faces = faces.into_iter().map(|(face, text)| (face.into(), text));
        self.rows.push((name.to_owned(), faces.collect()));
    }

    /// Writes `name.svg` and `name.png` into a folder.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> Result<()> {
        charts::write(&self.svg()?, folder, name)
    }

    /// The sheet as SVG.
    ///
    /// # Errors
    /// If a face cannot be encoded as PNG.
    pub fn svg(&self) -> Result<String> {
        let captions = self.rows.iter().flat_map(|(_, faces)| faces).any(|(_, text)| !text.is_empty());
        let step = FACE + 4 + if captions { TEXT } else { 0 };
        let (width, height) = (NAME + self.across * (FACE + 4), self.rows.len().max(1) * step + 4);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             font-family=\"sans-serif\"><rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
        );
        for (row, (name, faces)) in self.rows.iter().enumerate() {
            let y = 4 + row * step;
            write!(svg, "<text x=\"4\" y=\"{}\" font-size=\"14\">{}</text>", y + FACE / 2, escape(name))?;
            for (column, (face, text)) in faces.iter().enumerate() {
                let x = NAME + column * (FACE + 4);
                let mut png = Cursor::new(Vec::new());
                face.write_to(&mut png, ImageFormat::Png)?;
                write!(
                    svg,
                    "<image x=\"{x}\" y=\"{y}\" width=\"{FACE}\" height=\"{FACE}\" href=\"data:image/png;base64,{}\"/>",
                    STANDARD.encode(png.into_inner())
                )?;
                if !text.is_empty() {
                    let (middle, below) = (x + FACE / 2, y + FACE + TEXT - 4);
                    write!(
                        svg,
                        "<text x=\"{middle}\" y=\"{below}\" font-size=\"10\" text-anchor=\"middle\">{}</text>",
                        escape(text)
                    )?;
                }
            }
        }
        svg += "</svg>\n";
        Ok(svg)
    }
}

/// The text with the characters that have a meaning in XML escaped.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faces_and_texts_are_in_the_picture() {
        let mut sheet = Sheet::new(2);
        let face = |level| (image::GrayImage::from_pixel(48, 48, image::Luma([level])), "a < b".to_owned());
        sheet.row("row", vec![face(10), face(200)]);
        assert!(sheet.svg().unwrap().contains("a &lt; b"));
        let folder = tempfile::tempdir().unwrap();
        sheet.write(folder.path(), "faces").unwrap();
        let png = image::open(folder.path().join("faces.png")).unwrap().into_luma8();
        let at = |column: usize| png.get_pixel((2 * (NAME + column * (FACE + 4) + FACE / 2)) as u32, 60).0[0];
        assert_eq!([at(0), at(1)], [10, 200]);
    }
}
