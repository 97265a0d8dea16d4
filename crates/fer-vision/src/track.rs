//! Follows faces from frame to frame of a video and smooths their emotions over time.
//!
//! A face is matched to the predicted position of a track (constant velocity), so that two faces that cross keep their ids. A
//! track that is lost is kept for a moment. When the whole picture changes, as at a cut, all tracks end.

use std::time::Duration;

use fer_image::BoundingBox;
use fer_model::Probabilities;
use image::RgbImage;

use crate::FaceAnalysis;

/// How long a lost track is kept.
const PATIENCE: Duration = Duration::from_millis(1000);

/// How long a track is kept if no frame came in between, so that a slow server does not end all tracks.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Longest time over which a track's velocity is extrapolated.
const HORIZON: Duration = Duration::from_millis(500);

/// Time constant of the smoothing: after this time the smoothed emotions are 63 % closer to the observed ones.
const SMOOTHING: Duration = Duration::from_millis(400);

/// Largest distance between the predicted and the observed centre of a face, as a fraction of its size.
const REACH: f32 = 0.8;

/// Largest ratio between the sizes of one face in two frames.
const GROWTH: f32 = 1.7;

/// Weight of the latest movement in a track's velocity, 0 to 1.
const INERTIA: f32 = 0.5;

/// Mean difference of two thumbnails' grey levels (0 to 255) above which there was a cut.
const CUT: f32 = 42.0;

/// A frame reduced to 16 by 12 grey levels.
#[derive(Clone, Debug, PartialEq)]
pub struct Thumbnail([f32; COLUMNS * ROWS]);

const COLUMNS: usize = 16;
const ROWS: usize = 12;

/// Number of pixels that are sampled along each side of a cell.
const SAMPLES: usize = 4;

impl Thumbnail {
    /// Reduces a picture of any size.
    pub fn of(picture: &RgbImage) -> Self {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let mut cells = [0.0; COLUMNS * ROWS];
        if width == 0 || height == 0 {
            return Self(cells);
        }
        for (cell, level) in cells.iter_mut().enumerate() {
            let (column, row) = (cell % COLUMNS, cell / COLUMNS);
            for sample in 0..SAMPLES * SAMPLES {
                let (across, down) = (column * SAMPLES + sample % SAMPLES, row * SAMPLES + sample / SAMPLES);
                let x = across * width / (COLUMNS * SAMPLES);
                let y = down * height / (ROWS * SAMPLES);
                let [red, green, blue] = picture.get_pixel(x as u32, y as u32).0.map(f32::from);
                *level += (0.299 * red + 0.587 * green + 0.114 * blue) / (SAMPLES * SAMPLES) as f32;
            }
        }
        Self(cells)
    }

    fn difference(&self, other: &Self) -> f32 {
        let sum: f32 = self.0.iter().zip(&other.0).map(|(a, b)| (a - b).abs()).sum();
        sum / self.0.len() as f32
    }
}

/// The track of a face.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrackedFace {
    /// Number of the track. It stays the same while the face is followed; a tracker never uses a number twice.
    pub track_id: u64,
    /// The face's emotions, smoothed over time.
    pub emotions: Probabilities,
}

/// Follows the faces of one video.
#[derive(Debug, Default)]
pub struct Tracker {
    tracks: Vec<Track>,
    given: u64,
    /// The previous frame and its time.
    last: Option<(Thumbnail, Duration)>,
}

#[derive(Debug)]
struct Track {
    id: u64,
    bounding_box: BoundingBox,
    /// Velocity of the centre in pixels per second.
    velocity: [f32; 2],
    seen: Duration,
    emotions: Probabilities,
}

