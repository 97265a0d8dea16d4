//! Reads a stream of binary PPM pictures (`P6`), which is how ffmpeg hands frames over: each says its own size.

use std::io::{self, BufRead};

use image::RgbImage;

/// What the next picture of a stream is.
#[derive(Debug)]
pub(crate) enum Picture {
    /// A complete picture.
    Whole(RgbImage),
    /// A picture of more pixels than allowed. The stream cannot be read further.
    TooLarge { width: u32, height: u32 },
    /// The stream ends, perhaps within a picture.
    End,
}

/// Reads the next picture.
///
/// # Errors
/// If the stream cannot be read, or is no PPM.
pub(crate) fn read(input: &mut impl BufRead, max_pixels: u64) -> io::Result<Picture> {
    let Some(magic) = word(input)? else { return Ok(Picture::End) };
    if magic != "P6" {
        return Err(io::Error::other(format!("expected a PPM picture, found {magic:?}")));
    }
    let mut numbers = [0_u32; 3];
    for number in &mut numbers {
        let Some(text) = word(input)? else { return Ok(Picture::End) };
        *number =
            text.parse().map_err(|_| io::Error::other(format!("{text:?} in the header of a PPM picture")))?;
    }
    let [width, height, depth] = numbers;
    if depth != 255 {
        return Err(io::Error::other(format!("a PPM picture of {depth} levels")));
    }
    let pixels = u64::from(width) * u64::from(height);
    if pixels > max_pixels {
        return Ok(Picture::TooLarge { width, height });
    }
    let mut bytes = vec![0; pixels as usize * 3];
    match input.read_exact(&mut bytes) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Picture::End),
        Err(error) => Err(error),
        Ok(()) => Ok(RgbImage::from_raw(width, height, bytes).map_or(Picture::End, Picture::Whole)),
    }
}

/// A word of the header, and the one white space after it. `None` at the end of the stream.
fn word(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut word = String::new();
    let mut byte = [0];
    while word.len() < 20 {
        match input.read_exact(&mut byte) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        if byte[0].is_ascii_whitespace() {
            return Ok(Some(word));
        }
        word.push(char::from(byte[0]));
    }
    Err(io::Error::other("the header of a PPM picture is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_follow_each_other_and_a_cut_one_is_the_end() {
        let mut stream = b"P6\n2 1\n255\n\x01\x02\x03\x04\x05\x06P6\n1 1\n255\n\x0a ".as_slice();
        let Picture::Whole(first) = read(&mut stream, 10).unwrap() else { panic!("no picture") };
        assert_eq!((first.dimensions(), first.get_pixel(1, 0).0), ((2, 1), [4, 5, 6]));
        assert!(matches!(read(&mut stream, 10).unwrap(), Picture::End));
        assert!(matches!(read(&mut stream, 10).unwrap(), Picture::End));
        let large = read(&mut b"P6\n9 9\n255\n".as_slice(), 80).unwrap();
        assert!(matches!(large, Picture::TooLarge { width: 9, height: 9 }));
        assert!(read(&mut b"P5\n9 9\n255\n".as_slice(), 80).is_err());
        assert!(read(&mut b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".as_slice(), 80).is_err());
    }
}
