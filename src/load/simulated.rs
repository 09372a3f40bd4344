//! Scenes in simulated time.

use crate::load::play::{Asked, Outputs, Player};
use crate::load::scene::Kind;
use crate::report::Diagnostic;
use runtime::schedule::{Options, Policy, Profile, ProfileError, Record, Simulation};

/// Simulated time, on a device that is what a profile says.
pub struct Simulated {
    /// The profile.
    pub profile: Profile,
}

impl Player for Simulated {
    fn kind(&self) -> Kind {
        Kind::Simulated
    }

    fn device(&self) -> String {
        String::new()
    }

    fn threads(&self) -> usize {
        0
    }

    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn play(
        &mut self,
        policy: Policy,
        options: &Options,
        asked: &Asked,
        progress: &dyn Fn(u64),
        record: &mut dyn FnMut(&Record) -> Result<(), Diagnostic>,
    ) -> Result<(), Diagnostic> {
        let mut simulation = Simulation::new(&self.profile, policy, options)?;
        let (mut failed, mut n) = (None, 0u64);
        simulation.run(asked.requests(), &mut |ended| {
            n += 1;
            // There may be millions, and it is only shown.
            if n % 64 == 0 {
                progress(n);
            }
            if failed.is_none() {
                failed = record(ended).err();
            }
        });
        failed.map_or(Ok(()), Err)
    }

    fn outputs(
        &mut self,
        _policy: Policy,
        _options: &Options,
        _asked: &Asked,
    ) -> Result<Option<Outputs>, Diagnostic> {
        Ok(None)
    }
}

impl From<ProfileError> for Diagnostic {
    fn from(e: ProfileError) -> Self {
        let diagnostic = Self::from_error("no-profile", &e);
        match e {
            ProfileError::NoTime { .. } => diagnostic.help(
                "compile the models again, for the device; the compiler predicts what blocks take",
            ),
            ProfileError::Blocks { .. } | ProfileError::NoModel => diagnostic,
        }
    }
}
