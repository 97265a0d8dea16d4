//! Labelled pictures in folders: `train/<emotion>/…` and `test/<emotion>/…`.

use std::path::{Path, PathBuf};

use fer_emotion::Emotion;
use fer_image::{BoundingBox, CropRule, DecodeLimits, FaceCrop, FaceLocation};

use crate::error::DatasetError;
use crate::sample::{PIXELS, SIDE};
use crate::usage::Usage;

/// A picture whose folder says what it shows.
#[derive(Debug, PartialEq, Eq)]
pub struct Labelled {
    /// The split that the picture belongs to.
    pub usage: Usage,
    /// Whether `usage` is only assumed: a picture of `test` whose name does not say which test it belongs to.
    pub usage_assumed: bool,
    /// The emotion that it shows.
    pub label: Emotion,
    /// The file.
    pub path: PathBuf,
}

/// Lists the pictures of `train/<emotion>/…` and of `test/<emotion>/…`, sorted by split folder, emotion and name.
///
/// The name of a test picture says which test it belongs to, as in `PublicTest_1.jpg` and `PrivateTest_2.jpg`. One whose name
/// does not say it is PrivateTest, so that no epoch is chosen by it.
///
/// # Errors
/// If a folder cannot be listed, or if there are no pictures.
pub fn labelled_pictures(root: &Path) -> Result<Vec<Labelled>, DatasetError> {
    let mut found = Vec::new();
    // A data set may lack a split or an emotion.
    for split in ["train", "test"] {
        found.extend(pictures_by_emotion(&root.join(split))?.into_iter().map(|(label, path)| {
            let named = if split == "train" { Some(Usage::Training) } else { named_test(&path) };
            let usage = named.unwrap_or(Usage::PrivateTest);
            Labelled { usage, usage_assumed: named.is_none(), label, path }
        }));
    }
    if found.is_empty() {
        return Err(DatasetError::EmptyFolder(root.to_owned()));
    }
    Ok(found)
}

/// Lists the pictures of `<emotion>/…`, sorted by emotion and name. Emotions without a folder have no pictures.
///
/// # Errors
/// If a folder cannot be listed.
pub fn pictures_by_emotion(root: &Path) -> Result<Vec<(Emotion, PathBuf)>, DatasetError> {
    let mut found = Vec::new();
    for label in Emotion::ALL {
        let folder = root.join(label.name());
        match pictures(&folder) {
            Ok(files) => found.extend(files.into_iter().map(|path| (label, path))),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {}
            Err(cause) => return Err(DatasetError::Folder { path: folder, cause }),
        }
    }
    Ok(found)
}

/// The test that a file name begins with.
fn named_test(path: &Path) -> Option<Usage> {
    let name = path.file_name()?.to_string_lossy();
    [Usage::PublicTest, Usage::PrivateTest].into_iter().find(|usage| name.starts_with(usage.name()))
}

/// Lists the pictures (jpg, jpeg, png, webp) of a folder in the order of their names.
///
/// # Errors
/// If the folder cannot be listed.
pub fn pictures(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.retain(|file| {
        let extension = file.extension().and_then(|e| e.to_str()).unwrap_or_default();
        ["jpg", "jpeg", "png", "webp"].iter().any(|known| extension.eq_ignore_ascii_case(known))
    });
    files.sort();
    Ok(files)
}

/// Reads a picture that shows only a face, as serving does (see [`FaceCrop::extract`]), in 48×48 grey levels.
///
/// # Errors
/// If the picture cannot be read, or if it has no pixels. The error names the file.
pub fn read_face(path: &Path) -> Result<Box<[u8; PIXELS]>, DatasetError> {
    let picture = fer_image::read(path, DecodeLimits::default())?;
    let (width, height) = (picture.width() as f32, picture.height() as f32);
    let bounding_box = BoundingBox { x: 0.0, y: 0.0, width, height };
    let location = FaceLocation { bounding_box, eyes: [[0.0; 2]; 2] };
    let face = FaceCrop::extract(&picture, &location, CropRule::WHOLE, fer_image::Luma::default(), [SIDE; 2])
        .ok_or_else(|| DatasetError::NoPixels(path.to_owned()))?;
    let mut pixels = Box::new([0; PIXELS]);
    pixels.copy_from_slice(face.luma());
    Ok(pixels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_which_test_a_picture_belongs_to() {
        let folder = tempfile::tempdir().unwrap();
        let names = [
            "test/sad/3.jpg",
            "test/sad/PrivateTest_2.jpg",
            "test/sad/PublicTest_1.JPG",
            "test/sad/notes.txt",
            "train/happy/PublicTest_4.png",
        ];
        for name in names {
            let file = folder.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "").unwrap();
        }
        let labelled = |name, label, usage, usage_assumed| Labelled {
            usage,
            usage_assumed,
            label,
            path: folder.path().join(name),
        };
        assert_eq!(
            labelled_pictures(folder.path()).unwrap(),
            [
                labelled(names[4], Emotion::Happy, Usage::Training, false),
                labelled(names[0], Emotion::Sad, Usage::PrivateTest, true),
                labelled(names[1], Emotion::Sad, Usage::PrivateTest, false),
                labelled(names[2], Emotion::Sad, Usage::PublicTest, false),
            ]
        );
    }

    #[test]
    fn faces_are_read_at_any_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("face.png");
        for side in [20, 48, 96] {
            image::GrayImage::from_pixel(side, side, image::Luma([90])).save(&path).unwrap();
            assert_eq!(*read_face(&path).unwrap(), [90; PIXELS]);
        }
        std::fs::write(&path, "none").unwrap();
        assert!(read_face(&path).unwrap_err().to_string().contains("face.png"));
    }
}
