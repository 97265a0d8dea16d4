//! Recognises video files by their first bytes, whatever their names are.

/// Brands of ISO media files that are photos.
const PHOTO_BRANDS: [&[u8]; 8] = [b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis"];

/// Whether a file that begins with these bytes is a video: MP4, MOV, 3GP, Matroska, WebM, AVI, MPEG, FLV, ASF, Ogg or an
/// animated GIF. The first 400 bytes are enough.
pub fn is_video(start: &[u8]) -> bool {
    let at = |offset: usize, bytes: &[u8]| start.get(offset..).is_some_and(|rest| rest.starts_with(bytes));
    let iso = at(4, b"ftyp") && !PHOTO_BRANDS.iter().any(|brand| at(8, brand));
    let old_mov = [b"moov", b"mdat", b"wide", b"free", b"skip"].iter().any(|kind| at(4, *kind));
    let transport = at(0, &[0x47]) && at(188, &[0x47]) || at(4, &[0x47]) && at(196, &[0x47]);
    let others: [&[u8]; 8] = [
        &[0x1a, 0x45, 0xdf, 0xa3],
        &[0x00, 0x00, 0x01, 0xba],
        &[0x00, 0x00, 0x01, 0xb3],
        b"FLV\x01",
        &[0x30, 0x26, 0xb2, 0x75, 0x8e, 0x66, 0xcf, 0x11],
        b"OggS",
        b"GIF87a",
        b"GIF89a",
    ];
    iso || old_mov || transport || at(0, b"RIFF") && at(8, b"AVI ") || others.iter().any(|magic| at(0, magic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn videos_are_recognised_and_photos_are_not() {
        assert!(is_video(b"\0\0\0\x20ftypisom\0\0\x02\0"));
        assert!(is_video(b"\0\0\0\x14ftypqt  "));
        assert!(is_video(b"\x1a\x45\xdf\xa3\x01"));
        assert!(is_video(b"RIFF\0\0\0\0AVI LIST"));
        assert!(is_video(b"GIF89a\x01"));
        let mut packets = [0_u8; 400];
        (packets[0], packets[188], packets[376]) = (0x47, 0x47, 0x47);
        assert!(is_video(&packets));
        for photo in [
            b"\xff\xd8\xff\xe0".as_slice(),
            b"\x89PNG\r\n\x1a\n",
            b"RIFF\0\0\0\0WEBPVP8 ",
            b"\0\0\0\x18ftypheic",
            b"GET / HTTP/1.1",
            b"",
        ] {
            assert!(!is_video(photo), "{photo:?}");
        }
    }
}
