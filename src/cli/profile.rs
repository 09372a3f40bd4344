//! `dlirc profile`: what kernels and blocks take on the device that is present.

use crate::cli::models::{Machine, device, load};
use crate::cli::profile_text::{csv, text};
use crate::cli::progress::bar;
use crate::device_code::Gpus;
use crate::device_model::{DeviceModel, Sources};
use crate::driver::{self, Request, Target};
use crate::profile::describe::{Sizes, describe};
use crate::profile::pairs::{self, Pair, Runnable};
use crate::profile::{
    ClassError, Identity, ModelProfile, Origin, Repeat, chains, class_errors, measure, profile,
};
use crate::report::{Diagnostic, data, data_json, say, write_file};
use clap::{Args, Subcommand};
use costs::database::default_path;
use costs::fit::{Chain, fit, mean_error};
use costs::{Database, Key, Kind};
use passes::predict::Costs;
use plans::{ModelIndex, ValidPlan};
use runtime::{Engine, Loaded, RunOn};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Measure what each step and block takes on the device that is present, beside what is predicted.
///
/// Times are kept in a database, and what is there is not measured again. `dlirc compile --costs`
/// takes the times of blocks from it. What was never measured is predicted.
#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Examples:
  dlirc profile both.dlplan
  dlirc profile resnet50.onnx vgg19.onnx --device cuda:0 --pairs
  dlirc profile both.dlplan --db profile.db --csv both.csv
  dlirc profile both.dlplan --dry --json
  dlirc profile *.onnx --device-model mine.toml --fit mine.toml
  dlirc profile device --device cpu -o this.toml"
)]
pub(super) struct Profile {
    #[command(subcommand)]
    what: Option<What>,
    /// Plans, and models, which are compiled for the device first.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    on: On,
    /// The database; that of the user if left out.
    #[arg(long, value_name = "FILE")]
    db: Option<PathBuf>,
    /// Measure also what the database has, and replace it.
    #[arg(long)]
    again: bool,
    /// Measure nothing: show what the database has, and predict the rest.
    #[arg(long, conflicts_with_all = ["again", "pairs"])]
    dry: bool,
    /// Also measure blocks of different models side by side, two at a time.
    #[arg(long)]
    pairs: bool,
    /// Runs of each model; as many as fit into two seconds, and at least 5, if left out.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    repeat: Option<u32>,
    /// Predict for this device: h200, cpu, or a file; else for the one nearest to that which runs.
    #[arg(long, value_name = "NAME")]
    device_model: Option<String>,
    /// Write the steps and blocks as comma-separated values.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write a description of the device that fits what was measured, for --device-model. Models of
    /// all kinds of operators fit best.
    #[arg(long, value_name = "FILE")]
    fit: Option<PathBuf>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum What {
    /// Measure the device itself and describe it in a file, for `--device-model`.
    Device(DescribeDevice),
}

#[derive(Args)]
struct DescribeDevice {
    #[command(flatten)]
    on: On,
    /// Where the description goes; to stdout if left out.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What is measured.
#[derive(Args)]
struct On {
    /// The device: cuda:N for the GPU of that number, cpu, or auto for the first GPU if there is one
    /// and else the CPU.
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = device)]
    device: RunOn,
    /// Threads; 0 for as many as there are processors.
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
}

/// The time that runs of one model may take where their number is not given.
const BUDGET: Duration = Duration::from_secs(2);

/// The time that runs of one pair may take.
const PAIR_BUDGET: Duration = Duration::from_millis(200);

/// What is known of some models on a device.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) device: String,
    /// Of which driver the measurements are; none without measuring.
    #[serde(skip_serializing_if = "Option::is_none")]
    driver: Option<String>,
    pub(super) database: String,
    pub(super) models: Vec<ModelProfile>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) errors: Vec<ClassError>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) pairs: Vec<PairReport>,
    #[serde(skip)]
    known: Known,
}

