//! Layered layout of one connected part of a graph, cut into columns.
//!
//! The order within layers comes from the layered method (Sugiyama, Tagawa and Toda, "Methods for
//! visual understanding of hierarchical system structures", 1981). Distances are found by letting
//! each vertex move toward its neighbours, layer after layer: the places closest to where a layer's
//! vertices would like to be, in their order and without overlap, are a weighted isotonic
//! regression, which pooling adjacent violators solves exactly.

use super::layout::{GAP, LAYER, NODE_HEIGHT};
use rust_sugiyama::configure::{Config, CrossingMinimization, RankingType};
use std::collections::BTreeMap;

/// Something that needs a place in its layer.
pub(super) struct Vertex {
    pub(super) layer: usize,
    pub(super) width: f64,
    /// Whether only an edge passes here.
    pub(super) is_passage: bool,
}

/// A connected part of a graph.
pub(super) struct Connected {
    pub(super) vertices: Vec<usize>,
    pub(super) edges: Vec<(u32, u32)>,
}

/// Consecutive layers of a part, with places.
pub(super) struct Column {
    pub(super) first_layer: usize,
    pub(super) n_layers: usize,
    /// Vertices and their middles, from the column's left edge.
    pub(super) places: Vec<(usize, f64)>,
    pub(super) width: f64,
}

/// The connected parts of a graph of `n` vertices, by their first vertex.
pub(super) fn connected(n: usize, edges: &[(u32, u32)]) -> Vec<Connected> {
    let mut parent: Vec<usize> = (0..n).collect();
    fn root(parent: &mut [usize], mut i: usize) -> usize {
        while parent[i] != i {
            parent[i] = parent[parent[i]];
            i = parent[i];
        }
        i
    }
    for &(a, b) in edges {
        let (a, b) = (root(&mut parent, a as usize), root(&mut parent, b as usize));
        parent[a.max(b)] = a.min(b);
    }
    let mut parts: BTreeMap<usize, Connected> = BTreeMap::new();
    let new = || Connected {
        vertices: vec![],
        edges: vec![],
    };
    for i in 0..n {
        let root = root(&mut parent, i);
        parts.entry(root).or_insert_with(new).vertices.push(i);
    }
    for &edge in edges {
        let root = root(&mut parent, edge.0 as usize);
        parts.entry(root).or_insert_with(new).edges.push(edge);
    }
    parts.into_values().collect()
}

/// Up to this many layers stay in one column.
const MAX_SINGLE: usize = 16;

/// Cuts a part into columns of about equal height, where few edges cross, and lays out each.
pub(super) fn cut(vertices: &[Vertex], part: &Connected) -> Vec<Column> {
    let layers = part.vertices.iter().map(|&i| vertices[i].layer);
    let first = layers.clone().min().unwrap_or(0);
    let n_layers = layers.max().unwrap_or(0) + 1 - first;
    // So that a picture is about half as high as wide, if columns are about six layers wide.
    let n_columns = if n_layers <= MAX_SINGLE {
        1
    } else {
        ((n_layers as f64 * 0.3).sqrt().round() as usize).max(2)
    };
    // How many places a cut above each layer would go through.
    let mut crossings = vec![0usize; n_layers + 1];
    let mut starts: Vec<u32> = part.edges.iter().map(|e| e.0).collect();
    starts.sort_unstable();
    starts.dedup();
    for from in starts {
        crossings[vertices[from as usize].layer - first + 1] += 1;
    }
    let mut cuts = vec![0];
    for c in 1..n_columns {
        let ideal = n_layers * c / n_columns;
        let slack = n_layers / n_columns / 4;
        let low = (ideal - slack).max(cuts[c - 1] + 1);
        let best = (low..=ideal + slack).min_by_key(|&at| (crossings[at], at.abs_diff(ideal)));
        cuts.push(best.unwrap_or(ideal));
    }
    cuts.push(n_layers);
    let column_of = |i: usize| cuts.partition_point(|&at| at <= vertices[i].layer - first) - 1;
    let mut members: Vec<Vec<usize>> = vec![vec![]; n_columns];
    for &i in &part.vertices {
        members[column_of(i)].push(i);
    }
    let mut inner: Vec<Vec<(usize, usize)>> = vec![vec![]; n_columns];
    for &(from, to) in &part.edges {
        let (from, to) = (from as usize, to as usize);
        if column_of(from) == column_of(to) {
            inner[column_of(from)].push((from, to));
        }
    }
    (0..n_columns)
        .map(|c| {
            let first_layer = first + cuts[c];
            let n_layers = cuts[c + 1] - cuts[c];
            column(vertices, &members[c], &inner[c], first_layer, n_layers)
        })
        .collect()
}

fn column(
    vertices: &[Vertex],
    members: &[usize],
    edges: &[(usize, usize)],
    first_layer: usize,
    n_layers: usize,
) -> Column {
    let local: BTreeMap<usize, usize> = members.iter().copied().zip(0..).collect();
    let edges: Vec<(usize, usize)> = edges.iter().map(|(a, b)| (local[a], local[b])).collect();
    let mut rows = vec![vec![]; n_layers];
    for v in in_order(vertices, members, &edges) {
        rows[vertices[members[v]].layer - first_layer].push(v);
    }
    let middles = straighten(vertices, members, &edges, &rows);
    let half = |v: usize| vertices[members[v]].width / 2.0;
    let bounds = (0..members.len()).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
        (
            low.min(middles[v] - half(v)),
            high.max(middles[v] + half(v)),
        )
    });
    Column {
        first_layer,
        n_layers,
        places: members
            .iter()
            .zip(&middles)
            .map(|(&i, &x)| (i, (x - bounds.0).round()))
            .collect(),
        width: (bounds.1 - bounds.0).max(0.0).ceil(),
    }
}

