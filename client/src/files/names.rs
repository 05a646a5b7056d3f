//! Names from the network, made safe to create in a directory.

use super::hazard::Hazard;

/// The longest name [`safe_name`] and [`numbered_name`] give, in bytes: what most file systems allow.
const NAME_BYTES: usize = 255;

/// The longest extension that survives the cutting of a long name, in bytes with its dot.
const EXTENSION_BYTES: usize = 32;

/// What stands in for a name of which nothing is left.
const UNNAMED: &str = "unnamed";

/// What stands in for a character that cannot stay.
const REPLACEMENT: char = '_';

/// Characters that Windows and its file systems forbid.
const FORBIDDEN_ON_WINDOWS: [char; 7] = ['<', '>', ':', '"', '|', '?', '*'];

/// Turns a name from the network into one path component that can be created here and looks like what it is.
///
/// A name stays as it was, in any script, but for this:
/// - only what follows the last `/` or `\` counts;
/// - each [`Hazard`] becomes `_`, and on Windows each of `< > : " | ? *`;
/// - a leading dot becomes `_`, since nothing arrives hidden; spaces at the start go, dots and spaces at the end too;
/// - a name that Windows reserves (`CON`, `nul.txt`, …) gets a `_` in front;
/// - what is longer than 255 bytes is cut, with the extension kept;
/// - nothing left gives `unnamed`.
///
/// ```
/// # use lkstream::files::safe_name;
/// assert_eq!(safe_name("../../etc/passwd"), "passwd");
/// assert_eq!(safe_name("a\u{202e}gpj.exe"), "a_gpj.exe");
/// assert_eq!(safe_name(".."), "unnamed");
/// ```
pub fn safe_name(name: &str) -> String {
    let last = name
        .rsplit(['/', '\\'])
        .find(|part| !part.is_empty())
        .unwrap_or_default();
    if last.chars().all(|c| c == '.' || c.is_whitespace()) {
        return UNNAMED.to_owned();
    }
    let mut safe: String = Hazard::all(last.trim_start())
        .map(|(c, hazard)| {
            let is_forbidden = cfg!(windows) && FORBIDDEN_ON_WINDOWS.contains(&c);
            if hazard.is_some() || is_forbidden {
                REPLACEMENT
            } else {
                c
            }
        })
        .collect();
    if safe.starts_with('.') {
        safe.replace_range(..1, "_");
    }
    let mut safe = cut_and_trim(&safe);
    if is_reserved(&safe) {
        safe.insert(0, REPLACEMENT);
        safe = cut_and_trim(&safe);
    }
    if safe.is_empty() {
        return UNNAMED.to_owned();
    }
    safe
}

fn cut_and_trim(name: &str) -> String {
    let mut name = cut(name, NAME_BYTES, "");
    // Windows takes dots and spaces away from the end of a name.
    let kept = name.trim_end_matches(|c: char| c == '.' || c.is_whitespace());
    name.truncate(kept.len());
    name
}

/// A safe name for file systems that take less than the system does, such as FAT; `None` where it is the same.
pub(super) fn portable_name(safe: &str) -> Option<String> {
    safe.contains(FORBIDDEN_ON_WINDOWS)
        .then(|| safe.replace(FORBIDDEN_ON_WINDOWS, "_"))
}

/// The `number`th alternative of a name: `report.pdf` gives `report (1).pdf`; number 0 is the name itself. Like it, it
/// has at most 255 bytes.
pub fn numbered_name(name: &str, number: u32) -> String {
    if number == 0 {
        return name.to_owned();
    }
    cut(name, NAME_BYTES, &format!(" ({number})"))
}

/// Splits at the last dot that is not the first character; the extension keeps its dot.
fn split(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(at) if at > 0 => name.split_at(at),
        _ => (name, ""),
    }
}

/// Puts `suffix` before the extension, and cuts to `limit` bytes at a character, keeping a short extension.
fn cut(name: &str, limit: usize, suffix: &str) -> String {
    let (stem, extension) = split(name);
    if name.len() + suffix.len() <= limit {
        return format!("{stem}{suffix}{extension}");
    }
    let (stem, extension) = if extension.len() <= EXTENSION_BYTES {
        (stem, extension)
    } else {
        (name, "")
    };
    let mut end = (limit - suffix.len() - extension.len()).min(stem.len());
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    // What joins or changes a character makes no sense at the end.
    let stem = stem[..end].trim_end_matches(['\u{200c}', '\u{200d}', '\u{fe0f}']);
    format!("{stem}{suffix}{extension}")
}

/// Device names of Windows, with any extension and in any case.
fn is_reserved(name: &str) -> bool {
    let stem = name
        .split('.')
        .next()
        .unwrap_or_default()
        .trim_end()
        .to_ascii_uppercase();
    if matches!(
        stem.as_str(),
        "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$"
    ) {
        return true;
    }
    let Some(number) = stem
        .strip_prefix("COM")
        .or_else(|| stem.strip_prefix("LPT"))
    else {
        return false;
    };
    let mut digits = number.chars();
    matches!(
        (digits.next(), digits.next()),
        (Some('0'..='9' | '¹' | '²' | '³'), None)
    )
}
