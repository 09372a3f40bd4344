//! Deployments: which models run together, how often they are asked for, and by when they must answer.
//!
//! A deployment is a TOML file:
//!
//! ```toml
//! policy = "interleave"        # who goes first; this one if not given
//! target = "cuda:sm_90"        # as --target
//! margin = 0.1                 # blocks may take a tenth longer than the plan says
//! overhead = "15us"            # and each start so much
//! stall = "5ms"                # the system may stop the server for so long; never, if not given
//! exclusive = [["detect", "read"]] # never at once: they share memory
//!
//! [[model]]
//! path = "detect.onnx"         # relative to this file
//! name = "detect"              # the file's, if not given
//! rate = "30/s"                # at most so often, evenly spaced at the closest
//! deadline = "20ms"            # from arrival to answer
//! priority = 2                 # greater goes first; 0 if not given
//! ```

mod apply;
mod fields;
pub mod report;

pub use apply::{Outcome, rule};

use crate::report::Diagnostic;
use fields::{Fields, Found, Values};
use runtime::schedule::Policy;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::de::DeTable;

/// Models that run together.
#[derive(Clone, PartialEq, Debug)]
pub struct Deployment {
    /// Who goes first.
    pub policy: Policy,
    /// The target as the file names it.
    pub target: Option<String>,
    /// How much longer than the plan says blocks may take, relative to their time.
    pub margin: f64,
    /// What each start of a block takes beside.
    pub overhead: Duration,
    /// How long the system may keep the server's thread from running while requests wait.
    pub stall: Duration,
    /// The most blocks of a round that run at once.
    pub lanes: u16,
    /// Models, by position, that never run at once: each list shares memory.
    pub exclusive: Vec<Vec<usize>>,
    /// The models.
    pub models: Vec<Deployed>,
}

/// A model of a deployment.
#[derive(Clone, PartialEq, Debug)]
pub struct Deployed {
    /// Its name, unique in the deployment.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// Requests in 1000 s; 0 if unknown.
    pub rate_mhz: u64,
    /// From arrival to answer.
    pub deadline: Option<Duration>,
    /// Greater goes first.
    pub priority: u8,
}

/// The fields of a deployment.
const FIELDS: [&str; 8] = [
    "exclusive",
    "lanes",
    "margin",
    "model",
    "overhead",
    "policy",
    "stall",
    "target",
];

/// The fields of a model.
const MODEL_FIELDS: [&str; 6] = ["deadline", "name", "path", "priority", "rate", "target"];

impl Deployment {
    /// The deployment that a file describes.
    ///
    /// # Errors
    ///
    /// If it can't be read, or is not as it should be: all that is wrong, with lines.
    pub fn read(path: &Path) -> Result<Self, Diagnostic> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            Diagnostic::error("deployment", format!("the deployment can't be read: {e}"))
                .at(format!("file {}", path.display()))
                .help("check the path and its permissions")
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, folder).map_err(|wrong| diagnostic(path, &text, wrong))
    }

    /// The deployment that `text` describes, with paths relative to `folder`.
    fn parse(text: &str, folder: &Path) -> Result<Self, Vec<Wrong>> {
        let table = DeTable::parse(text).map_err(|e| {
            let at = e.span().map_or(0, |s| s.start);
            vec![Wrong::new(
                at,
                e.message(),
                "see https://toml.io for how TOML is written",
            )]
        })?;
        let mut wrong = vec![];
        let end = text.trim_end().len();
        let mut fields = Fields::new(table.get_ref(), "a deployment", &FIELDS, &mut wrong);
        let policy = fields.text("policy", "a policy's name, such as \"interleave\"");
        let policy = policy.and_then(|found| {
            let parsed = found.value.parse::<Policy>();
            let parsed = parsed.map_err(|e| {
                fields.say(
                    found.at,
                    &e.to_string(),
                    "write policy = \"interleave\", or leave it out",
                );
            });
            parsed.ok()
        });
        let target = fields.text("target", "a target, such as \"cuda:sm_90\" or \"cpu\"");
        let margin = fields.number(
            "margin",
            0.0,
            10.0,
            "how much longer blocks may take, such as 0.1",
        );
        let overhead = fields.time("overhead");
        let stall = fields.time("stall");
        let lanes = fields.number(
            "lanes",
            1.0,
            64.0,
            "how many blocks may run at once, such as 8",
        );
        let exclusive = fields.lists(
            "exclusive",
            "lists of models, such as [[\"detect\", \"read\"]]",
        );
        let tables = fields.tables("model");
        let mut models = vec![];
        let mut targets: Vec<Found<String>> = target.into_iter().collect();
        for table in tables {
            let model = model(table.value, table.at, folder, &mut targets, &mut wrong);
            if let Some((model, at)) = model {
                let same = |other: &&(Deployed, usize)| other.0.name == model.name;
                if models.iter().find(same).is_some() {
                    wrong.push(Wrong::new(
                        at,
                        &format!("another model is called `{}` too", model.name),
                        "give each model a `name` of its own",
                    ));
                }
                models.push((model, at));
            }
        }
        if models.is_empty() && wrong.is_empty() {
            wrong.push(Wrong::new(
                end,
                "the deployment has no model",
                "add one: [[model]] in a line, then path = \"FILE.onnx\"",
            ));
        }
        if let [first, rest @ ..] = &targets[..] {
            for other in rest.iter().filter(|t| t.value != first.value) {
                wrong.push(Wrong::new(
                    other.at,
                    &format!(
                        "the target is {} here and {} before",
                        other.value, first.value
                    ),
                    "a plan has one target: compile models for another into a plan of their own",
                ));
            }
        }
        let models: Vec<Deployed> = models.into_iter().map(|m| m.0).collect();
        let exclusive = groups(&exclusive, &models, &mut wrong);
        if !wrong.is_empty() {
            wrong.sort_by_key(|w| w.at);
            return Err(wrong);
        }
        Ok(Self {
            policy: policy.unwrap_or(Policy::Interleave),
            target: targets.into_iter().next().map(|t| t.value),
            margin: margin.unwrap_or(0.1),
            overhead: overhead.unwrap_or(Duration::from_micros(15)),
            stall: stall.unwrap_or(Duration::ZERO),
            lanes: lanes.map_or(8, |n| n as u16),
            exclusive,
            models,
        })
    }

    /// What of it shapes the plan, as text for its fingerprint.
    pub fn options(&self) -> String {
        let mut text = format!(
            " policy={} margin={} overhead={}ns lanes={}",
            self.policy,
            self.margin,
            self.overhead.as_nanos(),
            self.lanes
        );
        if !self.stall.is_zero() {
            text += &format!(" stall={}ns", self.stall.as_nanos());
        }
        for group in &self.exclusive {
            let names: Vec<&str> = group
                .iter()
                .map(|&m| self.models[m].name.as_str())
                .collect();
            text += &format!(" exclusive={}", names.join(","));
        }
        for model in &self.models {
            text += &format!(" {}:rate={}", model.name, model.rate_mhz);
            if let Some(deadline) = model.deadline {
                text += &format!(",deadline={}ns", deadline.as_nanos());
            }
            text += &format!(",priority={}", model.priority);
        }
        text
    }
}

