//! Which parts of which photos a training crop shows: a part of one photo, a face that fills the crop, a mosaic of four
//! photos, a crowd, or faces that were cut out. Small and crowded faces are rare in photos, so that tiles must make them.

use rand::Rng;
use rand::rngs::StdRng;

use super::config::{Layouts, ViewConfig};
use super::corpus::{Corpus, TrainingPhoto};

/// Shorter side in pixels from which a photo may fill a crop; smaller ones are only tiles.
const LARGE: u32 = 120;

/// Least and largest side of a tile, in units of the longer side of its face.
const TILE: [f64; 2] = [1.2, 2.6];

/// The same for a face that was cut out, as in FER-2013: nothing of its surroundings is left, and sometimes not all of the
/// face.
const CUT_OUT: [f64; 2] = [0.8, 1.3];

/// A part of a photo, and where it lies in the crop.
#[derive(Clone, Copy)]
pub struct Patch<'a> {
    /// The photo.
    pub photo: &'a TrainingPhoto,
    /// The rectangle that it fills, `x0, y0, x1, y1` in pixels of the crop.
    pub into: [usize; 4],
    /// From the photo to the crop.
    pub map: Similarity,
}

/// Scaling, rotation and mirroring about a point, which is then moved to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Similarity {
    /// Pixels of the crop per pixel of the photo.
    pub scale: f32,
    /// Clockwise rotation in radians.
    pub angle: f32,
    /// Whether left and right are exchanged before the rotation.
    pub mirrored: bool,
    /// A point of the photo.
    pub from: [f32; 2],
    /// The same point in the crop.
    pub to: [f32; 2],
}

impl Similarity {
    /// A point of the photo in the crop.
    pub fn point(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let (sin, cos) = self.angle.sin_cos();
        let across = (x - self.from[0]) * if self.mirrored { -self.scale } else { self.scale };
        let down = (y - self.from[1]) * self.scale;
        [self.to[0] + cos * across - sin * down, self.to[1] + sin * across + cos * down]
    }

    /// A point of the crop in the photo, the inverse of [`Similarity::point`].
    pub fn inverse(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let (sin, cos) = self.angle.sin_cos();
        let (right, down) = ((x - self.to[0]) / self.scale, (y - self.to[1]) / self.scale);
        let across = cos * right + sin * down;
        let across = if self.mirrored { -across } else { across };
        [self.from[0] + across, self.from[1] + cos * down - sin * right]
    }

    /// The upright box about the turned ellipse that fills a box of the photo.
    pub fn corners(&self, [x0, y0, x1, y1]: [f32; 4]) -> [f32; 4] {
        let (sin, cos) = self.angle.sin_cos();
        let [x, y] = self.point([0.5 * (x0 + x1), 0.5 * (y0 + y1)]);
        let (across, down) = (0.5 * self.scale * (x1 - x0), 0.5 * self.scale * (y1 - y0));
        let (half_width, half_height) = ((across * cos).hypot(down * sin), (across * sin).hypot(down * cos));
        [x - half_width, y - half_height, x + half_width, y + half_height]
    }
}

