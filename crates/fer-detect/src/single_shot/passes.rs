//! The sizes at which a picture is searched.

use super::SingleShotConfig;

/// Sides of the network's input are multiples of this, the coarsest stride.
const MULTIPLE: usize = 32;

/// Reduction from one pass to the next. The sizes that the network finds reach over more than twice as much.
const REDUCTION: f64 = 0.25;

/// One pass of the network over the whole picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pass {
    /// Width and height of the resized picture.
    pub(super) content: [usize; 2],
    /// Width and height of the input, multiples of 32.
    pub(super) padded: [usize; 2],
}

impl Pass {
    fn new(sides: [f64; 2], scale: f64) -> Self {
        let content = sides.map(|side| ((side * scale).round() as usize).max(1));
        Self { content, padded: content.map(|side| side.next_multiple_of(MULTIPLE)) }
    }
}

/// Returns the passes, finest first. One is enough for all faces up to the largest that the network finds; if the picture
/// has room for larger ones, it is searched again at a quarter of the size.
pub(super) fn passes(width: u32, height: u32, config: &SingleShotConfig) -> Vec<Pass> {
    let sides = [f64::from(width), f64::from(height)];
    let shorter = sides[0].min(sides[1]);
    if shorter < 1.0 {
        return Vec::new();
    }
    let [smallest, largest] = config.face_sizes.map(f64::from);
    let needed = smallest / f64::from(config.min_face);
    let affordable = (config.max_pixels as f64 / (sides[0] * sides[1])).sqrt();
    let mut scale = needed.min(affordable).min(1.0);
    let mut passes = vec![Pass::new(sides, scale)];
    while shorter * scale > largest {
        scale *= REDUCTION;
        passes.push(Pass::new(sides, scale));
    }
    passes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(width: u32, height: u32, config: &SingleShotConfig) -> Vec<[usize; 2]> {
        passes(width, height, config).iter().map(|pass| pass.content).collect()
    }

    #[test]
    fn a_picture_is_searched_at_its_own_size_and_for_large_faces_at_a_quarter() {
        let config = SingleShotConfig::default();
        assert_eq!(sizes(300, 200, &config), [[300, 200]]);
        assert_eq!(sizes(640, 480, &config), [[640, 480], [160, 120]]);
        assert_eq!(passes(640, 470, &config)[0].padded, [640, 480]);
        assert_eq!(passes(3, 1, &config)[0], Pass { content: [3, 1], padded: [32, 32] });
        assert!(passes(0, 10, &config).is_empty());
    }

    #[test]
    fn larger_faces_and_larger_pictures_need_fewer_pixels() {
        let config = SingleShotConfig { min_face: 24.0, ..SingleShotConfig::default() };
        assert_eq!(sizes(640, 480, &config), [[320, 240]]);
        for [width, height] in [[6000, 4000], [65_535, 20], [20, 65_535], [65_535, 65_535]] {
            let finest = passes(width, height, &config)[0];
            let pixels = finest.content[0] * finest.content[1];
            assert!(pixels <= config.max_pixels * 101 / 100, "{finest:?}");
            assert!(finest.padded.iter().all(|side| side.is_multiple_of(32)));
        }
    }
}