impl Tracker {
    /// Takes the faces of the next frame and returns the track of each, in the same order.
    ///
    /// `now` is the frame's time since the start of the video.
    pub fn update(&mut self, now: Duration, picture: &Thumbnail, faces: &[FaceAnalysis]) -> Vec<TrackedFace> {
        if let Some((last, time)) = &self.last {
            let cut = last.difference(picture) > CUT;
            self.tracks.retain(|track| {
                let patience = if track.seen == *time { LONGEST_PAUSE } else { PATIENCE };
                !cut && now.saturating_sub(track.seen) <= patience
            });
        }
        let mut owners = self.matches(now, faces);
        for (face, owner) in faces.iter().zip(&mut owners) {
            match *owner {
                Some(track) => self.tracks[track].follow(now, face),
                None => {
                    self.given += 1;
                    *owner = Some(self.tracks.len());
                    self.tracks.push(Track {
                        id: self.given,
                        bounding_box: face.face.bounding_box,
                        velocity: [0.0; 2],
                        seen: now,
                        emotions: face.emotions,
                    });
                }
            }
        }
        self.last = Some((picture.clone(), now));
        let tracked = |track: usize| {
            let Track { id, emotions, .. } = self.tracks[track];
            TrackedFace { track_id: id, emotions }
        };
        owners.into_iter().flatten().map(tracked).collect()
    }

    /// The track that each face continues. The nearest pairs are matched first, and each track and face at most once.
    fn matches(&self, now: Duration, faces: &[FaceAnalysis]) -> Vec<Option<usize>> {
        let mut pairs = Vec::new();
        for (track, followed) in self.tracks.iter().enumerate() {
            for (face, found) in faces.iter().enumerate() {
                pairs.extend(
                    followed.distance(now, &found.face.bounding_box).map(|distance| (distance, track, face)),
                );
            }
        }
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (mut owners, mut taken) = (vec![None; faces.len()], vec![false; self.tracks.len()]);
        for (_, track, face) in pairs {
            if owners[face].is_none() && !taken[track] {
                owners[face] = Some(track);
                taken[track] = true;
            }
        }
        owners
    }
}

impl Track {
    /// Distance of a face from this track's predicted position, as a fraction of the track's size. `None` if the face cannot be
    /// the same one.
    fn distance(&self, now: Duration, bounding_box: &BoundingBox) -> Option<f32> {
        let (old, new) = (size(&self.bounding_box), size(bounding_box));
        let ratio = old.max(new) / old.min(new).max(f32::MIN_POSITIVE);
        let seconds = now.saturating_sub(self.seen).min(HORIZON).as_secs_f32();
        let ([x, y], [dx, dy]) = (centre(&self.bounding_box), self.velocity);
        let [at_x, at_y] = centre(bounding_box);
        let off = (at_x - x - dx * seconds).hypot(at_y - y - dy * seconds) / old.max(f32::MIN_POSITIVE);
        (off <= REACH && ratio <= GROWTH).then_some(off + 0.3 * (ratio - 1.0))
    }

    fn follow(&mut self, now: Duration, found: &FaceAnalysis) {
        let seconds = now.saturating_sub(self.seen).as_secs_f32();
        let (before, after) = (centre(&self.bounding_box), centre(&found.face.bounding_box));
        if seconds > 0.0 {
            for ((velocity, before), after) in self.velocity.iter_mut().zip(before).zip(after) {
                *velocity += INERTIA * ((after - before) / seconds - *velocity);
            }
        }
        let share = 1.0 - (-seconds / SMOOTHING.as_secs_f32()).exp();
        self.emotions = self.emotions.towards(&found.emotions, share);
        self.bounding_box = found.face.bounding_box;
        self.seen = now;
    }
}

fn centre(bounding_box: &BoundingBox) -> [f32; 2] {
    [bounding_box.x + 0.5 * bounding_box.width, bounding_box.y + 0.5 * bounding_box.height]
}

