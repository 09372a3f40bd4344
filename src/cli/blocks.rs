//! The options of `dlirc compile` that cut models into blocks, and the tables that show blocks.

use crate::cli::table::{mib, table};
use crate::report::Diagnostic;
use clap::{Args, ValueEnum};
use passes::partition::{GeneticOptions, Goal, MAX_BLOCKS, Splitter};
use plans::blocks::{figures, live};
use plans::{ModelIndex, ValidPlan};
use std::path::PathBuf;

/// How models are cut.
#[derive(Args)]
#[command(next_help_heading = "Blocks")]
pub(super) struct BlockArgs {
    /// Cut each model into this many blocks that take about the same time; between blocks, another
    /// model may run.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_BLOCKS as u64), conflicts_with = "max_block")]
    blocks: Option<u64>,
    /// Cut each model into the fewest blocks that take at most this long, such as 200us or 1.5ms.
    #[arg(long, value_name = "TIME", value_parser = duration_ns)]
    max_block: Option<u64>,
    /// How cuts are chosen; dp if not given.
    #[arg(long, value_enum)]
    splitter: Option<Kind>,
    /// Splits that are alive at once in the genetic search.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=10_000), help_heading = "Genetic splitter")]
    population: Option<u64>,
    /// The most generations of the genetic search.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=1_000_000), help_heading = "Genetic splitter")]
    generations: Option<u64>,
    /// The genetic search ends after so many generations that gain nothing.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000), help_heading = "Genetic splitter")]
    stall: Option<u64>,
    /// What the random numbers of the genetic search start from.
    #[arg(long, value_name = "SEED", help_heading = "Genetic splitter")]
    splitter_seed: Option<u64>,
    /// Write the best split of each generation as CSV.
    #[arg(long, value_name = "FILE", help_heading = "Genetic splitter")]
    pub(super) splitter_log: Option<PathBuf>,
    /// Write the blocks of each model as ONNX models: DIR/MODEL/BLOCK/MODEL-BLOCK.onnx, listed in
    /// DIR/MODEL/params.json.
    #[arg(long, value_name = "DIR")]
    pub(super) emit_children: Option<PathBuf>,
}

/// How cuts are chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Kind {
    /// The most even blocks, exactly, by dynamic programming.
    Dp,
    /// A genetic search, SPLIT's.
    Ga,
    /// Steps in order until a block is full.
    Greedy,
    /// Every step is a block.
    Every,
    /// Cut wherever less than two tensors are alive.
    Converge,
}

impl BlockArgs {
    /// The splitter that is asked for.
    ///
    /// # Errors
    /// Options that contradict each other or miss one.
    pub(super) fn splitter(&self) -> Result<Splitter, Diagnostic> {
        let goal = match (self.blocks, self.max_block) {
            (Some(n), _) => Some(Goal::Blocks(n as usize)),
            (None, Some(ns)) => Some(Goal::Within(ns)),
            (None, None) => None,
        };
        let wrong =
            |message: &str, help: &str| Err(Diagnostic::error("splitter", message).help(help));
        let genetic = [
            ("--population", self.population.is_some()),
            ("--generations", self.generations.is_some()),
            ("--stall", self.stall.is_some()),
            ("--splitter-seed", self.splitter_seed.is_some()),
            ("--splitter-log", self.splitter_log.is_some()),
        ];
        if self.splitter != Some(Kind::Ga)
            && let Some((name, _)) = genetic.iter().find(|(_, given)| *given)
        {
            let message = format!("{name} is of the genetic search, and that is not asked for");
            return wrong(&message, "give --splitter ga too, or leave it out");
        }
        match (self.splitter, goal) {
            (None, None) => Ok(Splitter::Whole),
            (None | Some(Kind::Dp), Some(goal)) => Ok(Splitter::Dp(goal)),
            (Some(Kind::Greedy), Some(goal)) => Ok(Splitter::Greedy(goal)),
            (Some(Kind::Ga), Some(Goal::Blocks(n))) => {
                let default = GeneticOptions::default();
                let or = |given: Option<u64>, default: usize| given.map_or(default, |n| n as usize);
                Ok(Splitter::Genetic(
                    n,
                    GeneticOptions {
                        population: or(self.population, default.population),
                        generations: or(self.generations, default.generations),
                        stall: or(self.stall, default.stall),
                        seed: self.splitter_seed.unwrap_or(default.seed),
                    },
                ))
            }
            (Some(Kind::Ga), Some(Goal::Within(_))) => wrong(
                "the genetic search takes a number of blocks, no time",
                "give --blocks N, or --splitter dp, which takes both",
            ),
            (Some(Kind::Dp | Kind::Ga | Kind::Greedy), None) => wrong(
                "this splitter needs to know how many blocks, or how long they may be",
                "give --blocks N or --max-block TIME",
            ),
            (Some(Kind::Every), None) => Ok(Splitter::Every),
            (Some(Kind::Converge), None) => Ok(Splitter::Converge),
            (Some(Kind::Every | Kind::Converge), Some(_)) => wrong(
                "this splitter cuts wherever it can, whatever comes of it",
                "leave --blocks and --max-block out, or choose --splitter dp",
            ),
        }
    }
}