/// Draws the patches of a crop of `side` pixels.
pub fn draw<'a>(corpus: &'a Corpus, views: &ViewConfig, side: usize, random: &mut StdRng) -> Vec<Patch<'a>> {
    let whole = [0, 0, side, side];
    let Layouts { single, close, mosaic, crowd, cut_outs } = views.layouts;
    let draw = Draw { corpus, views };
    match weighted(&[single, close, mosaic, crowd, cut_outs], random) {
        0 => vec![draw.part(whole, random)],
        1 => vec![draw.close(whole, random)],
        2 => {
            let [x, y] = std::array::from_fn(|_| random.random_range(side * 3 / 10..=side * 7 / 10));
            let rectangles = [[0, 0, x, y], [x, 0, side, y], [0, y, x, side], [x, y, side, side]];
            rectangles.map(|into| draw.part(into, random)).into()
        }
        3 => {
            let tiles = random.random_range(views.tiles[0]..=views.tiles[1]);
            let edge = |tile: usize| side * tile / tiles;
            let places = (0..tiles).flat_map(|row| (0..tiles).map(move |column| (row, column)));
            let tile = |(row, column)| [edge(column), edge(row), edge(column + 1), edge(row + 1)];
            places.map(|place| draw.tile(tile(place), TILE, random)).collect()
        }
        _ => {
            let columns = random.random_range(1..=3);
            let cell = side / columns;
            let places = (0..columns * columns).map(|place| [place % columns * cell, place / columns * cell]);
            let cut_out = |corner: [usize; 2]| {
                let side = random.random_range(cell / 3..=cell);
                let [x, y] = corner.map(|edge| edge + random.random_range(0..=cell - side));
                draw.tile([x, y, x + side, y + side], CUT_OUT, random)
            };
            places.map(cut_out).collect()
        }
    }
}

struct Draw<'a, 'b> {
    corpus: &'a Corpus,
    views: &'b ViewConfig,
}

impl<'a> Draw<'a, '_> {
    /// A part of a photo that is large enough to fill a crop.
    fn part(&self, into: [usize; 4], random: &mut StdRng) -> Patch<'a> {
        let photo = self.large(random);
        let (width, height) = photo.levels[0].dimensions();
        let side = width.min(height) as f64 * log_uniform(self.views.crop, random);
        // Most parts are about a face, which may be anywhere in the crop; others are from anywhere.
        let face = pick(&photo.faces, random).filter(|_| random.random_bool(0.7));
        let from = match face {
            Some(face) => centre(face.corners),
            None => [width, height].map(|side| random.random_range(0.0..=side as f32)),
        };
        let to = std::array::from_fn(|axis| random.random_range(into[axis] as f32..=into[axis + 2] as f32));
        self.patch(photo, into, longer(into) / side, from, to, random)
    }

    /// A face that fills the crop or is larger. A photo without a face gives a part of it.
    fn close(&self, into: [usize; 4], random: &mut StdRng) -> Patch<'a> {
        let photo = self.large(random);
        let Some(face) = pick(&photo.faces, random) else { return self.part(into, random) };
        let [x0, y0, x1, y1] = face.corners;
        let side = f64::from((x1 - x0).max(y1 - y0)) * log_uniform(self.views.close, random);
        let to = around(into, 0.2, random);
        self.patch(photo, into, longer(into) / side, centre(face.corners), to, random)
    }

    /// A face, or a piece of a photo without faces. `sides` is the range of the tile's side, in units of the face's.
    fn tile(&self, into: [usize; 4], sides: [f64; 2], random: &mut StdRng) -> Patch<'a> {
        let photo = self.any(random);
        let (width, height) = photo.levels[0].dimensions();
        let to = around(into, 0.15, random);
        let Some(face) = pick(&photo.faces, random) else {
            let from = [width, height].map(|side| random.random_range(0.0..=side as f32));
            let side = f64::from(width.min(height)) * log_uniform(self.views.crop, random);
            return self.patch(photo, into, longer(into) / side, from, to, random);
        };
        let [x0, y0, x1, y1] = face.corners;
        let side = f64::from((x1 - x0).max(y1 - y0)) * log_uniform(sides, random);
        self.patch(photo, into, longer(into) / side, centre(face.corners), to, random)
    }

    fn patch(
        &self,
        photo: &'a TrainingPhoto,
        into: [usize; 4],
        scale: f64,
        from: [f32; 2],
        to: [f32; 2],
        random: &mut StdRng,
    ) -> Patch<'a> {
        let most =
            if random.random_bool(self.views.turned) { self.views.turn } else { self.views.turn / 6.0 };
        let angle = random.random_range(-most..=most).to_radians() as f32;
        let (scale, mirrored) = (scale.min(self.views.enlarge) as f32, random.random_bool(0.5));
        Patch { photo, into, map: Similarity { scale, angle, mirrored, from, to } }
    }

    fn any(&self, random: &mut StdRng) -> &'a TrainingPhoto {
        let weights: Vec<f64> = self.corpus.groups.iter().map(|group| group.weight).collect();
        let photos = &self.corpus.groups[weighted(&weights, random)].photos;
        &photos[random.random_range(0..photos.len())]
    }

    /// A photo that is large enough to fill a crop, or any one if there seem to be none.
    fn large(&self, random: &mut StdRng) -> &'a TrainingPhoto {
        let is_large =
            |photo: &&TrainingPhoto| photo.levels[0].width().min(photo.levels[0].height()) >= LARGE;
        let found = (0..30).map(|_| self.any(random)).find(is_large);
        found.unwrap_or_else(|| self.any(random))
    }
}

