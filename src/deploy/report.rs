//! What became of a deployment, in words.

use super::{Deployment, Outcome};
use crate::cli::table::table;
use crate::report::Diagnostic;
use passes::bounds::{Analysis, Reason};
use plans::{Deploy, Plan};
use runtime::schedule::Policy;
use serde_json::{Value, json};

fn ms(ns: u64) -> String {
    format!("{:.3} ms", ns as f64 / 1e6)
}

/// Rounds and bounds as tables.
pub fn text(outcome: &Outcome, plan: &Plan) -> String {
    let Some(deploy) = &plan.deploy else {
        return String::new();
    };
    let mut text = String::new();
    let rows: Vec<Vec<String>> = outcome
        .rounds
        .iter()
        .enumerate()
        .map(|(r, found)| {
            let gain = found.serial_ns as f64 / found.round.makespan_ns.max(1) as f64;
            let lanes = found.round.placed.iter().map(|p| p.lane + 1).max();
            vec![
                r.to_string(),
                models_of(plan, deploy, r),
                found.round.placed.len().to_string(),
                lanes.unwrap_or(0).to_string(),
                ms(found.round.makespan_ns),
                ms(found.serial_ns),
                format!("{gain:.2}x"),
                if found.is_best { "best" } else { "good" }.to_owned(),
            ]
        })
        .collect();
    text += &table(
        &[
            "round",
            "models",
            "blocks",
            "lanes",
            "predicted",
            "one by one",
            "gain",
            "search",
        ],
        &rows,
    );
    let mut header = vec!["model", "rate", "deadline"];
    let columns: Vec<String> = outcome
        .policies
        .iter()
        .map(|(policy, _)| match policy.name() == deploy.policy {
            true => format!("{policy} *"),
            false => policy.to_string(),
        })
        .collect();
    header.extend(columns.iter().map(String::as_str));
    let rows: Vec<Vec<String>> = deploy
        .services
        .iter()
        .enumerate()
        .map(|(i, service)| {
            let rate = match service.rate_mhz {
                0 => "unknown".to_owned(),
                rate => format!("{}/s", rate as f64 / 1e3),
            };
            let bounds = outcome.policies.iter().map(|(_, a)| match a.bounds[i] {
                Some(bound) => format!("{} / {}", ms(bound.wait_ns), ms(bound.response_ns)),
                None => "no bound".to_owned(),
            });
            let name = plan.models[service.model.index()].name.clone();
            let deadline = service.deadline_ns.map_or_else(|| "none".to_owned(), ms);
            [name, rate, deadline].into_iter().chain(bounds).collect()
        })
        .collect();
    text += "longest wait / response by policy (* chosen)\n";
    text += &table(&header, &rows);
    if let Some(load) = outcome.policies.first().and_then(|(_, a)| a.utilisation) {
        text += &format!(
            "one after another, requests take {:.0} % of the time\n",
            load * 100.0
        );
    }
    if outcome.shared_bytes > 0 {
        text += &format!(
            "models that never run at once share {:.1} MiB\n",
            outcome.shared_bytes as f64 / f64::from(1 << 20)
        );
    }
    text
}

fn models_of(plan: &Plan, deploy: &Deploy, round: usize) -> String {
    let placed = deploy.rounds[round].placed.iter();
    let mut models: Vec<usize> = placed
        .map(|p| plan.blocks[p.block.index()].model.index())
        .collect();
    models.sort_unstable();
    models.dedup();
    let names: Vec<&str> = models
        .iter()
        .map(|&m| plan.models[m].name.as_str())
        .collect();
    names.join(", ")
}

/// The same as JSON.
pub fn json(outcome: &Outcome, plan: &Plan) -> Value {
    let Some(deploy) = &plan.deploy else {
        return Value::Null;
    };
    let rounds: Vec<Value> = outcome
        .rounds
        .iter()
        .map(|found| {
            json!({
                "makespan_ns": found.round.makespan_ns,
                "serial_ns": found.serial_ns,
                "is_best": found.is_best,
                "blocks": found.round.placed.len(),
                "late_ns": found.late_ns,
            })
        })
        .collect();
    let policies: serde_json::Map<String, Value> = outcome
        .policies
        .iter()
        .map(|(policy, analysis)| {
            let bounds: Vec<Value> = analysis
                .bounds
                .iter()
                .map(|b| {
                    json!(b.map(|b| json!({ "wait_ns": b.wait_ns, "response_ns": b.response_ns })))
                })
                .collect();
            (policy.name().to_owned(), json!(bounds))
        })
        .collect();
    json!({
        "policy": deploy.policy,
        "rounds": rounds,
        "bounds": policies,
        "utilisation": outcome.policies.first().and_then(|(_, a)| a.utilisation),
        "shared_bytes": outcome.shared_bytes,
    })
}