/// `200us`, `1.5ms`: nanoseconds.
fn duration_ns(text: &str) -> Result<u64, String> {
    const EXPECTED: &str = "expected a number and a unit (ns, us, ms or s), such as 200us or 1.5ms";
    let text = text.trim();
    let at = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .ok_or_else(|| format!("{text} of what? {EXPECTED}"))?;
    let (number, unit) = (&text[..at], text[at..].trim());
    let scale = match unit {
        "ns" => 1.0,
        "us" | "µs" | "μs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return Err(format!("`{unit}` is no unit; {EXPECTED}")),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| format!("`{number}` is no number; {EXPECTED}"))?;
    let ns = (number * scale).round();
    // An hour: sums of such times are far from any limit.
    if !(1.0..=3.6e12).contains(&ns) {
        return Err(format!("{text} is not between 1ns and 3600s"));
    }
    Ok(ns as u64)
}

/// Blocks of a model up to which each has a line.
const FEW: usize = 8;

/// A table of models and their blocks; nothing if no model has several.
pub(super) fn block_table(plan: &ValidPlan) -> String {
    let mut rows = vec![];
    let us = |ns: f64| format!("{:.1} us", ns / 1e3);
    for (m, model) in (0..).map(ModelIndex).zip(&plan.models) {
        let f = figures(plan, m);
        if f.n_blocks < 2 {
            continue;
        }
        let live = live(plan, model);
        let own: Vec<_> = (0..)
            .zip(&plan.blocks)
            .filter(|(_, b)| b.model == m)
            .collect();
        let cuts: Vec<_> = own
            .iter()
            .skip(1)
            .map(|(_, b)| live[b.first_step.index() - model.steps().start])
            .collect();
        rows.push(vec![
            model.name.clone(),
            f.n_blocks.to_string(),
            us(f.total_ns as f64),
            us(f.std_ns),
            format!("{:.2} %", f.overhead() * 100.0),
            cuts.iter()
                .map(|l| u64::from(l.tensors))
                .sum::<u64>()
                .to_string(),
            mib(cuts.iter().map(|l| l.bytes).sum()),
        ]);
        if own.len() > FEW {
            continue;
        }
        for (index, b) in own {
            let live = live[b.first_step.index() - model.steps().start];
            let share = b.cut_ns as f64 / (f.whole_ns as f64).max(1.0);
            rows.push(vec![
                format!("  block {index}, {} steps", b.n_steps),
                String::new(),
                us(b.predicted_ns as f64),
                String::new(),
                format!("{:.2} %", share * 100.0),
                live.tensors.to_string(),
                mib(live.bytes),
            ]);
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let header = [
        "model",
        "blocks",
        "predicted",
        "deviation",
        "overhead",
        "tensors cut",
        "bytes",
    ];
    table(&header, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        blocks: BlockArgs,
    }

    fn splitter(line: &str) -> Result<Splitter, String> {
        let words = std::iter::once("x").chain(line.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|e| e.to_string())?;
        line.blocks.splitter().map_err(|e| e.text())
    }

    #[test]
    fn times_are_read() {
        for (text, ns) in [
            ("200us", 200_000),
            ("1.5ms", 1_500_000),
            ("2 s", 2_000_000_000),
            ("7ns", 7),
            ("3µs", 3_000),
        ] {
            assert_eq!(duration_ns(text), Ok(ns), "{text}");
        }
        for (text, why) in [
            ("200", "200 of what?"),
            ("us", "`` is no number"),
            ("2h", "`h` is no unit"),
            ("1.2.3ms", "`1.2.3` is no number"),
            ("-1ms", "`-1ms` is no unit"),
            ("0us", "not between"),
            ("0.1ns", "not between"),
            ("99999s", "not between"),
        ] {
            let error = duration_ns(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn splitters_are_read() {
        assert_eq!(splitter(""), Ok(Splitter::Whole));
        assert_eq!(splitter("--blocks 3"), Ok(Splitter::Dp(Goal::Blocks(3))));
        let within = Ok(Splitter::Greedy(Goal::Within(200_000)));
        assert_eq!(splitter("--max-block 200us --splitter greedy"), within);
        let options = GeneticOptions {
            population: 30,
            stall: 5,
            seed: 9,
            ..Default::default()
        };
        assert_eq!(
            splitter("--splitter ga --blocks 4 --population 30 --stall 5 --splitter-seed 9"),
            Ok(Splitter::Genetic(4, options))
        );
        assert_eq!(splitter("--splitter every"), Ok(Splitter::Every));
        assert_eq!(splitter("--splitter converge"), Ok(Splitter::Converge));
        for (line, why) in [
            ("--splitter dp", "how many blocks"),
            ("--splitter ga --max-block 1ms", "takes a number of blocks"),
            ("--splitter every --blocks 2", "wherever it can"),
            ("--blocks 2 --stall 3", "--stall is of the genetic search"),
            ("--blocks 2 --max-block 1ms", "cannot be used with"),
            ("--blocks 0", "0 is not in 1..=1024"),
            ("--splitter best", "invalid value 'best'"),
        ] {
            let error = splitter(line).unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
        }
    }
}