/// Index of a weight, each as often as it weighs.
fn weighted(weights: &[f64], random: &mut StdRng) -> usize {
    let mut place = random.random_range(0.0..weights.iter().sum::<f64>());
    for (index, weight) in weights.iter().enumerate() {
        if place < *weight {
            return index;
        }
        place -= weight;
    }
    weights.len() - 1
}

fn pick<'a, T>(from: &'a [T], random: &mut StdRng) -> Option<&'a T> {
    (!from.is_empty()).then(|| &from[random.random_range(0..from.len())])
}

fn log_uniform([least, most]: [f64; 2], random: &mut StdRng) -> f64 {
    random.random_range(least.ln()..=most.ln()).exp()
}

fn centre([x0, y0, x1, y1]: [f32; 4]) -> [f32; 2] {
    [0.5 * (x0 + x1), 0.5 * (y0 + y1)]
}

fn longer([x0, y0, x1, y1]: [usize; 4]) -> f64 {
    (x1 - x0).max(y1 - y0) as f64
}

/// A point at most this fraction of the sides away from the centre of a rectangle.
fn around(into: [usize; 4], away: f32, random: &mut StdRng) -> [f32; 2] {
    std::array::from_fn(|axis| {
        let (start, side) = (into[axis] as f32, (into[axis + 2] - into[axis]) as f32);
        start + side * (0.5 + random.random_range(-away..=away))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn a_similarity_and_its_inverse() {
        let mut random = StdRng::seed_from_u64(1);
        for _ in 0..200 {
            let mut number = |range: f32| random.random_range(-range..=range);
            let map = Similarity {
                scale: 1.5 + number(1.0),
                angle: number(1.0),
                mirrored: number(1.0) > 0.0,
                from: [number(50.0), number(50.0)],
                to: [number(50.0), number(50.0)],
            };
            let point = [number(100.0), number(100.0)];
            let again = map.inverse(map.point(point));
            assert!((0..2).all(|axis| (again[axis] - point[axis]).abs() < 1e-2), "{map:?}");
        }
    }

    #[test]
    fn boxes_are_turned_as_ellipses() {
        let quarter = std::f32::consts::FRAC_PI_2;
        let map = Similarity { scale: 2.0, angle: quarter, mirrored: true, from: [10.0, 10.0], to: [0.0; 2] };
        let corners = map.corners([0.0, 5.0, 20.0, 15.0]);
        let expected = [-10.0, -20.0, 10.0, 20.0];
        assert!(corners.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-3), "{corners:?}");
        // Mirrored, what was to the right is to the left, and a quarter turn clockwise puts it above.
        let [x, y] = map.point([15.0, 10.0]);
        assert!(x.abs() < 1e-3 && (y + 10.0).abs() < 1e-3, "{x} {y}");
    }

    #[test]
    fn weights_are_frequencies() {
        let mut random = StdRng::seed_from_u64(2);
        let mut counts = [0; 3];
        (0..3000).for_each(|_| counts[weighted(&[1.0, 0.0, 2.0], &mut random)] += 1);
        assert!(counts[1] == 0 && (900..1100).contains(&counts[0]), "{counts:?}");
    }
}
