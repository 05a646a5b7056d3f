//! The text of a name: inside the value where it is short, shared where it is long.

use std::sync::Arc;

use arrayvec::ArrayString;

/// Bytes kept without an allocation: a UUID has 36, a sid 15, and up to 40 the value is no larger.
const SHORT_BYTES: usize = 40;

#[derive(Clone)]
pub(super) enum Text {
    Short(ArrayString<SHORT_BYTES>),
    Long(Arc<str>),
}

impl Text {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Text::Short(text) => text,
            Text::Long(text) => text,
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        match ArrayString::from(text) {
            Ok(short) => Text::Short(short),
            Err(_) => Text::Long(Arc::from(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_fits_in_and_costs_three_words_more_than_a_string() {
        assert_eq!(size_of::<Text>(), 48);
        for len in 0..=100 {
            let text = "é".repeat(len / 2) + &"x".repeat(len % 2);
            let kept = Text::from(text.as_str());
            assert_eq!(kept.as_str(), text);
            assert_eq!(matches!(kept, Text::Short(_)), len <= SHORT_BYTES);
        }
    }
}
