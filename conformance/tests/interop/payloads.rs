//! What crosses the rooms: random bytes, text of every UTF-8 length, and nothing at all.

use std::path::{Path, PathBuf};

use lkstream_conformance::process::Failure;
use serde_json::Value;

/// A payload as a file, with its digest.
pub(crate) struct Payload {
    pub(crate) path: PathBuf,
    pub(crate) data: Vec<u8>,
    pub(crate) sha256: String,
}

impl Payload {
    pub(crate) fn new(folder: &Path, name: &str, data: Vec<u8>) -> Result<Self, Failure> {
        let path = folder.join(name);
        std::fs::write(&path, &data)?;
        Ok(Self {
            path,
            sha256: sha256(&data),
            data,
        })
    }

    pub(crate) fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// `KIND:PATH`, as the scripted peers take it.
    pub(crate) fn by(&self, kind: &str) -> String {
        format!("{kind}:{}", self.path())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.data).unwrap()
    }
}

/// The payloads of issue 3, in a folder that is removed with them.
pub(crate) struct Payloads {
    pub(crate) folder: tempfile::TempDir,
    /// 5 MB of random bytes.
    pub(crate) random: Payload,
    /// 200 kB of text with characters of 1 to 4 bytes at every offset.
    pub(crate) mixed: Payload,
    pub(crate) empty_text: Payload,
    pub(crate) empty_file: Payload,
}

impl Payloads {
    pub(crate) fn new() -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let seed = std::process::id().into();
        println!("payload seed {seed}");
        Ok(Self {
            random: Payload::new(folder.path(), "random.bin", random(seed, 5_000_000))?,
            mixed: Payload::new(
                folder.path(),
                "mixed.txt",
                mixed(seed, 200_000).into_bytes(),
            )?,
            empty_text: Payload::new(folder.path(), "empty.txt", Vec::new())?,
            empty_file: Payload::new(folder.path(), "empty.bin", Vec::new())?,
            folder,
        })
    }
}

/// xorshift64*, enough to be incompressible.
fn random(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut data = Vec::with_capacity(bytes + 8);
    while data.len() < bytes {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        data.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    data.truncate(bytes);
    data
}

fn mixed(seed: u64, bytes: usize) -> String {
    let alphabet = ['a', 'z', '\n', 'é', 'ß', '漢', '字', '€', '😀', '🦀'];
    let mut text = String::with_capacity(bytes + 4);
    for byte in random(seed, bytes) {
        if text.len() >= bytes {
            break;
        }
        text.push(alphabet[usize::from(byte) % alphabet.len()]);
    }
    text
}

/// SHA-256 in lower-case hexadecimal.
pub(crate) fn sha256(data: &[u8]) -> String {
    hexadecimal(ring::digest::digest(&ring::digest::SHA256, data).as_ref())
}

/// Lower-case hexadecimal.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Checks one `stream` event of a scripted receiver against what was sent.
#[track_caller]
pub(crate) fn assert_received(stream: &Value, kind: &str, sender: &str, payload: &Payload) {
    assert_eq!(stream["kind"], kind, "{stream}");
    assert_eq!(stream["sender"], sender, "{stream}");
    assert_eq!(stream["bytes"], payload.data.len(), "{stream}");
    assert_eq!(stream["sha256"], payload.sha256, "{stream}");
}

/// Checks a stored file.
#[track_caller]
pub(crate) fn assert_file(path: &Path, payload: &Payload) {
    let stored = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(stored.len(), payload.data.len(), "{}", path.display());
    assert_eq!(sha256(&stored), payload.sha256, "{}", path.display());
}

/// Checks the standard output of `recv` after one text; it ends every text with a line break.
#[track_caller]
pub(crate) fn assert_text(output: &[u8], payload: &Payload) {
    let text = match output.strip_suffix(b"\n") {
        Some(text) if !payload.data.ends_with(b"\n") => text,
        _ => output,
    };
    assert_eq!(text.len(), payload.data.len());
    assert_eq!(sha256(text), payload.sha256);
}
