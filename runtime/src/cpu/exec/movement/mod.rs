//! Elements moved to computed positions.

mod pad;
mod resize;
mod scatter;

use super::Execute;
use plans::spec::MovementSpec;

/// The kernel of a movement.
pub(crate) fn new(spec: &MovementSpec) -> Box<dyn Execute> {
    match spec {
        MovementSpec::Scatter(s) => Box::new(scatter::Scatter::new(s)),
        MovementSpec::Pad(s) => Box::new(pad::Pad::new(s)),
        MovementSpec::Resize(s) => Box::new(resize::Resize::new(s)),
    }
}
