//! The table of differences: one line for each between an older form of an operator and the
//! newest. A line applies to nodes of its operator whose opset is below the line's.

use super::{Draft, dropout, flatten_axis, group_parameters, resize};
use ir::OpError;

/// One difference.
pub(super) struct Upgrade {
    pub(super) op: &'static str,
    pub(super) before: i64,
    pub(super) change: Change,
}

/// What happens to a node.
pub(super) enum Change {
    /// The list of integers in the attribute becomes the operand.
    Ints { attr: &'static str, operand: usize },
    /// The integer in the attribute becomes the operand, a list of one.
    Int { attr: &'static str, operand: usize },
    /// The list of numbers in the attribute becomes the operand.
    Floats { attr: &'static str, operand: usize },
    /// The number in the attribute becomes the operand, of the type of operand 0.
    Float { attr: &'static str, operand: usize },
    /// The tensor of one element in the attribute becomes the operand.
    Scalar { attr: &'static str, operand: usize },
    /// The attribute goes: it says nothing in inference.
    Ignore { attr: &'static str },
    /// The attribute goes; only this value of it has a newer form.
    Only { attr: &'static str, value: i64 },
    /// A value of the attribute has a new name.
    Value {
        attr: &'static str,
        old: &'static str,
        new: &'static str,
    },
    /// The operator has a new name.
    Rename { to: &'static str },
    /// What takes code.
    Call(fn(&mut Draft<'_, '_>) -> Result<(), OpError>),
}

/// Every version.
const ALL: i64 = i64::MAX;

const fn before(before: i64, op: &'static str, change: Change) -> Upgrade {
    Upgrade { op, before, change }
}

/// All differences between opset 7 and the newest, by operator; lines of one operator in order.
#[rustfmt::skip]
pub(super) const UPGRADES: &[Upgrade] = &[
    before(9, "BatchNormalization", Change::Only { attr: "spatial", value: 1 }),
    // It is about types that dlirc does not have.
    before(ALL, "Cast", Change::Ignore { attr: "round_mode" }),
    before(ALL, "CastLike", Change::Ignore { attr: "round_mode" }),
    before(11, "Clip", Change::Float { attr: "min", operand: 1 }),
    before(11, "Clip", Change::Float { attr: "max", operand: 2 }),
    before(ALL, "ConstantOfShape", Change::Scalar { attr: "value", operand: 1 }),
    before(12, "Dropout", Change::Ignore { attr: "ratio" }),
    before(ALL, "Dropout", Change::Call(dropout::for_inference)),
    before(20, "GridSample", Change::Value { attr: "mode", old: "bilinear", new: "linear" }),
    before(20, "GridSample", Change::Value { attr: "mode", old: "bicubic", new: "cubic" }),
    before(21, "GroupNormalization", Change::Call(group_parameters::upgrade)),
    before(13, "Hardmax", Change::Call(flatten_axis::upgrade)),
    before(13, "LogSoftmax", Change::Call(flatten_axis::upgrade)),
    before(11, "Pad", Change::Ints { attr: "pads", operand: 1 }),
    before(11, "Pad", Change::Float { attr: "value", operand: 2 }),
    before(18, "ReduceL1", Change::Ints { attr: "axes", operand: 1 }),
    before(18, "ReduceL2", Change::Ints { attr: "axes", operand: 1 }),
    before(18, "ReduceLogSum", Change::Ints { attr: "axes", operand: 1 }),
    before(18, "ReduceLogSumExp", Change::Ints { attr: "axes", operand: 1 }),
    before(18, "ReduceMax", Change::Ints { attr: "axes", operand: 1 }),
    before(18, "ReduceMean", Change::Ints { attr: "axes", operand: 1 }),
    before(18, "ReduceMin", Change::Ints { attr: "axes", operand: 1 }),
    before(18, "ReduceProd", Change::Ints { attr: "axes", operand: 1 }),
    before(13, "ReduceSum", Change::Ints { attr: "axes", operand: 1 }),
    before(18, "ReduceSumSquare", Change::Ints { attr: "axes", operand: 1 }),
    before(11, "Resize", Change::Call(resize::from_opset_10)),
    before(ALL, "Resize", Change::Call(resize::drop_empty_operands)),
    before(ALL, "Scatter", Change::Rename { to: "ScatterElements" }),
    before(10, "Slice", Change::Ints { attr: "starts", operand: 1 }),
    before(10, "Slice", Change::Ints { attr: "ends", operand: 2 }),
    before(10, "Slice", Change::Ints { attr: "axes", operand: 3 }),
    before(13, "Softmax", Change::Call(flatten_axis::upgrade)),
    before(13, "Split", Change::Ints { attr: "split", operand: 1 }),
    before(13, "Squeeze", Change::Ints { attr: "axes", operand: 1 }),
    before(10, "TopK", Change::Int { attr: "k", operand: 1 }),
    before(13, "Unsqueeze", Change::Ints { attr: "axes", operand: 1 }),
    // Resize took Upsample's place, and its first form is Upsample's last.
    before(9, "Upsample", Change::Floats { attr: "scales", operand: 1 }),
    before(ALL, "Upsample", Change::Call(resize::from_opset_10)),
    before(ALL, "Upsample", Change::Rename { to: "Resize" }),
];

/// The name that nodes of `op` have in the newest form.
pub(crate) fn newest_name(op: &str) -> &str {
    let renamed = UPGRADES.iter().find_map(|u| match u.change {
        Change::Rename { to } if u.op == op => Some(to),
        _ => None,
    });
    renamed.unwrap_or(op)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir::Op;

    #[test]
    fn every_line_is_about_an_operator_that_there_is() {
        let names: Vec<&str> = Op::catalogue().map(|(name, ..)| name).collect();
        for upgrade in UPGRADES {
            assert!(names.contains(&newest_name(upgrade.op)), "{}", upgrade.op);
        }
    }

    #[test]
    fn lines_are_in_order_and_stand_together() {
        let mut done: Vec<&str> = Vec::new();
        for pair in UPGRADES.windows(2) {
            if pair[0].op == pair[1].op {
                assert!(pair[0].before <= pair[1].before, "{}", pair[0].op);
            } else {
                done.push(pair[0].op);
                assert!(!done.contains(&pair[1].op), "{}", pair[1].op);
            }
        }
    }
}