/// What there is to fit a description of a device to.
#[derive(Default)]
struct Known {
    /// The description that predictions are by; none if there is no plan.
    device: Option<costs::Device>,
    chains: Vec<Chain>,
}

impl Known {
    /// Adds what was measured of models of a plan on the device that `model` describes.
    fn add(&mut self, model: &DeviceModel, plan: &ValidPlan, profiles: &[ModelProfile]) {
        let device = model.device();
        let is_of_device = |step: &plans::Step| model.description(step.device).kind == device.kind;
        for profile in profiles {
            self.chains.extend(chains(plan, profile, is_of_device));
        }
        self.device = Some(device.clone());
    }

    /// Writes the description that fits, and says how far its predictions are off.
    fn fit(&self, name: &str, file: &Path) -> Result<(), Diagnostic> {
        let n_samples: usize = self.chains.iter().map(|c| c.samples.len()).sum();
        let Some(before) = self.device.as_ref().filter(|_| n_samples > 0) else {
            return Err(Diagnostic::error(
                "nothing-measured",
                format!("no step was measured on {name}, so that no description fits"),
            )
            .help("leave out --dry, or name the database that has measurements by --db"));
        };
        let after = costs::Device {
            name: name.to_owned(),
            ..fit(before, &self.chains)
        };
        let text = format!(
            "# Fitted by dlirc {} to {n_samples} measured steps.\n\n{}",
            env!("CARGO_PKG_VERSION"),
            after.to_text()?
        );
        write_file(file, text.as_bytes())?;
        let [before, after] =
            [before, &after].map(|device| 100.0 * mean_error(device, &self.chains));
        say(&format!(
            "wrote {}: predictions are off by {after:.1} % on average, before by {before:.1} %",
            file.display()
        ));
        Ok(())
    }
}

/// Two blocks side by side: how many times as long each takes.
#[derive(Serialize)]
pub(super) struct PairReport {
    pub(super) blocks: [String; 2],
    pub(super) slowdown: [f64; 2],
    pub(super) predicted: [f64; 2],
    pub(super) origin: Origin,
}

impl On {
    /// The device that models are compiled for.
    fn target(&self) -> Result<Target, Diagnostic> {
        let ordinal = match self.device {
            RunOn::Cpu => return Ok(Target::Cpu),
            RunOn::Auto => 0,
            RunOn::Cuda(n) => n,
        };
        match (runtime::cuda::device(ordinal), self.device) {
            (Ok(info), _) => Ok(Target::Cuda(Gpus {
                ptx: false,
                ..Gpus::new(vec![info.arch])
            })),
            (Err(_), RunOn::Auto) => Ok(Target::Cpu),
            (Err(why), _) => Err(runtime::BindError::Unavailable(why).into()),
        }
    }

    /// The plan, ready to be run.
    fn bind(&self, loaded: Loaded) -> Result<Arc<Engine>, Diagnostic> {
        let machine = Machine {
            threads: self.threads,
            device: self.device,
        };
        machine.bind(loaded)
    }
}

