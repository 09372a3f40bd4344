//! Shifts of bits, with broadcasting.

use super::map::map_operator;
use crate::attr_enum;
use crate::dtype::Kind;
use crate::scalar::Binary;

attr_enum! {
    /// Where [`BitShift`] moves bits.
    ShiftDirection {
        /// To higher bits.
        Left = "LEFT",
        /// To lower bits.
        Right = "RIGHT",
    }
}

map_operator! {
    /// `a` shifted by `b` bits, elementwise, broadcast; bits that leave the type are lost.
    BitShift {
        /// Where bits move.
        direction: ShiftDirection,
    }, "BitShift", [11], 2..=2, |d| d.kind() == Kind::Unsigned, "an unsigned integer",
    |op, b, x| match op.direction {
        ShiftDirection::Left => b.binary(Binary::Shl, x[0], x[1]),
        ShiftDirection::Right => b.binary(Binary::Shr, x[0], x[1]),
    }
}
