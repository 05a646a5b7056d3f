//! How the line looks at a width: measured in columns, and in ASCII but for names, so that no terminal takes it for wider.

use unicode_width::UnicodeWidthStr;

use crate::size;

/// Columns of a bar.
const BAR: std::ops::RangeInclusive<usize> = 8..=30;
/// Columns that a name has before anything else goes.
const LABEL: usize = 10;
const CUT: &str = "..";

/// What the line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) label: String,
    pub(super) bytes: u64,
    /// Bytes in all, if they are known.
    pub(super) total: Option<u64>,
    /// Bytes a second, once there are any to measure.
    pub(super) rate: Option<u64>,
}

/// The line, in fewer columns than these.
pub(super) fn line(columns: usize, view: &View) -> String {
    // The last column stays free: some terminals wrap when it is written.
    let room = columns.saturating_sub(1);
    let rate = view.rate.map(|rate| format!("{}/s", size::words(rate)));
    let Some(total) = view.total else {
        let ends = [Some(size::words(view.bytes)), rate];
        return fitted(
            room,
            view,
            None,
            &ends.into_iter().flatten().collect::<Vec<_>>(),
        );
    };
    let percent = if total == 0 {
        100
    } else {
        u128::from(view.bytes) * 100 / u128::from(total)
    };
    let left = view.rate.filter(|rate| *rate > 0).map(|rate| {
        format!(
            "{} left",
            time(total.saturating_sub(view.bytes).div_ceil(rate))
        )
    });
    let amount = format!("{} of {}", size::words(view.bytes), size::words(total));
    // The most important first.
    let ends = [Some(format!("{percent:>3}%")), left, Some(amount), rate];
    let ends: Vec<String> = ends.into_iter().flatten().collect();
    let share = (view.bytes as f64 / total.max(1) as f64).min(1.0);
    fitted(room, view, Some(share), &ends)
}

/// Name, bar and as many of the ends as there is room for.
fn fitted(room: usize, view: &View, share: Option<f64>, ends: &[String]) -> String {
    let label_width = view.label.width();
    let smallest = label_width.min(LABEL) + share.map_or(0, |_| 1 + BAR.start());
    let mut shown = ends.len();
    let width = |shown: usize| {
        ends[..shown]
            .iter()
            .map(|end| 2 + end.width())
            .sum::<usize>()
    };
    while shown > 1 && smallest + width(shown) > room {
        shown -= 1;
    }
    let left = room.saturating_sub(width(shown));
    let mut line = if left < smallest {
        cut(&view.label, left)
    } else {
        // The name takes half of what the smallest leaves, the bar the rest.
        let label = label_width.min(label_width.min(LABEL) + (left - smallest) / 2);
        let mut line = cut(&view.label, label);
        if let Some(share) = share {
            let columns = (left - line.width() - 1).min(*BAR.end());
            line.push(' ');
            line.push_str(&bar(columns, share));
        }
        line
    };
    for end in &ends[..shown] {
        line.push_str("  ");
        line.push_str(end);
    }
    cut(&line, room)
}

/// `[=====>    ]`
fn bar(columns: usize, share: f64) -> String {
    let inside = columns.saturating_sub(2);
    let full = (inside as f64 * share) as usize;
    let head = if full < inside { ">" } else { "" };
    format!("[{:<inside$}]", "=".repeat(full) + head)
}

/// The start of a text that fits.
fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let columns = columns.saturating_sub(CUT.len());
    let mut end = 0;
    for (at, c) in text.char_indices() {
        let next = at + c.len_utf8();
        if text[..next].width() > columns {
            break;
        }
        end = next;
    }
    let cut = if columns == 0 { "" } else { CUT };
    format!("{}{cut}", &text[..end])
}

/// `12 s`, `3 min`, `2 h 5 min`.
fn time(seconds: u64) -> String {
    match seconds {
        s if s < 100 => format!("{s} s"),
        s if s < 100 * 60 => format!("{} min", s.div_ceil(60)),
        s if s < 100 * 3600 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        s => format!("{} days", s / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(label: &str, bytes: u64, total: Option<u64>, rate: Option<u64>) -> View {
        View {
            label: label.to_owned(),
            bytes,
            total,
            rate,
        }
    }

    #[test]
    fn the_important_comes_first() {
        let report = view("report.pdf", 12_000_000, Some(40_000_000), Some(3_100_000));
        for (columns, wanted) in [
            (
                90,
                "report.pdf [========>                   ]   30%  10 s left  12 MB of 40 MB  3.1 MB/s",
            ),
            (
                60,
                "report.pdf [===>         ]   30%  10 s left  12 MB of 40 MB",
            ),
            (40, "report.pdf [==>      ]   30%  10 s left"),
            (30, "report.pdf [===>      ]   30%"),
            (14, "repor..   30%"),
            (1, ""),
            (0, ""),
        ] {
            assert_eq!(line(columns, &report), wanted, "{columns}");
        }
        // Without a length there is nothing to compare with.
        let input = view("stdin", 12_000_000, None, Some(3_100_000));
        assert_eq!(line(40, &input), "stdin  12 MB  3.1 MB/s");
    }

    #[test]
    fn it_fits_whatever_it_says() {
        let labels = [
            "",
            "a",
            "3 of 600 files",
            "\u{5831}\u{544a}\u{66f8}\u{5831}\u{544a}\u{66f8}\u{5831}\u{544a}\u{66f8}.pdf",
            "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}.jpg",
            "a-name-that-is-longer-than-most-names-of-files-are-and-goes-on-and-on.tar.gz",
        ];
        for label in labels {
            for (bytes, total) in [(0, 0), (0, 9), (9, 9), (1, u64::MAX), (12, 5)] {
                for rate in [None, Some(0), Some(1), Some(u64::MAX)] {
                    for columns in 0..130 {
                        for total in [None, Some(total)] {
                            let shown = line(columns, &view(label, bytes, total, rate));
                            assert!(
                                shown.width() <= columns.saturating_sub(1),
                                "{columns}: {shown:?}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn times_are_short() {
        for (seconds, wanted) in [
            (0, "0 s"),
            (99, "99 s"),
            (100, "2 min"),
            (7300, "2 h 1 min"),
            (900_000, "10 days"),
        ] {
            assert_eq!(time(seconds), wanted);
        }
    }
}
