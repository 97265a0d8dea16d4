//! At which scales a picture is searched.

use crate::DetectorConfig;

/// P-Net's window in pixels.
pub(crate) const WINDOW: f32 = 12.0;

/// One level of the pyramid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Level {
    /// Level pixels for a picture pixel.
    pub(crate) scale: f64,
    pub(crate) width: usize,
    pub(crate) height: usize,
}

/// Levels from the smallest face to the largest. The first one is where a face of `min_face` fills P-Net's
/// window, or a coarser one where that would exceed the bound on pixels.
pub(crate) fn levels(width: usize, height: usize, config: &DetectorConfig) -> Vec<Level> {
    let (width, height) = (width as f64, height as f64);
    let finest = f64::from(WINDOW) / f64::from(config.min_face);
    let affordable = (config.max_level_pixels as f64 / (width * height).max(1.0)).sqrt();
    let mut scale = finest.min(affordable);
    let mut levels = Vec::new();
    while width.min(height) * scale >= f64::from(WINDOW) {
        let side = |length: f64| (length * scale + 1.0) as usize;
        levels.push(Level { scale, width: side(width), height: side(height) });
        scale *= f64::from(config.pyramid_factor);
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vga_picture_has_ten_levels() {
        let levels = levels(640, 480, &DetectorConfig::default());
        assert_eq!(levels.len(), 10);
        assert_eq!((levels[0].width, levels[0].height), (385, 289));
    }

    #[test]
    fn tiny_pictures_have_none_and_panoramas_are_bounded() {
        let config = DetectorConfig::default();
        assert!(levels(1, 1, &config).is_empty());
        let panorama = levels(20_000, 2_000, &config);
        assert!(panorama.iter().all(|level| level.width * level.height <= config.max_level_pixels + 30_000));
    }
}
