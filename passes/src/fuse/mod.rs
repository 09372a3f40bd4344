//! Regions: which nodes one kernel computes.

mod form_regions;
mod grow;

pub use form_regions::form_regions;
pub(crate) use form_regions::kind_alone;
