//! Sequence numbers of 32 bits as numbers that never wrap.

/// Numbers begin here, so that what lies before them is no underflow.
const ORIGIN: u64 = 1 << 33;

/// The number for the first TSN of a direction.
pub(crate) fn first(tsn: u32) -> u64 {
    ORIGIN + u64::from(tsn)
}

/// The number closest to `near` with these low 32 bits (RFC 9260 §1.6, serial number arithmetic).
pub(crate) fn extend(near: u64, tsn: u32) -> u64 {
    near.wrapping_add_signed(i64::from(tsn.wrapping_sub(near as u32).cast_signed()))
}

/// Whether SSN `a` comes after `b` (RFC 1982, 16 bits).
pub(crate) fn is_later(a: u16, b: u16) -> bool {
    a != b && a.wrapping_sub(b) < 0x8000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_continue_over_the_wrap() {
        let near = first(u32::MAX - 1);
        assert_eq!(extend(near, 3), near + 5);
        assert_eq!(extend(near + 5, u32::MAX), near + 1);
        assert_eq!(extend(first(0), u32::MAX), first(0) - 1);
        assert!(is_later(2, u16::MAX) && !is_later(u16::MAX, 2) && !is_later(7, 7));
    }
}