/// The deadlines that can't be promised, if there are any: an error if they were `required`.
pub fn missed(
    deployment: &Deployment,
    outcome: &Outcome,
    plan: &Plan,
    required: bool,
) -> Option<Diagnostic> {
    let deploy = plan.deploy.as_ref()?;
    let chosen = |(policy, _): &&(Policy, Analysis)| *policy == deployment.policy;
    let (_, analysis) = outcome.policies.iter().find(chosen)?;
    let mut notes = vec![];
    for (i, service) in deploy.services.iter().enumerate() {
        let Some(deadline) = service.deadline_ns else {
            continue;
        };
        let name = &plan.models[service.model.index()].name;
        match (analysis.bounds[i], &analysis.reasons[i]) {
            (Some(bound), _) if bound.response_ns <= deadline => {}
            (Some(bound), _) => notes.push(format!(
                "{name}: a request may take {} and is to be done after {}: it runs for {} alone and \
                 waits for up to {}",
                ms(bound.response_ns),
                ms(deadline),
                ms(alone(plan, i)),
                ms(bound.wait_ns)
            )),
            (None, reason) => notes.push(format!(
                "{name}: there is no bound under {}: {}",
                deployment.policy,
                why(plan, reason.as_ref(), analysis)
            )),
        }
    }
    if notes.is_empty() {
        return None;
    }
    let message = match notes.len() {
        1 => "a deadline can't be promised".to_owned(),
        n => format!("{n} deadlines can't be promised"),
    };
    let mut diagnostic = match required {
        true => Diagnostic::error("deadlines", message),
        false => Diagnostic::warning("deadlines", message),
    };
    diagnostic.notes = notes;
    Some(diagnostic.help(help(deployment, outcome, plan, analysis)))
}

/// The time of a service's model alone.
fn alone(plan: &Plan, service: usize) -> u64 {
    let own = plan.blocks.iter().filter(|b| b.model.index() == service);
    own.map(plans::Block::ns).sum()
}

fn why(plan: &Plan, reason: Option<&Reason>, analysis: &Analysis) -> String {
    match reason {
        Some(Reason::NoTimes) | None => "nothing is known of the times of its blocks".to_owned(),
        Some(Reason::NoRate(m)) => {
            let name = plan.models.get(*m).map_or("a model", |m| &m.name);
            format!(
                "requests of {name} may come as often as they like, because its rate is not given"
            )
        }
        Some(Reason::Overload) => match analysis.utilisation {
            Some(load) if load >= 1.0 => format!(
                "all requests together take {:.0} % of the time, one after another",
                load * 100.0
            ),
            _ => "in the worst case requests come faster than they are done".to_owned(),
        },
    }
}

/// What would help, the surest first.
fn help(deployment: &Deployment, outcome: &Outcome, plan: &Plan, analysis: &Analysis) -> String {
    let services = plan.deploy.as_ref().map_or(&[][..], |d| &d.services);
    let meets = |analysis: &Analysis| {
        let all = services.iter().zip(&analysis.bounds);
        all.filter_map(|(s, b)| Some((s.deadline_ns?, b)))
            .all(|(deadline, b)| b.is_some_and(|b| b.response_ns <= deadline))
    };
    let better: Vec<&str> = outcome
        .policies
        .iter()
        .filter(|(_, analysis)| meets(analysis))
        .map(|(policy, _)| policy.name())
        .collect();
    if !better.is_empty() {
        return format!(
            "policy = \"{}\" meets all deadlines",
            better.join("\" or \"")
        );
    }
    // Deadlines no longer than a model takes alone can't be met by anything.
    for (i, service) in services.iter().enumerate() {
        let least = (alone(plan, i) as f64 * (1.0 + deployment.margin)) as u64;
        if let Some(deadline) = service.deadline_ns
            && deadline < least
        {
            return format!(
                "{} alone takes {}, margin included: give it a later deadline, or a faster device",
                plan.models[i].name,
                ms(least)
            );
        }
    }
    if analysis
        .reasons
        .iter()
        .flatten()
        .any(|r| matches!(r, Reason::NoRate(_)))
    {
        return "give the `rate` of every model".to_owned();
    }
    if let Some(load) = analysis.utilisation
        && load >= 1.0
    {
        return format!("ask for less: at most {:.0} % of these rates", 95.0 / load);
    }
    let urgent = services.iter().filter(|s| s.deadline_ns.is_some());
    if deployment.policy == Policy::Interleave && urgent.clone().any(|s| s.priority == 0) {
        return "give the models with deadlines a `priority` above 0, and the others none"
            .to_owned();
    }
    "cut blocks shorter with --max-block, lower the rates, or give later deadlines".to_owned()
}
