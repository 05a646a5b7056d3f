//! Sizes in bytes: `250000`, `5GB` or `512 MiB` on the command line, `1.5 kB` in messages.

const DECIMAL: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];

/// Reads `250000`, `5GB`, `1.5 GB`, `512MiB`; units in any case.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim().to_ascii_lowercase();
    let factor = match unit.as_str() {
        "" | "b" => Some(1),
        unit => DECIMAL.iter().zip(1..).find_map(|(name, power)| {
            let name = name.to_ascii_lowercase();
            let binary = format!("{}ib", name.get(..1).unwrap_or_default());
            match unit {
                unit if unit == name => Some(1000_u64.pow(power)),
                unit if unit == binary => Some(1024_u64.pow(power)),
                _ => None,
            }
        }),
    };
    let Some(factor) = factor else {
        return Err(format!(
            "`{text}` is no size; write bytes, or 250kB, 5GB, 512MiB"
        ));
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole
            .checked_mul(factor)
            .ok_or_else(|| format!("`{text}` is too large"));
    }
    let number: f64 = number
        .parse()
        .map_err(|_| format!("`{text}` is no size; write bytes, or 250kB, 5GB, 512MiB"))?;
    let bytes = number * factor as f64;
    if bytes >= u64::MAX as f64 {
        return Err(format!("`{text}` is too large"));
    }
    Ok(bytes as u64)
}

/// Writes `1 byte`, `950 bytes`, `1.5 kB`, `256 MB`.
pub(crate) fn words(bytes: u64) -> String {
    if bytes < 1000 {
        return if bytes == 1 {
            "1 byte".to_owned()
        } else {
            format!("{bytes} bytes")
        };
    }
    let mut value = bytes as f64;
    let mut unit = "";
    for next in DECIMAL {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    let short = format!("{value:.1}");
    match short.strip_suffix(".0") {
        None if value < 9.95 => format!("{short} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_bytes_and_units() {
        for (text, bytes) in [
            ("0", 0),
            ("250000", 250_000),
            ("5GB", 5_000_000_000),
            ("5 gb", 5_000_000_000),
            ("1.5 kB", 1500),
            ("512MiB", 512 << 20),
            ("15 EiB", 15 << 60),
        ] {
            assert_eq!(parse(text).unwrap(), bytes, "{text}");
        }
    }

    #[test]
    fn sizes_read_well() {
        for (bytes, wanted) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (999, "999 bytes"),
            (1000, "1 kB"),
            (1500, "1.5 kB"),
            (15_000, "15 kB"),
            (999_999, "1 MB"),
            (256_000_000, "256 MB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(words(bytes), wanted, "{bytes}");
        }
    }

    #[test]
    fn refuses_what_is_no_size() {
        for text in [
            "",
            "GB",
            "5 apples",
            "-1",
            "1.2.3",
            "99999999999999999999",
            "18446744073.8 GB",
            "16EiB",
            "NaN",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
