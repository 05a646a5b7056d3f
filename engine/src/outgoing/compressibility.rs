//! Decides from MIME type and first bytes whether a payload is worth compressing.

use super::deflate::Deflater;
use crate::limits::{COMPRESS_FROM_BYTES, SAMPLE_BYTES};

/// Bytes looked at for their distribution.
const SPREAD_BYTES: usize = 4096;

/// Types whose content is compressed already, whole or as a prefix that ends in `/` or `.`.
const COMPRESSED_TYPES: [&str; 36] = [
    "application/epub+zip",
    "application/gzip",
    "application/java-archive",
    "application/vnd.android.package-archive",
    "application/vnd.oasis.opendocument.",
    "application/vnd.openxmlformats-officedocument.",
    "application/vnd.rar",
    "application/x-7z-compressed",
    "application/x-bzip",
    "application/x-bzip2",
    "application/x-gzip",
    "application/x-rar-compressed",
    "application/x-xz",
    "application/x-zip-compressed",
    "application/x-zstd",
    "application/zip",
    "application/zstd",
    "audio/aac",
    "audio/flac",
    "audio/mp4",
    "audio/mpeg",
    "audio/ogg",
    "audio/opus",
    "audio/webm",
    "font/woff",
    "font/woff2",
    "image/avif",
    "image/gif",
    "image/heic",
    "image/heif",
    "image/jp2",
    "image/jpeg",
    "image/jxl",
    "image/png",
    "image/webp",
    "video/",
];

/// What compressed files start with: gzip, zip, zstd, xz, bzip2, 7z, rar, lz4, PNG, JPEG, GIF,
/// Matroska, Ogg, FLAC, MP3, WOFF.
const COMPRESSED_STARTS: [&[u8]; 18] = [
    b"\x1f\x8b",
    b"PK\x03\x04",
    b"\x28\xb5\x2f\xfd",
    b"\xfd7zXZ\x00",
    b"BZh",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!\x1a\x07",
    b"\x04\x22\x4d\x18",
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"GIF8",
    b"\x1a\x45\xdf\xa3",
    b"OggS",
    b"fLaC",
    b"ID3",
    b"\xff\xfb",
    b"wOFF",
    b"wOF2",
];

/// Whether a payload with this type and these first bytes may shrink, told without compressing.
pub(super) fn may_shrink(mime_type: &str, start: &[u8]) -> bool {
    start.len() >= COMPRESS_FROM_BYTES
        && !is_compressed_type(mime_type)
        && !is_compressed_start(start)
        && !is_spread(start)
}

/// Whether a sample of the first bytes loses an eighth or more of its size.
pub(super) fn sample_shrinks(start: &[u8], deflater: &mut Deflater) -> bool {
    let sample = &start[..start.len().min(SAMPLE_BYTES)];
    deflater
        .trial(sample)
        .is_some_and(|size| size <= sample.len() / 8 * 7)
}

fn is_compressed_type(mime_type: &str) -> bool {
    let essence = mime_type.split(';').next().unwrap_or_default().trim();
    COMPRESSED_TYPES.iter().any(|known| {
        if known.ends_with(['/', '.']) {
            let start = essence.get(..known.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(known))
        } else {
            essence.eq_ignore_ascii_case(known)
        }
    })
}

fn is_compressed_start(start: &[u8]) -> bool {
    COMPRESSED_STARTS
        .iter()
        .any(|magic| start.starts_with(magic))
        // Containers that name their format later: MP4 and its kin, WebP.
        || start.get(4..8) == Some(b"ftyp")
        || (start.starts_with(b"RIFF") && start.get(8..12) == Some(b"WEBP"))
}

/// Whether the byte values are spread so evenly that no code for them could be shorter, as of
/// encrypted, compressed and random data: two bytes drawn from it are equal less than once in
/// 2^7.8 times. A block that repeats within the range is not spread evenly.
fn is_spread(start: &[u8]) -> bool {
    let looked_at = &start[..start.len().min(SPREAD_BYTES)];
    let mut counts = [0u32; 256];
    for byte in looked_at {
        counts[usize::from(*byte)] += 1;
    }
    let pairs: u64 = counts
        .iter()
        .map(|count| u64::from(*count) * u64::from(*count))
        .sum();
    let n = looked_at.len() as u64;
    // A perfect source has n + n²/256 on average; 2^7.8 is 223.
    pairs < n + n * n / 223
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 88_172_645_463_325_252_u64;
        (0..len)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 32) as u8
            })
            .collect()
    }

    #[test]
    fn types_and_first_bytes_tell() {
        let text = b"line of a log 12345 GET /index.html 200\n".repeat(100);
        assert!(may_shrink("text/plain", &text));
        assert!(may_shrink("application/octet-stream", &text));
        assert!(may_shrink("image/svg+xml", &text));
        assert!(may_shrink("image/bmp", &text));
        assert!(may_shrink("nonsense", &text));
        assert!(may_shrink("", &text));
        assert!(!may_shrink("IMAGE/PNG", &text));
        assert!(!may_shrink("image/jpeg; q=1", &text));
        assert!(!may_shrink("video/mp4", &text));
        assert!(!may_shrink("application/zip", &text));
        assert!(!may_shrink("text/plain", &text[..511]));
        assert!(may_shrink("text/plain", &text[..512]));
        for start in COMPRESSED_STARTS {
            let mut file = text.clone();
            file[..start.len()].copy_from_slice(start);
            assert!(!may_shrink("application/octet-stream", &file));
        }
        let mut file = text.clone();
        file[4..8].copy_from_slice(b"ftyp");
        assert!(!may_shrink("application/octet-stream", &file));
    }

    #[test]
    fn evenly_spread_bytes_are_not_compressed() {
        for len in [512, 1000, 4096, 100_000] {
            assert!(is_spread(&noise(len)), "{len}");
        }
        assert!(!is_spread(&noise(512).repeat(8)), "a repeated block");
        let letters: Vec<u8> = noise(4096).iter().map(|byte| b'a' + byte % 26).collect();
        assert!(!is_spread(&letters));
        let words: Vec<u8> = noise(4096).iter().map(|byte| byte & 0x7f).collect();
        assert!(!is_spread(&words));
    }

    #[test]
    fn a_sample_decides() {
        let mut deflater = Deflater::new();
        let letters: Vec<u8> = noise(50_000).iter().map(|byte| b'a' + byte % 26).collect();
        assert!(sample_shrinks(&letters, &mut deflater));
        assert!(!sample_shrinks(&noise(50_000), &mut deflater));
        assert!(sample_shrinks(&letters[..600], &mut deflater));
    }
}