fn model(
    table: &DeTable<'_>,
    at: usize,
    folder: &Path,
    targets: &mut Vec<Found<String>>,
    wrong: &mut Vec<Wrong>,
) -> Option<(Deployed, usize)> {
    let mut fields = Fields::new(table, "a model", &MODEL_FIELDS, wrong);
    let path = fields.text("path", "the path of an ONNX file");
    let name = fields.text("name", "a name");
    let rate = fields.rate("rate");
    let deadline = fields.time("deadline");
    let priority = fields.number("priority", 0.0, 255.0, "a whole number from 0 to 255");
    targets.extend(fields.text("target", "a target, such as \"cuda:sm_90\" or \"cpu\""));
    let Some(path) = path else {
        if !table.iter().any(|(k, _)| k.get_ref() == "path") {
            fields.say(at, "this model has no path", "add path = \"FILE.onnx\"");
        }
        return None;
    };
    let path_at = path.at;
    let path = folder.join(path.value);
    if !path.is_file() {
        let message = format!("there is no file {}", path.display());
        fields.say(
            path_at,
            &message,
            "paths are relative to the deployment's folder",
        );
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = name.map_or_else(|| stem.clone().into_owned(), |n| n.value);
    let model = Deployed {
        name,
        path,
        rate_mhz: rate.unwrap_or(0),
        deadline,
        priority: priority.map_or(0, |p| p as u8),
    };
    Some((model, at))
}

/// The models that the lists of `exclusive` name.
fn groups(
    lists: &[Vec<Found<String>>],
    models: &[Deployed],
    wrong: &mut Vec<Wrong>,
) -> Vec<Vec<usize>> {
    let mut seen: Vec<usize> = vec![];
    let mut groups = vec![];
    for list in lists {
        let mut group = vec![];
        for name in list {
            let Some(model) = models.iter().position(|m| m.name == name.value) else {
                let names: Vec<&str> = models.iter().map(|m| m.name.as_str()).collect();
                wrong.push(Wrong::new(
                    name.at,
                    &format!("no model is called `{}`", name.value),
                    &format!("the models are {}", names.join(", ")),
                ));
                continue;
            };
            if seen.contains(&model) {
                wrong.push(Wrong::new(
                    name.at,
                    &format!("`{}` is in two lists, or twice in one", name.value),
                    "put all models that never run at once with it into one list",
                ));
                continue;
            }
            seen.push(model);
            group.push(model);
        }
        groups.push(group);
    }
    groups
}

/// Something that is wrong with a deployment.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Wrong {
    /// Where, in bytes from the start.
    at: usize,
    message: String,
    help: String,
}

impl Wrong {
    fn new(at: usize, message: &str, help: &str) -> Self {
        Self {
            at,
            message: message.to_owned(),
            help: help.to_owned(),
        }
    }
}

/// All that is wrong as one diagnostic: the first as its message, the others as notes.
fn diagnostic(path: &Path, text: &str, wrong: Vec<Wrong>) -> Diagnostic {
    let place = |at: usize| {
        let before = &text[..at.min(text.len())];
        let line = before.matches('\n').count();
        let start = before.rfind('\n').map_or(0, |n| n + 1);
        let shown = text.lines().nth(line).unwrap_or_default().trim_end();
        (line + 1, before[start..].chars().count() + 1, shown)
    };
    let mut wrong = wrong.into_iter();
    let Some(first) = wrong.next() else {
        return Diagnostic::error("deployment", "the deployment is wrong");
    };
    let (line, column, shown) = place(first.at);
    let mut diagnostic = Diagnostic::error("deployment", first.message)
        .at(format!("file {}:{line}:{column}", path.display()))
        .note(format!("{line} | {shown}"))
        .help(first.help);
    for other in wrong {
        let (line, _, shown) = place(other.at);
        diagnostic = diagnostic.note(format!(
            "line {line} too: {}: {}\n{line} | {shown}",
            other.message, other.help
        ));
    }
    diagnostic
}

#[cfg(test)]
mod tests;
