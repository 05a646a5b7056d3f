//! Cuts received text on character boundaries and joins characters that chunks split.

use bytes::{Buf, Bytes};

/// Where the text of one stream stands between two pieces.
#[derive(Debug, Default)]
pub(crate) struct Text {
    /// The start of a character whose rest has not come.
    carry: [u8; 4],
    carried: usize,
    /// Bytes of valid text passed on.
    offset: u64,
    /// The bytes at `offset` are known to be no text.
    broken: bool,
}

/// The text is not UTF-8 after so many valid bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotText {
    pub(crate) offset: u64,
}

impl Text {
    /// Takes valid text off the front of `content`, at most `max` bytes (at least 4).
    ///
    /// `None` means that all of `content` was taken but no whole character came of it.
    pub(crate) fn cut(
        &mut self,
        content: &mut Bytes,
        max: usize,
    ) -> Result<Option<Bytes>, NotText> {
        if self.broken {
            return Err(self.not_text());
        }
        if self.carried > 0 {
            return self.complete(content);
        }
        let window = content.len().min(max);
        let valid = match std::str::from_utf8(&content[..window]) {
            Ok(_) => window,
            Err(error) => error.valid_up_to(),
        };
        let piece = content.split_to(valid);
        self.offset += valid as u64;
        self.carry_rest(content);
        if !piece.is_empty() {
            return Ok(Some(piece));
        }
        if content.is_empty() {
            Ok(None)
        } else {
            Err(self.fail())
        }
    }

    /// The start of a character that waits for its rest, and how many bytes of it there are.
    pub(crate) fn carry(&self) -> ([u8; 4], usize) {
        (self.carry, self.carried)
    }

    /// The carry was put in front of what is cut next.
    pub(crate) fn drop_carry(&mut self) {
        self.carried = 0;
    }

    /// What follows is no text: every further cut says so.
    pub(crate) fn fail(&mut self) -> NotText {
        self.broken = true;
        self.not_text()
    }

    /// Says whether the text may end here.
    pub(crate) fn end(&self) -> Result<(), NotText> {
        if self.carried > 0 || self.broken {
            Err(self.not_text())
        } else {
            Ok(())
        }
    }

    fn not_text(&self) -> NotText {
        NotText {
            offset: self.offset,
        }
    }

    /// Completes the carried character from the front of `content`.
    fn complete(&mut self, content: &mut Bytes) -> Result<Option<Bytes>, NotText> {
        while self.carried < self.carry.len() && content.has_remaining() {
            self.carry[self.carried] = content.get_u8();
            self.carried += 1;
            match std::str::from_utf8(&self.carry[..self.carried]) {
                Ok(_) => {
                    let piece = Bytes::copy_from_slice(&self.carry[..self.carried]);
                    self.offset += self.carried as u64;
                    self.carried = 0;
                    return Ok(Some(piece));
                }
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(self.fail()),
            }
        }
        Ok(None)
    }

    /// Takes what is left of `content` if it is only the start of a character.
    fn carry_rest(&mut self, content: &mut Bytes) {
        let rest = content.len();
        if rest == 0 || rest >= self.carry.len() {
            return;
        }
        if let Err(error) = std::str::from_utf8(content)
            && error.valid_up_to() == 0
            && error.error_len().is_none()
        {
            self.carry[..rest].copy_from_slice(content);
            self.carried = rest;
            content.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn pieces(chunks: &[&[u8]], max: usize) -> Result<Vec<Bytes>, NotText> {
        let mut text = Text::default();
        let mut pieces = Vec::new();
        for chunk in chunks {
            let mut content = Bytes::copy_from_slice(chunk);
            while !content.is_empty() {
                pieces.extend(text.cut(&mut content, max)?);
            }
        }
        text.end()?;
        Ok(pieces)
    }

    #[test]
    fn a_character_split_over_four_chunks_is_joined() {
        let euro = "\u{1f600}".as_bytes();
        let chunks: Vec<&[u8]> = vec![b"a", &euro[..1], &euro[1..2], &euro[2..3], &euro[3..], b"b"];
        let pieces = pieces(&chunks, 64).unwrap();
        assert_eq!(pieces.concat(), "a\u{1f600}b".as_bytes());
    }

    #[test]
    fn the_error_names_the_offset_of_the_first_bad_byte() {
        assert_eq!(pieces(&[b"ab\xffcd"], 64), Err(NotText { offset: 2 }));
        assert_eq!(pieces(&[b"abc\xe2", b"x"], 64), Err(NotText { offset: 3 }));
        assert_eq!(pieces(&[b"abc", b"\x80"], 64), Err(NotText { offset: 3 }));
        assert_eq!(pieces(&[b"abc\xe2\x82"], 64), Err(NotText { offset: 3 }));
    }

    proptest! {
        #[test]
        fn any_cut_of_any_text_comes_out_whole(
            whole in "\\PC{0,200}",
            cuts in prop::collection::vec(0usize..800, 0..8),
            max in 4usize..40,
        ) {
            let bytes = whole.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            let pieces = pieces(&chunks, max).unwrap();
            for piece in &pieces {
                prop_assert!(!piece.is_empty() && piece.len() <= max);
                prop_assert!(std::str::from_utf8(piece).is_ok());
            }
            prop_assert_eq!(pieces.concat(), bytes);
        }

        #[test]
        fn any_bytes_come_out_as_the_standard_library_judges_them(
            bytes in prop::collection::vec(prop_oneof![Just(b'a'), any::<u8>(), 0xc0u8..0xf8, 0x80u8..0xc0], 0..60),
            cut in 0usize..60,
        ) {
            let cut = cut.min(bytes.len());
            let judged = pieces(&[&bytes[..cut], &bytes[cut..]], 16);
            match std::str::from_utf8(&bytes) {
                Ok(_) => prop_assert_eq!(judged.unwrap().concat(), bytes),
                Err(error) => {
                    prop_assert_eq!(judged, Err(NotText { offset: error.valid_up_to() as u64 }));
                }
            }
        }
    }
}
