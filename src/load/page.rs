//! Scenes beside each other, as one page that needs nothing else.

use crate::load::scene::{Kind, Scene};
use crate::load::statistics::{ModelSummary, Summary};
use crate::load::table::{Played, label};
use plans::picture::Page;
use serde::Serialize;

const STYLE: &str = include_str!("page/page.css");
const BODY: &str = include_str!("page/page.html");
const SCRIPT: &str = include_str!("page/page.js");

/// What the page's script draws.
#[derive(Serialize)]
struct Data<'p> {
    title: &'p str,
    facts: Vec<String>,
    limits: &'p [f64],
    models: Vec<ModelJson<'p>>,
    scenes: Vec<SceneJson<'p>>,
}

#[derive(Serialize)]
struct ModelJson<'p> {
    name: &'p str,
    solo_ms: f64,
    /// At each load, in the order in which loads first occur in the scenes.
    rates: Vec<f64>,
    deadline_ms: Option<f64>,
    priority: u8,
}

#[derive(Serialize)]
struct SceneJson<'p> {
    label: String,
    policy: &'p str,
    kind: Kind,
    load: Option<f64>,
    total: &'p Summary,
    models: &'p [ModelSummary],
    distribution: &'p [(f64, f64)],
    worst_p99: Option<f64>,
    side_by_side: f64,
}

/// A page under `title` that compares `played`, all of one plan: late requests over multiples of the
/// time alone (`limits` are marked), response ratios, models, and loads if there are several. All
/// names are taken for text, and no network is asked.
pub fn html(title: &str, played: &[Played], limits: &[f64]) -> String {
    let all: Vec<&Played> = played.iter().collect();
    let scenes = played.iter().map(|p| SceneJson {
        label: label(p, &all),
        policy: &p.scene.policy,
        kind: p.scene.kind,
        load: p.scene.load,
        total: &p.statistics.total,
        models: &p.statistics.models,
        distribution: &p.statistics.distribution,
        worst_p99: p.statistics.worst_p99,
        side_by_side: p.statistics.side_by_side,
    });
    let data = Data {
        title,
        facts: facts(played),
        limits,
        models: models(played),
        scenes: scenes.collect(),
    };
    let data = serde_json::to_string(&data).expect("the schema has no map and no other keys");
    let page = Page {
        title: &format!("{title} · dlirc load"),
        style: STYLE,
        body: BODY,
        script: SCRIPT,
        data: &data,
    };
    page.html()
}

/// What all scenes have in common.
fn facts(played: &[Played]) -> Vec<String> {
    let Some(Played { scene, .. }) = played.first() else {
        return vec![];
    };
    let measured = played.iter().find(|p| p.scene.kind == Kind::Measured);
    let arrivals = match scene.arrivals.starts_with("file:") {
        true => "recorded",
        false => &scene.arrivals,
    };
    let mut facts = vec![
        format!("{} {arrivals} requests", scene.requests),
        format!("seed {}", scene.seed),
    ];
    facts.push(match measured {
        Some(p) => format!("on {}", p.scene.device),
        None => "simulated".into(),
    });
    facts
}

fn models(played: &[Played]) -> Vec<ModelJson<'_>> {
    let Some(first) = played.first() else {
        return vec![];
    };
    let mut by_load: Vec<&Scene> = vec![];
    for Played { scene, .. } in played {
        if by_load.iter().all(|s| s.load != scene.load) {
            by_load.push(scene);
        }
    }
    let services = first.scene.services.iter().enumerate();
    services
        .map(|(i, service)| ModelJson {
            name: &service.model,
            solo_ms: service.solo_ns as f64 / 1e6,
            rates: by_load
                .iter()
                .map(|s| s.services.get(i).map_or(0.0, |s| s.rate))
                .collect(),
            deadline_ms: service.deadline_ns.map(|ns| ns as f64 / 1e6),
            priority: service.priority,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::table::tests::played;

    #[test]
    fn names_stay_text() {
        let mut one = played("fifo", 100);
        one.scene.services[0].model = "</script><b>&".into();
        let page = html("</title><i>", &[one], &[2.0]);
        assert!(
            page.contains("\\u003c/script\\u003e\\u003cb\\u003e\\u0026"),
            "{page}"
        );
        assert_eq!(page.matches("</script>").count(), 2);
        assert!(page.contains("<title>&lt;/title&gt;&lt;i&gt; · dlirc load</title>"));
    }

    #[test]
    fn a_page_asks_no_network() {
        let page = html("a", &[played("fifo", 100)], &[]);
        let others = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!others.contains("http:") && !others.contains("https:"));
        assert!(!others.contains(" src=") && !others.contains("@import"));
    }
}
