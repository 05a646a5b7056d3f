//! Times on the command line: plain seconds, or `90s`, `5m`, `6h`.

use std::time::Duration;

/// The longest time that can be given: a hundred years, which no clock refuses to be set to.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// Reads `3`, `0.5`, `90s`, `1h 30m`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let duration = any(text.trim())?;
    if duration > LONGEST {
        return Err(format!("`{text}` is longer than 100 years"));
    }
    Ok(duration)
}

fn any(text: &str) -> Result<Duration, String> {
    if text.chars().all(|c| c.is_ascii_digit() || c == '.') && !text.is_empty() {
        let seconds: f64 = text
            .parse()
            .map_err(|_| format!("`{text}` is not a number of seconds"))?;
        return Duration::try_from_secs_f64(seconds)
            .map_err(|_| format!("`{text}` is longer than 100 years"));
    }
    humantime::parse_duration(text).map_err(|e| format!("{e}; write seconds, or 90s, 5m, 6h"))
}

/// Writes `500ms`, `3s`, `6h`.
pub(crate) fn words(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_seconds_and_units() {
        for (text, millis) in [
            ("0", 0),
            ("3", 3000),
            ("0.5", 500),
            ("90s", 90_000),
            ("6h", 21_600_000),
            ("1h 30m", 5_400_000),
            ("100y", 3_155_760_000_000),
        ] {
            assert_eq!(
                parse(text).unwrap(),
                Duration::from_millis(millis),
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for text in [
            "",
            ".",
            "1.2.3",
            "-1",
            "soon",
            "6x",
            "99999999999999999999999",
            "1e999",
            "18446744073709551615",
            "3200000001",
            "101y",
            "99999999999999y",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
