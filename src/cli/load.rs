//! `dlirc load`: requests for the models of a plan, in real time.

use crate::cli::models::Machine;
use crate::cli::scenes::{Scenes, Time};
use crate::load::catalogue::{Catalogue, SoloTimes};
use crate::load::measured::{Measured, device_name};
use crate::load::play::Player;
use crate::load::scene::{VERSION, plan_hash};
use crate::load::simulated::Simulated;
use crate::report::Diagnostic;
use clap::{Args, ValueEnum};
use plans::Plan;
use runtime::Engine;
use runtime::cuda::Io;
use runtime::schedule::Profile;
use runtime::serve::ServerOptions;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Send requests to a plan's models on this machine and see how they fare.
///
/// What each model takes alone is measured first; loads and limits are multiples of that. The status is
/// 1 if an output was not that of the model alone, or a request took longer than the plan promises for
/// such requests.
#[derive(Args)]
#[command(after_help = "\
Examples:
  dlirc load both.dlplan
  dlirc load both.dlplan --policy all --load 0.5,0.9,1.2 --requests 2000 --out scenes --html both.html
  dlirc load both.dlplan --policy fifo,interleave --arrivals bursty --load 0.7 --against-simulation
  dlirc load both.dlplan --rate a=200 --rate b=0 --deadline a=5ms --device cuda:0 --json")]
pub(super) struct Load {
    #[command(flatten)]
    scenes: Scenes,
    #[command(flatten)]
    machine: Machine,
    /// Where inputs and outputs of requests lie: on the GPU, if one runs the plan, or on the host, from
    /// where and to where they are copied for each request.
    #[arg(long, value_name = "PLACE", default_value = "device")]
    io: Place,
    /// Where block times come from: measured now, or from the plan.
    #[arg(long, value_name = "FROM", default_value = "measured")]
    times: Times,
    /// How long a GPU's server stays awake when nothing runs, and keeps a processor busy; a request
    /// that finds it asleep waits for it to wake. 0: it sleeps at once. If left out, 10ms, but 0 on
    /// two processors or fewer.
    #[arg(long, value_name = "TIME", value_parser = spin)]
    spin: Option<Duration>,
    /// Runs of each model alone by which its time is measured.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    solo_runs: u32,
    /// In each scene, run the first N requests once more, unmeasured, and compare their outputs with
    /// those of the models alone.
    #[arg(long, value_name = "N", default_value_t = 50)]
    check: u64,
    /// Also simulate each scene, with the times that were measured, and show both side by side.
    #[arg(long)]
    against_simulation: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Place {
    Device,
    Host,
}

#[derive(Clone, Copy, ValueEnum)]
enum Times {
    Measured,
    Plan,
}

fn spin(text: &str) -> Result<Duration, String> {
    match text {
        "0" => Ok(Duration::ZERO),
        _ => text
            .parse()
            .map(|Time(ns)| Duration::from_nanos(ns))
            .map_err(|()| "expected 0, or a time such as 5ms or 800us".into()),
    }
}

impl Load {
    pub(super) fn run(self) -> Result<ExitCode, Diagnostic> {
        let engine = self.machine.engine(&self.scenes.plan)?;
        let io = match self.io {
            Place::Device if engine.uses_cuda() => Io::Device,
            Place::Device | Place::Host => Io::Host,
        };
        let profile = self.profile(&engine, io)?;
        let seed = self.scenes.seed;
        let spin = self.spin.unwrap_or(ServerOptions::default().spin);
        let mut measured = Measured::new(&engine, profile.clone(), io, spin, seed, self.check);
        let mut simulated = Simulated { profile };
        let mut players: Vec<&mut dyn Player> = vec![&mut measured];
        if self.against_simulation {
            players.push(&mut simulated);
        }
        self.scenes.play(engine.plan(), &mut players)
    }

    /// What blocks take: as the plan says, as it is kept in the folder of scenes, or as it is measured
    /// now. Scenes of one folder are so asked for the same requests.
    fn profile(&self, engine: &Arc<Engine>, io: Io) -> Result<Profile, Diagnostic> {
        let plan = engine.plan();
        if let Times::Plan = self.times {
            return Ok(Profile::of_plan(plan)?);
        }
        let catalogue = match &self.scenes.out {
            Some(folder) => Some(Catalogue::open(folder)?),
            None => None,
        };
        let Some(catalogue) = catalogue else {
            return self.measure(engine, io);
        };
        let machine = device_name(engine);
        let key = format!(
            "{VERSION} {} {machine} {} {io:?}",
            plan_hash(plan)?,
            engine.n_threads()
        );
        let key = &blake3::hash(key.as_bytes()).to_hex()[..32];
        if let Some(times) = catalogue.solo_times(key)?
            && let Some(profile) = kept(plan, &times)?
        {
            return Ok(profile);
        }
        let profile = self.measure(engine, io)?;
        let blocks = profile.models().iter();
        let blocks = blocks.map(|m| (m.name.clone(), m.blocks.iter().map(|b| b.ns).collect()));
        let times = SoloTimes {
            blocks: blocks.collect(),
            launch_ns: profile.launch_ns,
            notice_ns: profile.notice_ns,
        };
        catalogue.keep_solo_times(key, &times)?;
        Ok(profile)
    }

    fn measure(&self, engine: &Arc<Engine>, io: Io) -> Result<Profile, Diagnostic> {
        let bar = crate::cli::progress::bar("alone");
        bar.show(0, 1);
        let profile = Profile::measure(engine, self.solo_runs as usize, io);
        bar.finish();
        Ok(profile?)
    }
}

/// The plan's profile with these times; nothing if they are of other blocks.
fn kept(plan: &Plan, times: &SoloTimes) -> Result<Option<Profile>, Diagnostic> {
    let mut plan = plan.clone();
    for (m, model) in plan.models.iter().enumerate() {
        let own = plan.blocks.iter_mut().filter(|b| b.model.index() == m);
        let own: Vec<_> = own.collect();
        match times.blocks.get(&model.name) {
            Some(times) if times.len() == own.len() => {
                for (block, &ns) in own.into_iter().zip(times) {
                    block.measured_ns = Some(ns);
                }
            }
            _ => return Ok(None),
        }
    }
    let mut profile = Profile::of_plan(&plan)?;
    profile.launch_ns = times.launch_ns;
    profile.notice_ns = times.notice_ns;
    Ok(Some(profile))
}
