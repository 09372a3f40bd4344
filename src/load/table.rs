//! Scenes beside each other, as text for people and as CSV.

use crate::cli::table::table;
use crate::load::bounds::Checked;
use crate::load::play::Outputs;
use crate::load::scene::{Kind, Scene};
use crate::load::statistics::{Statistics, Summary};
use serde::Serialize;

/// A scene and what it came to.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Played {
    /// What was asked.
    pub scene: Scene,
    /// What it came to.
    pub statistics: Statistics,
    /// What the plan promises, if it promises anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bounds: Option<Checked>,
    /// Whether outputs were those of models alone, if that was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Outputs>,
}

/// Scenes that differ in nothing but their policy, or in whether they were measured.
fn groups(played: &[Played]) -> Vec<Vec<&Played>> {
    let mut groups: Vec<Vec<&Played>> = vec![];
    let asked = |p: &Played| (p.scene.load, p.scene.services.clone(), p.scene.requests);
    for one in played {
        match groups.iter_mut().find(|g| asked(g[0]) == asked(one)) {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    groups
}

/// How a scene is called among those of its group.
pub fn label(played: &Played, all: &[&Played]) -> String {
    let both = all.iter().any(|p| p.scene.kind != played.scene.kind);
    match (both, played.scene.kind) {
        (true, Kind::Simulated) => format!("{} (simulated)", played.scene.policy),
        _ => played.scene.policy.clone(),
    }
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |v| format!("{v:.2}"))
}

fn percent(value: f64) -> String {
    format!("{:.1} %", 100.0 * value)
}

/// Tables of `played`, by load: policies with what they came to in total, and what they did to each
/// model. `limits` are the multiples of solo times of which violations are shown.
pub fn text(played: &[Played], limits: &[f64]) -> String {
    let mut text = String::new();
    for group in groups(played) {
        let scene = &group[0].scene;
        if !text.is_empty() {
            text.push('\n');
        }
        text += &heading(scene);
        text += &policies(&group, limits);
        text += "\n";
        // What was simulated too stands beside it in a table of its own.
        let measured = |p: &&&Played| p.scene.kind == Kind::Measured;
        let own: Vec<&Played> = group.iter().filter(measured).copied().collect();
        text += &models(if own.is_empty() { &group } else { &own });
        text += &bounds(&group);
        text += &stalls(&group);
        text += &outputs(&group);
    }
    text
}

fn heading(scene: &Scene) -> String {
    let load = scene
        .load
        .map_or_else(String::new, |l| format!("load {l}: "));
    let rate: f64 = scene.services.iter().map(|s| s.rate).sum();
    let rate = match rate {
        0.0 => String::new(),
        rate => format!(", {} a second", short(rate)),
    };
    let arrivals = match scene.arrivals.starts_with("file:") {
        true => "recorded",
        false => &scene.arrivals,
    };
    format!("{load}{} {arrivals} requests{rate}\n", scene.requests)
}

/// A number of three digits or more.
fn short(value: f64) -> String {
    match value {
        v if v >= 99.95 => format!("{v:.0}"),
        v if v >= 9.995 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

fn policies(group: &[&Played], limits: &[f64]) -> String {
    let mut header: Vec<String> = [
        "policy",
        "done",
        "ratio mean",
        "std",
        "p50",
        "p99",
        "p99.9",
        "worst p99",
    ]
    .map(String::from)
    .to_vec();
    header.extend(limits.iter().map(|k| format!("over {k}x")));
    let has_deadline = group
        .iter()
        .any(|p| p.scene.services.iter().any(|s| s.deadline_ns.is_some()));
    if has_deadline {
        header.push("late".into());
    }
    header.extend(["done/s", "busy", "at once", "overhead us"].map(String::from));
    let row = |p: &&Played| {
        let (s, total) = (&p.statistics, &p.statistics.total);
        let of =
            |get: fn(&crate::load::spread::Spread) -> f64| number(total.ratio.as_ref().map(get));
        let mut row = vec![
            label(p, group),
            total.finished.to_string(),
            of(|r| r.mean),
            of(|r| r.std),
            of(|r| r.p50),
            of(|r| r.p99),
            of(|r| r.p999),
            number(s.worst_p99),
        ];
        row.extend(
            limits
                .iter()
                .map(|&k| total.violation(k).map_or_else(|| "-".into(), percent)),
        );
        if has_deadline {
            row.push(total.late.to_string());
        }
        row.extend([
            short(total.throughput),
            percent(total.utilisation),
            format!("{:.2}", s.side_by_side),
            number(total.overhead_us.map(|o| o.p50)),
        ]);
        row
    };
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let rows: Vec<Vec<String>> = group.iter().map(row).collect();
    table(&header, &rows)
}

/// p99 of response ratios: models down, policies across.
fn models(group: &[&Played]) -> String {
    let labels: Vec<String> = group.iter().map(|p| label(p, group)).collect();
    let mut header = vec!["p99 of ratios", "solo ms", "a second"];
    header.extend(labels.iter().map(String::as_str));
    let scene = &group[0].scene;
    let rows = scene.services.iter().filter_map(|service| {
        let found = |p: &&Played| {
            let own = p
                .statistics
                .models
                .iter()
                .find(|m| m.model == service.model)?;
            Some(
                own.summary
                    .ratio
                    .map_or_else(|| "-".into(), |r| format!("{:.2}", r.p99)),
            )
        };
        let cells: Vec<Option<String>> = group.iter().map(found).collect();
        if cells.iter().all(Option::is_none) {
            return None;
        }
        let mut row = vec![
            service.model.clone(),
            format!("{:.3}", service.solo_ns as f64 / 1e6),
            match service.rate {
                0.0 => "-".into(),
                rate => short(rate),
            },
        ];
        row.extend(cells.into_iter().map(|c| c.unwrap_or_else(|| "-".into())));
        Some(row)
    });
    table(&header, &rows.collect::<Vec<_>>())
}

/// Whether outputs were those of models alone.
fn outputs(group: &[&Played]) -> String {
    let checked = group.iter().filter_map(|p| p.outputs.as_ref());
    let (mut n, mut wrong) = (0, 0);
    for outputs in checked {
        n += outputs.checked;
        wrong += outputs.wrong.len();
    }
    match n {
        0 => String::new(),
        _ => format!(
            "\noutputs of {n} requests compared with those of models alone: {wrong} differ\n"
        ),
    }
}

/// What was promised beside what was observed.
fn bounds(group: &[&Played]) -> String {
    let ms = |ns: u64| format!("{:.3}", ns as f64 / 1e6);
    let (mut rows, mut others) = (vec![], String::new());
    for &one in group {
        let Some(checked) = &one.bounds else {
            continue;
        };
        let name = label(one, group);
        if let Some(because) = &checked.because {
            others += &format!("the plan's bounds say nothing about {name}: {because}\n");
            continue;
        }
        rows.extend(checked.models.iter().map(|m| {
            vec![
                format!("{name}: {}", m.model),
                ms(m.wait_ns),
                ms(m.wait_bound_ns),
                ms(m.response_ns),
                ms(m.response_bound_ns),
                if m.holds() { "holds" } else { "BROKEN" }.into(),
            ]
        }));
    }
    if rows.is_empty() && others.is_empty() {
        return others;
    }
    let header = ["bounds", "wait ms", "at most", "response ms", "at most", ""];
    let table = match rows.is_empty() {
        true => String::new(),
        false => table(&header, &rows),
    };
    format!("\n{table}{others}")
}

/// That the system stopped the server, if it did.
fn stalls(group: &[&Played]) -> String {
    let of = |one: &&Played| one.statistics.total.max_stalled_ns;
    match group.iter().map(of).max() {
        None | Some(0) => String::new(),
        Some(ns) => format!(
            "\nthe system kept the server's thread from running for up to {:.2} ms; bounds count what a \
             deployment says of that (stall)\n",
            ns as f64 / 1e6
        ),
    }
}

/// One row for each scene and model, and one for all models of a scene, after a row of names. Fields
/// are quoted where they need it (RFC 4180, with plain line ends).
pub fn csv(played: &[Played], limits: &[f64]) -> String {
    let mut text = String::from(
        "kind,policy,arrivals,load,seed,model,solo_ms,rate,requests,finished,rejected,dropped,failed,cancelled,late,\
         ratio_min,ratio_mean,ratio_max,ratio_std,ratio_p50,ratio_p90,ratio_p95,ratio_p99,ratio_p999,\
         response_mean_ms,response_p99_ms,response_max_ms,wait_mean_ms,wait_p99_ms,wait_max_ms,\
         overhead_us,throughput,utilisation",
    );
    for k in limits {
        text += &format!(",over_{k}");
    }
    text.push('\n');
    for one in played {
        let rate: f64 = one.scene.services.iter().map(|s| s.rate).sum();
        text += &row(one, "total", None, rate, &one.statistics.total, limits);
        for m in &one.statistics.models {
            let service = one.scene.services.iter().find(|s| s.model == m.model);
            let rate = service.map_or(0.0, |s| s.rate);
            text += &row(
                one,
                &m.model,
                service.map(|s| s.solo_ns),
                rate,
                &m.summary,
                limits,
            );
        }
    }
    text
}

fn row(
    of: &Played,
    model: &str,
    solo_ns: Option<u64>,
    rate: f64,
    summary: &Summary,
    limits: &[f64],
) -> String {
    let scene = &of.scene;
    let optional = |v: Option<f64>| v.map_or_else(String::new, |v| v.to_string());
    let mut cells = vec![
        match scene.kind {
            Kind::Measured => "measured".into(),
            Kind::Simulated => "simulated".into(),
        },
        field(&scene.policy),
        field(&scene.arrivals),
        optional(scene.load),
        scene.seed.to_string(),
        field(model),
        optional(solo_ns.map(|ns| ns as f64 / 1e6)),
        rate.to_string(),
    ];
    let counts = [
        summary.requests,
        summary.finished,
        summary.rejected,
        summary.dropped,
        summary.failed,
        summary.cancelled,
        summary.late,
    ];
    cells.extend(counts.iter().map(ToString::to_string));
    let ratio = summary.ratio.map(|r| {
        [
            r.min, r.mean, r.max, r.std, r.p50, r.p90, r.p95, r.p99, r.p999,
        ]
    });
    cells.extend((0..9).map(|i| optional(ratio.map(|r| r[i]))));
    for spread in [summary.response_ms, summary.wait_ms] {
        let values = spread.map(|s| [s.mean, s.p99, s.max]);
        cells.extend((0..3).map(|i| optional(values.map(|v| v[i]))));
    }
    cells.push(optional(summary.overhead_us.map(|o| o.p50)));
    cells.extend([
        summary.throughput.to_string(),
        summary.utilisation.to_string(),
    ]);
    cells.extend(limits.iter().map(|&k| optional(summary.violation(k))));
    cells.join(",") + "\n"
}

/// A field of CSV.
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.into()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::load::record::tests::{model, record};
    use crate::load::scene::tests::scene;
    use crate::load::statistics::Collector;

    pub(crate) fn played(policy: &str, wait_ns: u64) -> Played {
        let mut collector = Collector::new(1, &[2.0]);
        for i in 0..4 {
            collector.add(&record(0, i * 5000, i * wait_ns, 1000));
        }
        Played {
            scene: scene(policy),
            statistics: collector.statistics(&[model("a")]),
            bounds: None,
            outputs: None,
        }
    }

    #[test]
    fn policies_stand_beside_each_other() {
        let text = text(&[played("fifo", 1000), played("dlir", 400)], &[2.0]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "load 0.9: 3 poisson requests, 12.5 a second");
        assert!(lines[1].starts_with("policy  done  ratio mean"), "{text}");
        assert!(
            lines[2].starts_with("fifo       4        2.50  1.29"),
            "{text}"
        );
        assert!(lines[2].contains("50.0 %"), "{text}");
        assert!(lines[3].starts_with("dlir"), "{text}");
        let model: Vec<&str> = lines[6].split_whitespace().collect();
        assert_eq!(model, ["a", "0.001", "12.5", "4.00", "2.20"], "{text}");
    }

    #[test]
    fn rows_are_as_wide_as_their_names() {
        let mut one = played("fi,\"fo", 1000);
        one.scene.services[0].model = "b".into();
        let csv = csv(&[one], &[2.0, 4.0]);
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines.len(), 3);
        let columns = lines[0].split(',').count();
        for line in &lines[1..] {
            let plain = line.replace("\"fi,\"\"fo\"", "fifo");
            assert_eq!(plain.split(',').count(), columns, "{line}");
        }
        assert!(lines[1].starts_with("simulated,\"fi,\"\"fo\",poisson,0.9,1,total,,12.5,4,4,0,"));
        assert!(lines[1].contains(",1,2.5,4,"), "{}", lines[1]);
        assert!(lines[1].ends_with(",0.5,0"), "{}", lines[1]);
    }
}
