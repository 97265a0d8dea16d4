//! SVG charts as PNG. Text is drawn in a font that comes with the program, because a machine may have none.

use std::sync::Arc;

use resvg::tiny_skia::{Color, Pixmap, Transform};
use resvg::usvg::{self, Options, Tree, fontdb};

/// Pixels of a PNG for each unit of the SVG.
const SCALE: f32 = 2.0;

/// Why a chart cannot be drawn.
#[derive(Debug, thiserror::Error)]
pub enum ChartError {
    /// The font has no name by which a text can choose it.
    #[error("the embedded font has no family")]
    Font,
    /// The text is not SVG.
    #[error("the chart is no SVG: {0}")]
    Svg(#[from] usvg::Error),
    /// A side has no pixels, or too many.
    #[error("the chart is empty or too large")]
    Size,
    /// The pixels cannot be encoded.
    #[error("cannot encode a PNG: {0}")]
    Png(String),
}

/// Returns a PNG of an SVG on white, with two pixels for each unit of the SVG.
///
/// # Errors
/// If the text is not SVG, or the picture is empty or too large.
pub fn png(svg: &str) -> Result<Vec<u8>, ChartError> {
    let mut fonts = fontdb::Database::new();
    fonts.load_font_source(fontdb::Source::Binary(Arc::new(epaint_default_fonts::UBUNTU_LIGHT)));
    let family = fonts.faces().next().and_then(|face| face.families.first()).map(|(name, _)| name.clone());
    fonts.set_sans_serif_family(family.ok_or(ChartError::Font)?);
    let options = Options { fontdb: Arc::new(fonts), ..Options::default() };
    let tree = Tree::from_str(svg, &options)?;
    let size = tree.size().to_int_size().scale_by(SCALE).ok_or(ChartError::Size)?;
    let mut pixels = Pixmap::new(size.width(), size.height()).ok_or(ChartError::Size)?;
    pixels.fill(Color::WHITE);
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| ChartError::Png(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_drawn_and_other_texts_are_refused() {
        let chart = |text: &str| {
            let svg = format!(
                r#"<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20">
                   <text x="2" y="15" font-family="sans-serif">{text}</text></svg>"#
            );
            Pixmap::decode_png(&png(&svg).unwrap()).unwrap()
        };
        assert_eq!((chart("").width(), chart("").height()), (80, 40));
        assert!(chart("").data().iter().all(|&value| value == 255));
        assert!(chart("sad").data().iter().any(|&value| value < 128));
        assert!(matches!(png("no chart"), Err(ChartError::Svg(_))));
    }
}
