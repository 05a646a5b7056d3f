//! Protobuf fields written and read by hand, for the two places where prost would copy too much:
//! the chunk fast path and the splice.

use bytes::BufMut;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

/// Bytes of a length-delimited field that is written even when empty.
pub(crate) fn block_len(tag: u32, len: usize) -> usize {
    key_len(tag) + encoded_len_varint(len as u64) + len
}

/// Bytes of a text or bytes field, 0 for an empty one (proto3 leaves it out).
pub(crate) fn text_len(tag: u32, len: usize) -> usize {
    if len == 0 { 0 } else { block_len(tag, len) }
}

/// Bytes of a number field, 0 for a zero.
pub(crate) fn number_len(tag: u32, value: u64) -> usize {
    if value == 0 {
        0
    } else {
        key_len(tag) + encoded_len_varint(value)
    }
}

/// Writes key and length of a length-delimited field; `len` bytes are to follow.
pub(crate) fn put_block_start(buf: &mut impl BufMut, tag: u32, len: usize) {
    encode_key(tag, WireType::LengthDelimited, buf);
    encode_varint(len as u64, buf);
}

/// Writes a length-delimited field, even an empty one.
pub(crate) fn put_block(buf: &mut impl BufMut, tag: u32, bytes: &[u8]) {
    put_block_start(buf, tag, bytes.len());
    buf.put_slice(bytes);
}

/// Writes a text or bytes field, unless it is empty.
pub(crate) fn put_text(buf: &mut impl BufMut, tag: u32, text: &[u8]) {
    if !text.is_empty() {
        put_block(buf, tag, text);
    }
}

/// Writes a number field, unless it is zero.
pub(crate) fn put_number(buf: &mut impl BufMut, tag: u32, value: u64) {
    if value != 0 {
        put_present_number(buf, tag, value);
    }
}

/// Writes a number field, also a zero.
pub(crate) fn put_present_number(buf: &mut impl BufMut, tag: u32, value: u64) {
    encode_key(tag, WireType::Varint, buf);
    encode_varint(value, buf);
}

/// The content of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    /// Wire type 0.
    Number(u64),
    /// Wire type 2.
    Block(&'a [u8]),
    /// Wire types 1 and 5, unread.
    Fixed,
}

/// One field as it is on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    pub(crate) tag: u32,
    pub(crate) content: Content<'a>,
    /// Key, length and content.
    pub(crate) whole: &'a [u8],
}

impl<'a> Field<'a> {
    /// The content of a block; empty for the others.
    pub(crate) fn block(&self) -> &'a [u8] {
        match self.content {
            Content::Block(block) => block,
            Content::Number(_) | Content::Fixed => &[],
        }
    }
}

/// The bytes are no message in its shortest form: cut off, with a group, or a number or key written
/// longer than needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Irregular;

/// The fields of a message, one by one; ends after the first that is irregular.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    #[inline]
    fn read(&mut self) -> Option<Field<'a>> {
        let start = self.rest;
        let key = take_number(&mut self.rest)?;
        let key = u32::try_from(key).ok()?;
        let tag = key >> 3;
        if tag == 0 {
            return None;
        }
        let content = match key & 7 {
            0 => Content::Number(take_number(&mut self.rest)?),
            1 => take(&mut self.rest, 8).map(|_| Content::Fixed)?,
            2 => {
                let len = usize::try_from(take_number(&mut self.rest)?).ok()?;
                Content::Block(take(&mut self.rest, len)?)
            }
            5 => take(&mut self.rest, 4).map(|_| Content::Fixed)?,
            _ => return None,
        };
        Some(Field {
            tag,
            content,
            whole: &start[..start.len() - self.rest.len()],
        })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Irregular>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_none() {
            self.rest = &[];
        }
        Some(field.ok_or(Irregular))
    }
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

/// A varint in its shortest form.
#[inline]
fn take_number(rest: &mut &[u8]) -> Option<u64> {
    // Nearly all keys and lengths, and most numbers, have one byte.
    match rest.split_first() {
        Some((byte, left)) if *byte < 0x80 => {
            *rest = left;
            Some(u64::from(*byte))
        }
        _ => take_long_number(rest),
    }
}

fn take_long_number(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (index, byte) in rest.iter().enumerate().take(10) {
        // The tenth byte has room for one bit.
        if index == 9 && *byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            if *byte == 0 && index > 0 {
                return None;
            }
            *rest = &rest[index + 1..];
            return Some(value);
        }
    }
    None
}
