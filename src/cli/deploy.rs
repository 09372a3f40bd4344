//! The options of `dlirc compile` for models that are deployed together.

use crate::cli::compile::target;
use crate::deploy::{Deployment, report};
use crate::driver::{Compiled, Target};
use crate::report::{Diagnostic, NO, draw};
use clap::Args;
use passes::partition::Splitter;
use std::path::PathBuf;
use std::process::ExitCode;

/// What is deployed.
#[derive(Args)]
#[command(next_help_heading = "Deployment")]
pub(super) struct DeployArgs {
    /// Compile the models of this TOML file, instead of MODELS, to run together: with rounds, in which
    /// they are interleaved, and the longest that requests can take by rates, deadlines and
    /// priorities.
    #[arg(long, value_name = "FILE.toml", conflicts_with = "models")]
    pub(super) deploy: Option<PathBuf>,
    /// Write no plan, and exit with 1, if a deadline of the deployment can't be promised.
    #[arg(long, requires = "deploy")]
    pub(super) require_deadlines: bool,
}

impl DeployArgs {
    /// The deployment, if one is asked for.
    ///
    /// # Errors
    /// If its file is not as it should be.
    pub(super) fn read(&self) -> Result<Option<Deployment>, Diagnostic> {
        self.deploy.as_deref().map(Deployment::read).transpose()
    }

    /// Says which deadlines can't be promised; the exit status if that is the end of it.
    pub(super) fn check(
        &self,
        deployment: Option<&Deployment>,
        compiled: &Compiled,
    ) -> Option<ExitCode> {
        let outcome = compiled.summary.deploy.as_ref()?;
        let required = self.require_deadlines;
        let missed = report::missed(deployment?, outcome, &compiled.plan, required)?;
        draw(&missed);
        required.then(|| ExitCode::from(NO))
    }
}

/// The target of a compilation: what the command line says, or else the deployment, or else the host.
///
/// # Errors
/// If both say something else, or there is no such target.
pub(super) fn chosen_target(
    given: Option<Target>,
    deployment: Option<&Deployment>,
) -> Result<Target, Diagnostic> {
    let named = deployment.and_then(|d| d.target.as_deref());
    let named = named.map(target).transpose().map_err(|why| {
        Diagnostic::error("target", why).help("correct `target` in the deployment")
    })?;
    match (given, named) {
        (Some(given), Some(named)) if given != named => Err(Diagnostic::error(
            "target",
            format!(
                "--target says {}, and the deployment {}",
                given.name(),
                named.name()
            ),
        )
        .help("leave one of them out")),
        (given, named) => Ok(given.or(named).unwrap_or_default()),
    }
}

/// How models are cut: as asked for, or as deployments are where nothing is.
pub(super) fn chosen_splitter(
    given: Splitter,
    deployment: Option<&Deployment>,
    target: &Target,
) -> Splitter {
    match deployment {
        Some(_) if given == Splitter::Whole => {
            Deployment::splitter(matches!(target, Target::Cuda(_)))
        }
        _ => given,
    }
}
