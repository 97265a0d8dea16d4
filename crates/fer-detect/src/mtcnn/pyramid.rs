//! The image pyramid: the scales at which a picture is searched.

use super::MtcnnConfig;

/// P-Net's window in pixels.
pub(super) const WINDOW: f32 = 12.0;

/// One level of the pyramid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Level {
    /// Pixels of the level per pixel of the picture.
    pub(super) scale: f64,
    pub(super) width: usize,
    pub(super) height: usize,
}

/// Returns the levels, finest first. On the first one a face of `min_face` pixels fills P-Net's window, unless that level
/// would exceed `max_level_pixels`; then the first level is coarser.
pub(super) fn levels(width: usize, height: usize, config: &MtcnnConfig) -> Vec<Level> {
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
        let levels = levels(640, 480, &MtcnnConfig::default());
        assert_eq!(levels.len(), 10);
        assert_eq!((levels[0].width, levels[0].height), (385, 289));
    }

    #[test]
    fn tiny_pictures_have_none_and_panoramas_are_bounded() {
        let config = MtcnnConfig::default();
        assert!(levels(1, 1, &config).is_empty());
        let panorama = levels(20_000, 2_000, &config);
        assert!(panorama.iter().all(|level| level.width * level.height <= config.max_level_pixels + 30_000));
    }
}
