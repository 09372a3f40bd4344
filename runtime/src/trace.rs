//! A device that writes commands down.

use crate::device::Device;
use plans::spec::Role;
use plans::{ModelIndex, Place, StepIndex, ValidPlan};
use std::convert::Infallible;
use std::fmt::Write;

/// Writes down the commands it is given, one a line:
///
/// ```text
/// begin resnet50
/// launch 0 lane 0 contract Conv+Relu: read arena 0+0, read weight 3, write arena 1+512
/// wait 1 lane 1 on 0
/// …
/// end resnet50
/// ```
///
/// Places are bytes in an arena or in a weight.
pub struct Trace<'a> {
    plan: &'a ValidPlan,
    text: String,
}

impl<'a> Trace<'a> {
    /// A trace of commands for `plan`, empty so far.
    pub fn new(plan: &'a ValidPlan) -> Self {
        Self {
            plan,
            text: String::new(),
        }
    }

    /// What was commanded so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string can't fail.
        let _ = writeln!(self.text, "{line}");
    }
}

impl Device for Trace<'_> {
    type Error = Infallible;

    fn begin(&mut self, model: ModelIndex) -> Result<(), Infallible> {
        let name = &self.plan.models[model.index()].name;
        self.line(format_args!("begin {name}"));
        Ok(())
    }

    fn wait(&mut self, step: StepIndex, on: StepIndex) -> Result<(), Infallible> {
        let lane = self.plan.steps[step.index()].lane;
        self.line(format_args!("wait {} lane {lane} on {}", step.0, on.0));
        Ok(())
    }

    fn launch(&mut self, step: StepIndex) -> Result<(), Infallible> {
        let launched = &self.plan.steps[step.index()];
        let kernel = &self.plan.kernels[launched.kernel.index()];
        let args: Vec<String> = kernel
            .args()
            .iter()
            .zip(&launched.args)
            .map(|(spec, arg)| {
                let role = match spec.role {
                    Role::Read => "read",
                    Role::Write => "write",
                    Role::Update => "update",
                };
                match arg.place {
                    Place::Buffer(b) => {
                        let buffer = &self.plan.buffers[b.index()];
                        let offset = buffer.offset + arg.offset;
                        format!("{role} arena {}+{offset}", buffer.arena.0)
                    }
                    Place::Weight(w) if arg.offset == 0 => format!("{role} weight {}", w.0),
                    Place::Weight(w) => format!("{role} weight {}+{}", w.0, arg.offset),
                }
            })
            .collect();
        self.line(format_args!(
            "launch {} lane {} {} {}: {}",
            step.0,
            launched.lane,
            kernel.class(),
            launched.label,
            args.join(", ")
        ));
        Ok(())
    }

    fn end(&mut self, model: ModelIndex) -> Result<(), Infallible> {
        let name = &self.plan.models[model.index()].name;
        self.line(format_args!("end {name}"));
        Ok(())
    }
}
