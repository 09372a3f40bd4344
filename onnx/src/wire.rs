//! The wire format of protocol buffers: a walk over the fields of one message.
//!
//! Nothing is copied and nothing is decoded but tags, lengths and varints. Groups, which
//! ONNX never uses, are refused: skipping nested ones is how parsers overflow their stacks.

use std::ops::Range;

/// What a field holds on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WireType {
    /// A variable-length integer.
    Varint,
    /// Eight bytes.
    Fixed64,
    /// A length and that many bytes: text, a message, or packed numbers.
    Bytes,
    /// Four bytes.
    Fixed32,
}

/// One field of a message; positions count from the start of the scanned bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Field {
    /// The field's number.
    pub number: u32,
    /// What it holds.
    pub wire_type: WireType,
    /// Where its tag starts.
    pub start: usize,
    /// Where its content lies, without tag and length.
    pub content: Range<usize>,
}

/// Why bytes are not a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "`at` is everywhere the position in the file")]
pub enum WireError {
    /// A field goes on after its message, or the file, has ended.
    #[error("byte {at}: the field goes on past the end of its message")]
    Truncated { at: usize },
    /// An integer of more than ten bytes.
    #[error("byte {at}: a variable-length integer has more than ten bytes")]
    LongVarint { at: usize },
    /// A field with number 0 or above 2^29, or of a wire type that doesn't exist.
    #[error("byte {at}: not a field of a protocol buffer")]
    BadTag { at: usize },
    /// A group.
    #[error("byte {at}: a group, which no ONNX message has")]
    Group { at: usize },
}

/// Reads the field at `at` of a message that ends at `end`.
///
/// # Errors
/// When the field doesn't end by `end`, or is none that ONNX could hold.
pub fn read_field(bytes: &[u8], at: usize, end: usize) -> Result<Field, WireError> {
    let bytes = bytes.get(..end).ok_or(WireError::Truncated { at })?;
    let (tag, after_tag) = read_varint(bytes, at)?;
    let number = u32::try_from(tag >> 3)
        .ok()
        .filter(|n| (1..1 << 29).contains(n));
    let number = number.ok_or(WireError::BadTag { at })?;
    let (wire_type, content_start, len) = match tag & 7 {
        0 => (
            WireType::Varint,
            after_tag,
            read_varint(bytes, after_tag)?.1 - after_tag,
        ),
        1 => (WireType::Fixed64, after_tag, 8),
        2 => {
            let (len, content_start) = read_varint(bytes, after_tag)?;
            let len = usize::try_from(len).map_err(|_| WireError::Truncated { at })?;
            (WireType::Bytes, content_start, len)
        }
        3 | 4 => return Err(WireError::Group { at }),
        5 => (WireType::Fixed32, after_tag, 4),
        _ => return Err(WireError::BadTag { at }),
    };
    match content_start.checked_add(len) {
        Some(stop) if stop <= end => Ok(Field {
            number,
            wire_type,
            start: at,
            content: content_start..stop,
        }),
        _ => Err(WireError::Truncated { at }),
    }
}

/// Reads the integer at `at`; returns it and the position behind it.
///
/// # Errors
/// When the bytes end before it does, or it doesn't fit in 64 bits.
pub fn read_varint(bytes: &[u8], at: usize) -> Result<(u64, usize), WireError> {
    let mut value = 0u64;
    for (i, &byte) in bytes
        .get(at..)
        .unwrap_or_default()
        .iter()
        .take(10)
        .enumerate()
    {
        if i == 9 && byte > 1 {
            return Err(WireError::LongVarint { at });
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Ok((value, at + i + 1));
        }
    }
    if bytes.len().saturating_sub(at) >= 10 {
        Err(WireError::LongVarint { at })
    } else {
        Err(WireError::Truncated { at })
    }
}

/// The fields of the message that is all of `bytes[message]`, in order.
///
/// The iterator ends after the first error.
pub fn fields(
    bytes: &[u8],
    message: Range<usize>,
) -> impl Iterator<Item = Result<Field, WireError>> {
    let mut at = message.start;
    std::iter::from_fn(move || {
        if at >= message.end {
            return None;
        }
        let field = read_field(bytes, at, message.end);
        at = field.as_ref().map_or(message.end, |f| f.content.end);
        Some(field)
    })
}

/// Appends the tag and the length of a [`WireType::Bytes`] field; `len` bytes are to follow.
pub fn put_bytes_header(out: &mut Vec<u8>, number: u32, len: u64) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, len);
}

/// Appends an integer.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip() {
        for value in [
            0,
            1,
            127,
            128,
            300,
            u64::from(u32::MAX),
            u64::MAX - 1,
            u64::MAX,
        ] {
            let mut bytes = vec![0xff];
            put_varint(&mut bytes, value);
            assert_eq!(read_varint(&bytes, 1), Ok((value, bytes.len())));
            for cut in 1..bytes.len() {
                assert_eq!(
                    read_varint(&bytes[..cut], 1),
                    Err(WireError::Truncated { at: 1 })
                );
            }
        }
    }

    #[test]
    fn long_varints_are_refused() {
        assert_eq!(
            read_varint(&[0x80; 11], 0),
            Err(WireError::LongVarint { at: 0 })
        );
        let mut too_big = vec![0xff; 9];
        too_big.push(2);
        assert_eq!(
            read_varint(&too_big, 0),
            Err(WireError::LongVarint { at: 0 })
        );
    }

    #[test]
    fn fields_end_with_the_first_error() {
        // Field 1 = varint 5, field 2 = bytes "ab", then a start-group tag.
        let bytes = [0x08, 5, 0x12, 2, b'a', b'b', 0x0b, 0x0b];
        let all: Vec<_> = fields(&bytes, 0..bytes.len()).collect();
        assert_eq!(all.len(), 3);
        assert_eq!(all[1].as_ref().map(|f| f.content.clone()), Ok(4..6));
        assert_eq!(all[2], Err(WireError::Group { at: 6 }));
    }

    #[test]
    fn lengths_may_not_leave_the_message() {
        let bytes = [0x12, 3, b'a', b'b', b'c'];
        assert!(read_field(&bytes, 0, 5).is_ok());
        assert_eq!(
            read_field(&bytes, 0, 4),
            Err(WireError::Truncated { at: 0 })
        );
        assert_eq!(
            read_field(&bytes, 0, 9),
            Err(WireError::Truncated { at: 0 })
        );
        let mut huge = vec![0x12];
        put_varint(&mut huge, u64::MAX);
        assert_eq!(
            read_field(&huge, 0, huge.len()),
            Err(WireError::Truncated { at: 0 })
        );
    }

    #[test]
    fn impossible_tags_are_refused() {
        assert_eq!(
            read_field(&[0x00, 0], 0, 2),
            Err(WireError::BadTag { at: 0 })
        );
        assert_eq!(
            read_field(&[0x0e, 0], 0, 2),
            Err(WireError::BadTag { at: 0 })
        );
    }
}
