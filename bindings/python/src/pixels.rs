//! Pixels of numpy arrays and PIL images as upright RGB.

use image::RgbImage;
use numpy::ndarray::ArrayViewD;
use numpy::{
    PyArrayDescrMethods as _, PyArrayDyn, PyArrayMethods as _, PyUntypedArray, PyUntypedArrayMethods as _,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// The pixels of a numpy array; `None` if `image` is none.
///
/// # Shapes
/// `[height, width]` or `[height, width, 1]` is grey, `[height, width, 3]` is RGB, or BGR with `bgr`, and
/// `[height, width, 4]` has alpha, which is laid over white. Strides may be any.
///
/// # Errors
/// `TypeError` if the values are not uint8, and `ValueError` if the shape is another one.
pub(crate) fn of_array(image: &Bound<'_, PyAny>, bgr: bool) -> PyResult<Option<RgbImage>> {
    let Ok(array) = image.cast::<PyUntypedArray>() else { return Ok(None) };
    let shape = array.shape().to_vec();
    let Ok(bytes) = array.cast::<PyArrayDyn<u8>>() else {
        let kind = array.dtype();
        let name: String = kind.getattr(intern!(image.py(), "name"))?.extract()?;
        return Err(PyTypeError::new_err(format!(
            "the array has the type {name}, but pixels must be uint8, from 0 to 255; convert it {}",
            match kind.kind() {
                b'f' =>
                    "with `(image * 255).round().astype(\"uint8\")` if its values are from 0 to 1, or with \
                         `image.round().astype(\"uint8\")` if they are from 0 to 255",
                b'b' => "with `image.astype(\"uint8\") * 255`",
                b'u' if name == "uint16" =>
                    "with `(image // 257).astype(\"uint8\")` if its values go up to 65535",
                _ => "with `image.astype(\"uint8\")` if its values are from 0 to 255",
            }
        )));
    };
    let size = |side: usize| u32::try_from(side).ok().filter(|side| *side > 0);
    let (width, height) = match shape.as_slice() {
        [height, width] | [height, width, 1 | 3 | 4] => (size(*width), size(*height)),
        [3 | 4, _, _] => {
            return Err(PyValueError::new_err(format!(
                "the array has the shape {shape:?}: its colours come first; give `image.transpose(1, 2, 0)`"
            )));
        }
        _ => (None, None),
    };
    let (Some(width), Some(height)) = (width, height) else {
        return Err(PyValueError::new_err(format!(
            "the array has the shape {shape:?}; a picture has the shape [height, width], or [height, width, channels] with 1, \
             3 or 4 channels"
        )));
    };
    let bytes = bytes.try_readonly().map_err(|error| PyValueError::new_err(error.to_string()))?;
    let channels = shape.get(2).copied().unwrap_or(1);
    Ok(RgbImage::from_raw(width, height, rgb(&bytes.as_array(), channels, bgr)))
}

/// Three values for each pixel of a picture with 1, 3 or 4 channels.
fn rgb(picture: &ArrayViewD<'_, u8>, channels: usize, bgr: bool) -> Vec<u8> {
    // A contiguous array is not copied here.
    let values = picture.as_standard_layout();
    let values = values.as_slice().unwrap_or_default();
    let ordered = |[red, green, blue]: [u8; 3]| if bgr { [blue, green, red] } else { [red, green, blue] };
    match channels {
        1 => values.iter().flat_map(|&level| [level; 3]).collect(),
        3 if !bgr => values.to_vec(),
        3 => values.as_chunks::<3>().0.iter().flat_map(|&pixel| ordered(pixel)).collect(),
        _ => {
            values.as_chunks::<4>().0.iter().flat_map(|&pixel| ordered(fer_image::on_white(pixel))).collect()
        }
    }
}

/// The pixels of a PIL image, turned upright by its EXIF orientation as a file is; `None` if `image` is none.
///
/// # Errors
/// `TypeError` if its values are not from 0 to 255, and Pillow's own errors, such as those of a file that is cut off.
pub(crate) fn of_pil(image: &Bound<'_, PyAny>) -> PyResult<Option<RgbImage>> {
    let py = image.py();
    // Nothing can be a PIL image before PIL is imported.
    let modules = py.import(intern!(py, "sys"))?.getattr(intern!(py, "modules"))?;
    let pil = modules.call_method1(intern!(py, "get"), ("PIL.Image",))?;
    if pil.is_none() || !image.is_instance(&pil.getattr(intern!(py, "Image"))?)? {
        return Ok(None);
    }
    let upright =
        py.import(intern!(py, "PIL.ImageOps"))?.call_method1(intern!(py, "exif_transpose"), (image,))?;
    let mode: String = upright.getattr(intern!(py, "mode"))?.extract()?;
    let (width, height): (u32, u32) = upright.getattr(intern!(py, "size"))?.extract()?;
    if mode == "F" || mode.starts_with('I') {
        return Err(PyTypeError::new_err(format!(
            "the PIL image has the mode {mode}, whose values do not end at 255; give its path, or scale it to the mode L or RGB"
        )));
    }
    let transparent = upright.getattr(intern!(py, "info"))?.contains(intern!(py, "transparency"))?;
    let alpha = transparent || matches!(mode.as_str(), "RGBA" | "RGBa" | "LA" | "La" | "PA");
    let converted = upright.call_method1(intern!(py, "convert"), (if alpha { "RGBA" } else { "RGB" },))?;
    let values = converted.call_method0(intern!(py, "tobytes"))?;
    let values = values.cast::<PyBytes>()?.as_bytes();
    let pixels = match alpha {
        true => values.as_chunks::<4>().0.iter().flat_map(|&pixel| fer_image::on_white(pixel)).collect(),
        false => values.to_vec(),
    };
    match RgbImage::from_raw(width, height, pixels) {
        Some(pixels) if width > 0 && height > 0 => Ok(Some(pixels)),
        _ => Err(PyValueError::new_err("the PIL image has no pixels")),
    }
}