fn size(bounding_box: &BoundingBox) -> f32 {
    bounding_box.width.max(bounding_box.height)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fer_detect::{Face, Landmarks};
    use fer_model::Emotion;
    use image::Rgb;

    fn face(x: f32, y: f32, logit: f32) -> FaceAnalysis {
        let bounding_box = BoundingBox { x, y, width: 100.0, height: 120.0 };
        let emotions =
            Probabilities::from_logits(&[logit, 0.0], &[Emotion::Happy, Emotion::Sad], 1.0).unwrap();
        FaceAnalysis {
            face: Face { bounding_box, confidence: 1.0, landmarks: Landmarks::default() },
            emotions,
        }
    }

    fn picture(grey: u8) -> Thumbnail {
        Thumbnail::of(&RgbImage::from_fn(160, 120, |x, _| Rgb([grey.wrapping_add((x / 8) as u8); 3])))
    }

    /// Track ids of a frame; frames are a tenth of a second apart.
    fn ids(tracker: &mut Tracker, tenth: u64, grey: u8, faces: &[FaceAnalysis]) -> Vec<u64> {
        let found = tracker.update(Duration::from_millis(100 * tenth), &picture(grey), faces);
        found.iter().map(|face| face.track_id).collect()
    }

    #[test]
    fn two_that_cross_keep_their_ids() {
        let mut tracker = Tracker::default();
        for step in 0..20_u64 {
            let x = 20.0 * step as f32;
            // One face moves to the right and one to the left. In the middle, one hides the other.
            let (right, left) = (face(x, 50.0, 3.0), face(380.0 - x, 60.0, -3.0));
            let seen = match step {
                9 | 10 => vec![right],
                _ if step % 2 == 0 => vec![right, left],
                _ => vec![left, right],
            };
            let expected: &[u64] = match step {
                9 | 10 => &[1],
                _ if step % 2 == 0 => &[1, 2],
                _ => &[2, 1],
            };
            assert_eq!(ids(&mut tracker, step, 90, &seen), expected, "step {step}");
        }
    }

    #[test]
    fn one_lost_for_a_moment_is_the_same_and_after_long_another() {
        let mut tracker = Tracker::default();
        let here = [face(100.0, 50.0, 0.0)];
        assert_eq!(ids(&mut tracker, 0, 90, &here), [1]);
        assert!(ids(&mut tracker, 4, 90, &[]).is_empty());
        assert_eq!(ids(&mut tracker, 8, 90, &here), [1]);
        assert!(ids(&mut tracker, 20, 90, &[]).is_empty());
        assert_eq!(ids(&mut tracker, 30, 90, &here), [2]);
        // A face at another position is another person.
        assert_eq!(ids(&mut tracker, 31, 90, &[face(400.0, 50.0, 0.0)]), [3]);
    }

    #[test]
    fn few_frames_lose_nobody_who_stays() {
        let mut tracker = Tracker::default();
        for (frame, x) in [100.0, 130.0, 110.0, 90.0, 120.0].into_iter().enumerate() {
            assert_eq!(ids(&mut tracker, 17 * frame as u64, 90, &[face(x, 50.0, 0.0)]), [1]);
        }
        assert_eq!(ids(&mut tracker, 200, 90, &[face(120.0, 50.0, 0.0)]), [2], "after a long pause, another");
    }

    #[test]
    fn a_cut_ends_all_tracks_and_a_lamp_does_not() {
        let mut tracker = Tracker::default();
        let here = [face(100.0, 50.0, 0.0)];
        assert_eq!(ids(&mut tracker, 0, 90, &here), [1]);
        assert_eq!(ids(&mut tracker, 1, 110, &here), [1]);
        assert_eq!(ids(&mut tracker, 2, 200, &here), [2]);
    }

    #[test]
    fn emotions_follow_in_time_not_in_frames() {
        let smoothed = |every: u64| {
            let mut tracker = Tracker::default();
            ids(&mut tracker, 0, 90, &[face(0.0, 0.0, -5.0)]);
            let frames = (1..=8).filter(|tenth| tenth % every == 0);
            let last = frames.map(|tenth| {
                tracker.update(Duration::from_millis(100 * tenth), &picture(90), &[face(0.0, 0.0, 5.0)])
            });
            last.last().unwrap()[0].emotions.get(Emotion::Happy)
        };
        let (often, seldom) = (smoothed(1), smoothed(4));
        assert!((often - seldom).abs() < 0.01 && (0.8..0.9).contains(&often), "{often} {seldom}");
    }
}
