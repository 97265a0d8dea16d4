//! Labelled pictures in folders: `train/<emotion>/…` and `test/<emotion>/…`.

use std::path::{Path, PathBuf};

use fer_image::{BoundingBox, CropRule, DecodeLimits, FaceCrop, FaceLocation};
use fer_model::Emotion;

use crate::data::dataset_error::DatasetError;
use crate::data::sample::{PIXELS, SIDE, Usage};

/// Reads a picture that shows only a face, as serving does (see [`FaceCrop::extract`]), in 48×48 grey levels. The error names
/// the file.
pub(crate) fn read_face(path: &Path) -> Result<Box<[u8; PIXELS]>, String> {
    let picture = fer_image::read(path, DecodeLimits::default()).map_err(|error| error.to_string())?;
    let (width, height) = (picture.width() as f32, picture.height() as f32);
    let bounding_box = BoundingBox { x: 0.0, y: 0.0, width, height };
    let location = FaceLocation { bounding_box, eyes: [[0.0; 2]; 2] };
    let face = FaceCrop::extract(&picture, &location, CropRule::WHOLE, fer_image::Luma::default(), [SIDE; 2])
        .ok_or_else(|| format!("{}: it has no pixels", path.display()))?;
    let mut pixels = Box::new([0; PIXELS]);
    pixels.copy_from_slice(face.luma());
    Ok(pixels)
}

/// A picture whose folder says what it shows.
pub struct Labelled {
    /// The split that the picture belongs to.
    pub usage: Usage,
    /// The emotion that it shows.
    pub label: Emotion,
    /// The file.
    pub path: PathBuf,
}

/// Lists the pictures of `train/<emotion>/…` and of `test/<emotion>/…`, which are PrivateTest.
///
/// # Errors
/// If a folder cannot be listed, or if there are no pictures.
pub fn labelled_pictures(root: &Path) -> Result<Vec<Labelled>, DatasetError> {
    let mut found = Vec::new();
    for (name, usage) in [("train", Usage::Training), ("test", Usage::PrivateTest)] {
        for label in Emotion::ALL {
            let folder = root.join(name).join(label.name());
            match pictures(&folder) {
                Ok(files) => found.extend(files.into_iter().map(|path| Labelled { usage, label, path })),
                // A data set may lack a split or an emotion.
                Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {}
                Err(cause) => return Err(DatasetError::Folder { path: folder, cause }),
            }
        }
    }
    if found.is_empty() {
        return Err(DatasetError::EmptyFolder(root.to_owned()));
    }
    Ok(found)
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
