//! What `dlirc profile` prints.

use super::profile::Report;
use crate::cli::table::{mib, table};
use crate::profile::{ModelProfile, Origin};
use std::fmt::Write as _;

/// The steps and blocks of all models as comma-separated values, times in nanoseconds.
pub(super) fn csv(models: &[ModelProfile]) -> String {
    let mut text = String::from(
        "model,kind,index,label,origin,n,mean_ns,std_ns,min_ns,p50_ns,p90_ns,p99_ns,max_ns,class,dtype,\
         flop,bytes_read,bytes_written,launches,rounds,share,predicted_ns,error,key\n",
    );
    for model in models {
        let all: f64 = model.blocks.iter().map(|b| b.ns).sum();
        let steps = model.steps.iter().map(|s| Line {
            kind: "step",
            index: s.step,
            label: &s.label,
            origin: s.origin,
            measured: s.measured,
            work: Some(&s.work),
            share: s.share,
            predicted_ns: s.predicted_ns,
            error: s.error,
            key: &s.key,
        });
        let blocks = model.blocks.iter().map(|b| Line {
            kind: "block",
            index: b.block,
            label: "",
            origin: b.origin,
            measured: b.measured,
            work: None,
            share: if all > 0.0 { b.ns / all } else { 0.0 },
            predicted_ns: b.predicted_ns,
            error: b.error,
            key: &b.key,
        });
        for line in steps.chain(blocks) {
            line.write(&model.name, &mut text);
        }
    }
    text
}

struct Line<'a> {
    kind: &'static str,
    index: usize,
    label: &'a str,
    origin: Origin,
    measured: Option<crate::profile::Measured>,
    work: Option<&'a costs::Work>,
    share: f64,
    predicted_ns: f64,
    error: Option<f64>,
    key: &'a str,
}

impl Line<'_> {
    fn write(&self, model: &str, text: &mut String) {
        let times = match &self.measured {
            None => ",".repeat(7),
            Some(m) => format!(
                "{},{:.1},{:.1},{:.1},{:.1},{:.1},{:.1},{:.1}",
                m.n, m.mean_ns, m.std_ns, m.min_ns, m.p50_ns, m.p90_ns, m.p99_ns, m.max_ns
            ),
        };
        let work = match self.work {
            None => ",".repeat(6),
            Some(w) => format!(
                "{},{},{},{},{},{},{}",
                w.class,
                w.dtype,
                w.flop,
                w.bytes_read,
                w.bytes_written,
                w.launches_text(),
                w.rounds
            ),
        };
        let error = self.error.map_or(String::new(), |e| format!("{e:.4}"));
        // Writing to a string can't fail.
        let _ = writeln!(
            text,
            "{},{},{},{},{},{times},{work},{:.6},{:.1},{error},{}",
            field(model),
            self.kind,
            self.index,
            field(self.label),
            origin(self.origin),
            self.share,
            self.predicted_ns,
            self.key
        );
    }
}

/// Text as a field, quoted where it must be.
fn field(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Measured => "measured",
        Origin::Database => "database",
        Origin::Predicted => "predicted",
    }
}

/// The report for people.
pub(super) fn text(report: &Report) -> String {
    let mut text = String::new();
    let us = |ns: f64| format!("{:.2}", ns / 1e3);
    let percent = |x: f64| format!("{:.1} %", 100.0 * x);
    let signed = |x: Option<f64>| x.map_or("-".into(), |x| format!("{:+.1} %", 100.0 * x));
    let or_dash = |x: Option<f64>| x.map_or("-".into(), us);
    for model in &report.models {
        let rows: Vec<Vec<String>> = model
            .steps
            .iter()
            .map(|s| {
                vec![
                    format!("{}: {}", s.step, s.label),
                    s.work.class.clone(),
                    us(s.ns),
                    or_dash(s.measured.map(|m| m.std_ns)),
                    or_dash(s.measured.map(|m| m.p50_ns)),
                    or_dash(s.measured.map(|m| m.p99_ns)),
                    percent(s.share),
                    mib(s.work.bytes()),
                    format!("{:.2}", s.work.flop as f64 / 1e6),
                    us(s.predicted_ns),
                    signed(s.error),
                    origin(s.origin).into(),
                ]
            })
            .collect();
        let header = [
            "step",
            "class",
            "mean us",
            "std",
            "p50",
            "p99",
            "share",
            "traffic",
            "MFLOP",
            "predicted us",
            "off by",
            "from",
        ];
        let _ = writeln!(text, "{}", model.name);
        text += &table(&header, &rows);
        let rows: Vec<Vec<String>> = model
            .blocks
            .iter()
            .map(|b| {
                vec![
                    format!(
                        "{}: steps {}..{}",
                        b.block,
                        b.first_step,
                        b.first_step + b.n_steps
                    ),
                    us(b.ns),
                    or_dash(b.measured.map(|m| m.std_ns)),
                    or_dash(b.measured.map(|m| m.p50_ns)),
                    or_dash(b.measured.map(|m| m.p99_ns)),
                    us(b.predicted_ns),
                    signed(b.error),
                    percent(b.compute),
                    percent(b.memory),
                    origin(b.origin).into(),
                ]
            })
            .collect();
        let header = [
            "block",
            "mean us",
            "std",
            "p50",
            "p99",
            "predicted us",
            "off by",
            "of compute",
            "of memory",
            "from",
        ];
        text += &table(&header, &rows);
        text += "\n";
    }
    if !report.pairs.is_empty() {
        let rows = report.pairs.iter().map(|p| {
            let mut row = vec![p.blocks.join(" beside ")];
            row.extend(
                p.slowdown
                    .iter()
                    .chain(&p.predicted)
                    .map(|s| format!("{s:.2}x")),
            );
            row.push(origin(p.origin).into());
            row
        });
        let header = [
            "blocks",
            "first",
            "second",
            "predicted",
            "predicted",
            "from",
        ];
        text += &table(&header, &rows.collect::<Vec<_>>());
        text += "\n";
    }
    if !report.errors.is_empty() {
        let rows = report.errors.iter().map(|e| {
            vec![
                e.class.clone(),
                e.n_steps.to_string(),
                percent(e.mean),
                percent(e.max),
                signed(Some(e.sum)),
            ]
        });
        let header = [
            "predictions of",
            "steps measured",
            "mean error",
            "largest",
            "all together",
        ];
        text += &table(&header, &rows.collect::<Vec<_>>());
    }
    let _ = writeln!(text, "{}, {}", report.device, report.database);
    text
}