/// A column's vertices from left to right.
fn in_order(vertices: &[Vertex], members: &[usize], edges: &[(usize, usize)]) -> Vec<usize> {
    let sizes: Vec<(u32, (f64, f64))> = (0..)
        .zip(members)
        .map(|(v, &i)| (v, (vertices[i].width, NODE_HEIGHT)))
        .collect();
    let edges: Vec<(u32, u32)> = edges.iter().map(|&(a, b)| (a as u32, b as u32)).collect();
    let config = Config {
        minimum_length: 1,
        vertex_spacing: GAP,
        dummy_vertices: false,
        dummy_size: 1.0,
        ranking_type: RankingType::MinimizeEdgeLength,
        c_minimization: CrossingMinimization::Barycenter,
        transpose: true,
    };
    let mut pieces = rust_sugiyama::from_vertices_and_edges(&sizes, &edges, &config);
    pieces.sort_by_key(|(piece, _, _)| piece.iter().map(|&(v, _)| v).min());
    let mut order = vec![];
    for (mut piece, _, _) in pieces {
        piece.sort_by(|(v, (x, _)), (w, (y, _))| x.total_cmp(y).then(v.cmp(w)));
        order.extend(piece.into_iter().map(|(v, _)| v));
    }
    order
}

/// How often vertices move toward their neighbours.
const SWEEPS: usize = 40;

/// Where the middle of each vertex goes, in the order of `rows`, without overlap.
fn straighten(
    vertices: &[Vertex],
    members: &[usize],
    edges: &[(usize, usize)],
    rows: &[Vec<usize>],
) -> Vec<f64> {
    let of = |v: usize| &vertices[members[v]];
    // Long edges shall be straight; short ones follow the nodes.
    let strength = |a: usize, b: usize| match (of(a).is_passage, of(b).is_passage) {
        (true, true) => 4.0,
        (false, false) => 1.0,
        _ => 0.5,
    };
    let mut up: Vec<Vec<(usize, f64)>> = vec![vec![]; members.len()];
    let mut down = up.clone();
    for &(a, b) in edges {
        up[b].push((a, strength(a, b)));
        down[a].push((b, strength(a, b)));
    }
    let mut x = vec![0.0; members.len()];
    for row in rows {
        let width: f64 = row.iter().map(|&v| of(v).width + GAP).sum();
        let mut at = -width / 2.0;
        for &v in row {
            x[v] = at + (of(v).width + GAP) / 2.0;
            at += of(v).width + GAP;
        }
    }
    for sweep in 0..SWEEPS {
        let order: Vec<usize> = if sweep % 2 == 0 {
            (0..rows.len()).collect()
        } else {
            (0..rows.len()).rev().collect()
        };
        for r in order {
            let row = &rows[r];
            let wish = |v: usize| {
                // First along one direction, in the end between both sides.
                let sides: [&[(usize, f64)]; 2] = match (sweep + 6 < SWEEPS, sweep % 2) {
                    (true, 0) => [&up[v], &[]],
                    (true, _) => [&down[v], &[]],
                    (false, _) => [&up[v], &down[v]],
                };
                let (sum, weight) = sides
                    .into_iter()
                    .flatten()
                    .fold((0.0, 0.0), |(s, w), &(u, k)| (s + x[u] * k, w + k));
                // As strong as what draws it: then what goes apart below a vertex meets below it.
                if weight > 0.0 {
                    (sum / weight, weight)
                } else {
                    (x[v], 0.05)
                }
            };
            let wishes: Vec<(f64, f64)> = row.iter().map(|&v| wish(v)).collect();
            let widths: Vec<f64> = row.iter().map(|&v| of(v).width).collect();
            for (&v, place) in row.iter().zip(apart(&wishes, &widths)) {
                x[v] = place;
            }
        }
    }
    x
}

/// The places closest to the wishes (where, how strongly) that keep their order and do not overlap.
fn apart(wishes: &[(f64, f64)], widths: &[f64]) -> Vec<f64> {
    let mut offsets = vec![];
    let mut at = 0.0;
    for (i, width) in widths.iter().enumerate() {
        if i > 0 {
            at += widths[i - 1] / 2.0 + GAP + width / 2.0;
        }
        offsets.push(at);
    }
    // Pools of neighbours that touch: their wish, how strong it is, and how many they are.
    let mut pools: Vec<(f64, f64, usize)> = vec![];
    for (&(wish, weight), offset) in wishes.iter().zip(&offsets) {
        let mut pool = (wish - offset, weight, 1);
        while let Some(&(last, last_weight, n)) = pools.last() {
            if last <= pool.0 {
                break;
            }
            let sum = last_weight + pool.1;
            pool = (
                (last * last_weight + pool.0 * pool.1) / sum,
                sum,
                n + pool.2,
            );
            pools.pop();
        }
        pools.push(pool);
    }
    pools
        .into_iter()
        .flat_map(|(wish, _, n)| std::iter::repeat_n(wish, n))
        .zip(offsets)
        .map(|(wish, offset)| wish + offset)
        .collect()
}

/// The height of a column of `n` layers.
pub(super) fn height(n: usize) -> f64 {
    n.saturating_sub(1) as f64 * LAYER + NODE_HEIGHT
}
