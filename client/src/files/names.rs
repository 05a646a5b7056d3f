//! Names from the network, made safe to create in a directory.

/// The longest name [`safe_name`] gives, in bytes. Most file systems allow 255; the rest is for numbering.
const NAME_BYTES: usize = 200;

/// The longest extension that survives the cutting of a long name, in bytes with its dot.
const EXTENSION_BYTES: usize = 32;

/// What stands in for a name of which nothing is left.
const UNNAMED: &str = "unnamed";

/// Turns a name from the network into one path component that can be created on any common system.
///
/// Only what follows the last `/` or `\` counts. Control characters, characters that turn the reading direction,
/// and the characters Windows forbids become `_`, a leading dot too (nothing arrives hidden); trailing dots and
/// spaces go; names Windows reserves (`CON`, `nul.txt`, …) get a `_` in front; longer than 200 bytes is cut with
/// the extension kept. Nothing left gives `unnamed`.
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
    let mut safe: String = last
        .trim_start()
        .chars()
        .map(|c| if is_unsafe(c) { '_' } else { c })
        .collect();
    if safe.starts_with('.') {
        safe.replace_range(..1, "_");
    }
    let mut safe = cut(&safe);
    safe.truncate(safe.trim_end_matches(['.', ' ']).len());
    if safe.is_empty() {
        return UNNAMED.to_owned();
    }
    if is_reserved(&safe) {
        safe.insert(0, '_');
    }
    safe
}

/// The `number`th alternative of a name: `report.pdf` gives `report (1).pdf`; number 0 is the name itself.
pub fn numbered_name(name: &str, number: u32) -> String {
    if number == 0 {
        return name.to_owned();
    }
    let (stem, extension) = split(name);
    format!("{stem} ({number}){extension}")
}

/// Splits at the last dot that is not the first character; the extension keeps its dot.
fn split(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(at) if at > 0 => name.split_at(at),
        _ => (name, ""),
    }
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '<' | '>' | ':' | '"' | '|' | '?' | '*' | '/' | '\\')
        // Marks, embeddings, overrides and isolates of the reading direction; line separators; byte order mark.
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Cuts to [`NAME_BYTES`] at a character, keeping a short extension.
fn cut(name: &str) -> String {
    if name.len() <= NAME_BYTES {
        return name.to_owned();
    }
    let (stem, extension) = match split(name) {
        (stem, extension) if extension.len() <= EXTENSION_BYTES => (stem, extension),
        _ => (name, ""),
    };
    let mut end = (NAME_BYTES - extension.len()).min(stem.len());
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{extension}", &stem[..end])
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