impl Profile {
    pub(super) fn run(self) -> Result<ExitCode, Diagnostic> {
        if let Some(What::Device(verb)) = self.what {
            return verb.run();
        }
        let path = self.db.clone().or_else(default_path).ok_or_else(|| {
            Diagnostic::error("profile-database", "there is no folder for caches")
                .help("name the database by --db FILE")
        })?;
        let report = match self.dry {
            true => self.dry(&path)?,
            false => self.measure(&path)?,
        };
        if let Some(file) = &self.csv {
            write_file(file, csv(&report.models).as_bytes())?;
            say(&format!("wrote {}", file.display()));
        }
        if let Some(file) = &self.fit {
            report.known.fit(&report.device, file)?;
        }
        if self.json {
            data_json(&report)?;
        } else {
            data(text(&report).as_bytes())?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The plans, those of models compiled for `target`.
    fn plans(&self, target: &Target) -> Result<Vec<Loaded>, Diagnostic> {
        let is_model = |path: &&PathBuf| path.extension().is_some_and(|e| e == "onnx");
        let mut plans = vec![];
        for path in self.files.iter().filter(|p| !is_model(p)) {
            plans.push(load(path)?);
        }
        let models: Vec<PathBuf> = self.files.iter().filter(is_model).cloned().collect();
        if !models.is_empty() {
            plans.push(compiled(models, target)?);
        }
        Ok(plans)
    }

    /// What is known without a device.
    fn dry(&self, path: &Path) -> Result<Report, Diagnostic> {
        let database = path.exists().then(|| path.to_path_buf());
        let target = match self.on.device {
            RunOn::Cpu => Target::Cpu,
            RunOn::Auto | RunOn::Cuda(_) => self.on.target().unwrap_or_default(),
        };
        let plans = self.plans(&target)?;
        let mut device = String::new();
        let mut models = vec![];
        let mut known = Known::default();
        for loaded in &plans {
            let plan = loaded.plan();
            let target = super::compile::target(&plan.fingerprint.target)
                .map_err(|why| Diagnostic::error("target", why))?;
            let sources = Sources {
                device: self.device_model.clone(),
                database: database.clone(),
            };
            let model = DeviceModel::find(&sources, &target)?;
            model.notes.iter().for_each(|note| say(note));
            device = model.name().to_owned();
            let profiles = profiles(plan, &model.costs(), &BTreeSet::new());
            known.add(&model, plan, &profiles);
            models.extend(profiles);
        }
        Ok(Report {
            device,
            driver: None,
            database: path.display().to_string(),
            errors: class_errors(&models),
            models,
            pairs: vec![],
            known,
        })
    }

    fn measure(&self, path: &Path) -> Result<Report, Diagnostic> {
        let database = Database::open(path)?;
        let mut engines = vec![];
        for loaded in self.plans(&self.on.target()?)? {
            engines.push(self.on.bind(loaded)?);
        }
        let first = engines
            .first()
            .ok_or_else(|| Diagnostic::error("no-plan", "there is nothing to measure"))?;
        let identity = Identity::of(first, self.on.device)?;
        for engine in &engines {
            let other = Identity::of(engine, self.on.device)?;
            if other != identity {
                return Err(Diagnostic::error(
                    "devices",
                    format!(
                        "one plan runs on {}, another on {}",
                        identity.name, other.name
                    ),
                )
                .help("measure them one after the other, or with --device cpu"));
            }
        }
        let repeat = |budget| match self.repeat {
            Some(n) => Repeat::Runs(n as usize),
            None => Repeat::Within(budget),
        };
        let bar = bar("profile");
        let mut fresh: BTreeSet<Key> = BTreeSet::new();
        let total: usize = engines.iter().map(|e| e.plan().models.len()).sum();
        let mut n_done = 0;
        for engine in &engines {
            let mut session = engine.session()?;
            for (m, model) in (0..).map(ModelIndex).zip(&engine.plan().models) {
                bar.say(&model.name);
                bar.show(n_done, total as u64);
                let repeat = repeat(BUDGET);
                let new = measure(&mut session, m, &identity, &database, repeat, self.again)?;
                fresh.extend(new);
                n_done += 1;
            }
        }
        let mut pairs = vec![];
        if self.pairs {
            bar.say("pairs");
            let blocks: Vec<Runnable> = engines.iter().flat_map(Runnable::all).collect();
            let watch = |done, n| bar.show(done as u64, n as u64);
            let repeat = repeat(PAIR_BUDGET);
            pairs = pairs::measure(&blocks, &identity, &database, repeat, self.again, &watch)?;
        }
        bar.finish();
        let model = self.device_model(&identity)?;
        let device = database.device(&identity.name, identity.kind, &identity.driver)?;
        let measured = database.measured(device)?;
        let costs = Costs {
            measured: Some(&measured),
            ..model.costs()
        };
        let mut models = vec![];
        let mut known = Known::default();
        for engine in &engines {
            let profiles = profiles(engine.plan(), &costs, &fresh);
            known.add(&model, engine.plan(), &profiles);
            models.extend(profiles);
        }
        Ok(Report {
            pairs: pairs.iter().map(|p| pair_report(p, &costs)).collect(),
            device: identity.name,
            driver: Some(identity.driver),
            database: path.display().to_string(),
            errors: class_errors(&models),
            models,
            known,
        })
    }

    /// What is known of the device that runs, without what was measured.
    fn device_model(&self, identity: &Identity) -> Result<DeviceModel, Diagnostic> {
        let sources = Sources {
            device: self.device_model.clone(),
            database: None,
        };
        let target = match identity.kind {
            Kind::Cpu => Target::Cpu,
            Kind::Cuda => Target::Cuda(Gpus {
                ptx: false,
                ..Gpus::new(vec![identity.arch])
            }),
        };
        DeviceModel::find(&sources, &target)
    }
}

/// What is known of each model of a plan.
fn profiles(plan: &ValidPlan, costs: &Costs<'_>, fresh: &BTreeSet<Key>) -> Vec<ModelProfile> {
    let models = (0..plan.models.len() as u32).map(ModelIndex);
    models.map(|m| profile(plan, m, costs, fresh)).collect()
}

/// The plan of `models`.
fn compiled(models: Vec<PathBuf>, target: &Target) -> Result<Loaded, Diagnostic> {
    struct Silent;
    impl passes::manager::Observer for Silent {}
    impl driver::Watch for Silent {
        fn phase(&mut self, _name: &str) {}
        fn passes(&mut self) -> &mut dyn passes::manager::Observer {
            self
        }
    }
    let request = Request {
        models,
        target: target.clone(),
        ..Request::default()
    };
    let compiled = driver::compile(&request, &mut Silent)?;
    // A file that is mapped costs no memory, and is gone with the process.
    let folder = std::env::temp_dir().join(format!("dlirc-profile-{}", std::process::id()));
    let failed = |e: std::io::Error| Diagnostic::error("output", e.to_string());
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let file = folder.join("models.dlplan");
    let loaded = driver::write(&compiled, &file).and_then(|()| load(&file));
    std::fs::remove_dir_all(&folder).map_err(failed)?;
    loaded
}

fn pair_report(pair: &Pair, costs: &Costs<'_>) -> PairReport {
    let demand = |block: &Runnable| {
        let mut plan = plans::Plan::clone(block.plan());
        passes::predict::predict(&mut plan, costs);
        let demand = plan.blocks[block.block.index()].demand;
        costs::Demand {
            compute: f64::from(demand.compute) / 1000.0,
            memory: f64::from(demand.memory) / 1000.0,
        }
    };
    let [a, b] = &pair.blocks;
    PairReport {
        blocks: [a.name(), b.name()],
        slowdown: pair.slowdown,
        predicted: costs.gpu.together(&demand(a), &demand(b)),
        origin: match pair.is_new {
            true => Origin::Measured,
            false => Origin::Database,
        },
    }
}

impl DescribeDevice {
    fn run(self) -> Result<ExitCode, Diagnostic> {
        let target = self.on.target()?;
        let kind = match target {
            Target::Cpu => Kind::Cpu,
            Target::Cuda(_) => Kind::Cuda,
        };
        let run_on = match (kind, self.on.device) {
            (Kind::Cpu, _) => RunOn::Cpu,
            (Kind::Cuda, RunOn::Cuda(n)) => RunOn::Cuda(n),
            (Kind::Cuda, _) => RunOn::Cuda(0),
        };
        let device = describe(&target, run_on, self.on.threads, &Sizes::of(kind))?;
        let text = format!(
            "# Measured by dlirc {}; what classes of kernels reach is that of the nearest known device.\n\n{}",
            env!("CARGO_PKG_VERSION"),
            device.to_text()?
        );
        match &self.output {
            Some(file) => {
                write_file(file, text.as_bytes())?;
                say(&format!("wrote {}", file.display()));
            }
            None => data(text.as_bytes())?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
