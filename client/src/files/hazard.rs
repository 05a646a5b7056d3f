//! Which characters of a name are dangerous for a terminal or for the eye.
//!
//! Names come from others, in any script. A zero-width joiner is part of Persian and Hindi words and of many emoji, but is
//! invisible between Latin letters; so each character is judged together with its neighbours.

/// Why a character of others should not be shown, or get into a name, as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hazard {
    /// It drives a terminal or ends a line: a control character, or a separator of lines or paragraphs.
    Control,
    /// It turns the reading direction of what follows, so that `gpj.exe` reads `exe.jpg`: embeddings, overrides and
    /// isolates. The marks of right-to-left scripts, which move nothing but themselves, are none.
    Direction,
    /// It cannot be seen where it stands, so that two names look the same.
    Invisible,
}

/// The start of the first script that is written from right to left, and joins its letters. Latin, Greek, Cyrillic and
/// Armenian, which are before it, use no joiners.
const JOINING_SCRIPTS: char = '\u{590}';
const NON_JOINER: char = '\u{200c}';
const JOINER: char = '\u{200d}';
/// The first ideographs.
const IDEOGRAPHS: char = '\u{2e80}';
/// The black flag; with tags after it the flag of a region, as of Scotland.
const FLAG: char = '\u{1f3f4}';
const TAGS: std::ops::RangeInclusive<char> = '\u{e0020}'..='\u{e007f}';
/// The frame of a keycap.
const KEYCAP: char = '\u{20e3}';

impl Hazard {
    /// The hazard of a character whatever stands beside it. What is invisible may be at its place, though.
    fn alone(c: char) -> Option<Hazard> {
        match c {
            '\u{2028}' | '\u{2029}' => Some(Hazard::Control),
            c if c.is_control() => Some(Hazard::Control),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => Some(Hazard::Direction),
            // In the order of their numbers: soft hyphen, grapheme joiner, fillers of Hangul, vowels of Khmer without a
            // form, variants and separator of Mongolian, space without width and joiners, operators that are not
            // written, filler of Hangul, variants, byte order mark, filler of Hangul, annotations, controls of shorthand
            // and of music, tags and variants.
            '\u{ad}'
            | '\u{34f}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200d}'
            | '\u{2060}'..='\u{2065}'
            | '\u{206a}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}' => Some(Hazard::Invisible),
            _ => None,
        }
    }

    /// The hazard of a character between two others; of both none at the ends of the text.
    fn of(before: Option<char>, c: char, after: Option<char>) -> Option<Hazard> {
        let hazard = Hazard::alone(c)?;
        let joins =
            |c: char| c >= JOINING_SCRIPTS && !c.is_whitespace() && Hazard::alone(c).is_none();
        let is_at_its_place = match c {
            JOINER | NON_JOINER => before.is_some_and(joins) && after.is_some_and(joins),
            '\u{fe00}'..='\u{fe0f}' => {
                after == Some(KEYCAP) || before.is_some_and(|c| !c.is_ascii())
            }
            '\u{180b}'..='\u{180d}' | '\u{180f}' => {
                before.is_some_and(|c| ('\u{1820}'..='\u{18aa}').contains(&c))
            }
            '\u{e0100}'..='\u{e01ef}' => before.is_some_and(|c| c >= IDEOGRAPHS),
            c if TAGS.contains(&c) => {
                before.is_some_and(|before| before == FLAG || TAGS.contains(&before))
            }
            _ => false,
        };
        (!is_at_its_place).then_some(hazard)
    }

    /// The characters of a text, each with its hazard.
    ///
    /// ```
    /// # use lkstream::files::Hazard;
    /// let hazards = |text: &str| Hazard::all(text).filter_map(|(_, hazard)| hazard).collect::<Vec<_>>();
    /// assert_eq!(hazards("a\u{200d}b"), [Hazard::Invisible]);
    /// assert_eq!(hazards("\u{1f469}\u{200d}\u{1f680}"), []);
    /// ```
    pub fn all(text: &str) -> impl Iterator<Item = (char, Option<Hazard>)> + '_ {
        let mut before = None;
        let mut rest = text.chars().peekable();
        std::iter::from_fn(move || {
            let c = rest.next()?;
            let hazard = Hazard::of(before, c, rest.peek().copied());
            // A variant leaves the joining to its base.
            if !matches!(c, '\u{fe00}'..='\u{fe0f}') || before.is_none() {
                before = hazard.is_none().then_some(c);
            }
            Some((c, hazard))
        })
    }
}

/// Text of others for one line on a terminal: each [`Hazard`] becomes U+FFFD, the rest stays as it is.
///
/// ```
/// # use lkstream::files::printable;
/// assert_eq!(printable("a\u{1b}[2Jb\u{202e}c"), "a\u{fffd}[2Jb\u{fffd}c");
/// ```
pub fn printable(text: &str) -> String {
    Hazard::all(text)
        .map(|(c, hazard)| if hazard.is_some() { '\u{fffd}' } else { c })
        .collect()
}
