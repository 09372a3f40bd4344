//! Where the steps of a plan go in a picture.
//!
//! Data flows from top to bottom, model beside model; what gets too tall goes on in a further column.
//! A step lies one layer below the last of those whose results it reads. An edge over several layers
//! passes each in a place of its own, which all edges of one result share, so that it crosses no
//! step.

use super::columns::{self, Column, Vertex};
use super::shortened;
use crate::flow::{End, flows};
use crate::plan::{ModelIndex, StepIndex};
use crate::validate::ValidPlan;
use std::collections::{BTreeMap, BTreeSet};

/// A picture's parts, in pixels; the origin is at the top left.
pub(super) struct Layout {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) groups: Vec<Group>,
    pub(super) nodes: Vec<Node>,
    pub(super) edges: Vec<Edge>,
}

/// The place of a model.
pub(super) struct Group {
    pub(super) model: ModelIndex,
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// A step, an input or an output.
pub(super) struct Node {
    pub(super) end: End,
    pub(super) title: String,
    pub(super) subtitle: String,
    /// The middle.
    pub(super) x: f64,
    /// The top.
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// Results of a node that another one reads.
pub(super) struct Edge {
    pub(super) from: usize,
    pub(super) to: usize,
    /// Its corners, from the bottom of one node to the top of the other.
    pub(super) points: Vec<(f64, f64)>,
}

impl Edge {
    /// The way as an SVG path: curves that leave and enter nodes upright, and round corners around
    /// columns.
    pub(super) fn path(&self) -> String {
        const RADIUS: f64 = 8.0;
        let points = &self.points;
        let mut d = match points.first() {
            Some((x, y)) => format!("M{x:.1} {y:.1}"),
            None => return String::new(),
        };
        let is_flat = |a: (f64, f64), b: (f64, f64)| (a.1 - b.1).abs() < 0.05;
        let is_upright = |a: (f64, f64), b: (f64, f64)| (a.0 - b.0).abs() < 0.05;
        for (i, pair) in points.windows(2).enumerate() {
            let ((x0, y0), (x, y)) = (pair[0], pair[1]);
            let next = points.get(i + 2).copied();
            let turns = next.is_some_and(|next| {
                is_flat(pair[0], pair[1]) != is_flat(pair[1], next)
                    && (is_flat(pair[0], pair[1]) || is_upright(pair[0], pair[1]))
                    && (is_flat(pair[1], next) || is_upright(pair[1], next))
            });
            if let (true, Some((nx, ny))) = (turns, next) {
                let r = RADIUS
                    .min(((x - x0).abs() + (y - y0).abs()) / 2.0)
                    .min(((nx - x).abs() + (ny - y).abs()) / 2.0);
                let (sx, sy) = if is_flat(pair[0], pair[1]) {
                    (x - (x - x0).signum() * r, y)
                } else {
                    (x, y - (y - y0).signum() * r)
                };
                let (ex, ey) = if is_flat(pair[1], (nx, ny)) {
                    (x + (nx - x).signum() * r, y)
                } else {
                    (x, y + (ny - y).signum() * r)
                };
                d += &format!("L{sx:.1} {sy:.1}Q{x:.1} {y:.1} {ex:.1} {ey:.1}");
            } else if is_flat(pair[0], pair[1]) || is_upright(pair[0], pair[1]) {
                d += &format!("L{x:.1} {y:.1}");
            } else {
                let middle = (y0 + y) / 2.0;
                d += &format!("C{x0:.1} {middle:.1} {x:.1} {middle:.1} {x:.1} {y:.1}");
            }
        }
        d
    }
}

/// The height of a node.
pub(super) const NODE_HEIGHT: f64 = 44.0;
/// From the top of a layer to that of the next one.
pub(super) const LAYER: f64 = 76.0;
/// Between nodes side by side, at least.
pub(super) const GAP: f64 = 20.0;
/// Around what belongs to a model; twice that at the top, for its name.
const MARGIN: f64 = 28.0;
/// The width of the place where an edge passes a layer.
const PASSAGE: f64 = 8.0;
/// The most places for edges; further edges go straight.
const MAX_PASSAGES: usize = 30_000;
/// The most characters of a title.
const MAX_TITLE: usize = 34;

/// The layout of a plan.
pub(super) fn layout(plan: &ValidPlan) -> Layout {
    let mut edges_of: Vec<BTreeSet<(End, End)>> = vec![BTreeSet::new(); plan.models.len()];
    for flow in flows(plan) {
        let model = match flow.from {
            End::Input(model, _) | End::Output(model, _) => model,
            End::Step(step) => plan.steps[step.index()].model,
        };
        edges_of[model.index()].insert((flow.from, flow.to));
    }
    let mut all = Layout {
        width: MARGIN,
        height: 0.0,
        groups: vec![],
        nodes: vec![],
        edges: vec![],
    };
    for (m, edges) in (0..).map(ModelIndex).zip(&edges_of) {
        let part = ModelLayout::new(plan, m, edges).place();
        let (x, y) = (all.width, MARGIN);
        let first = all.nodes.len();
        let inner = (x + MARGIN, y + 2.0 * MARGIN);
        all.nodes.extend(part.nodes.into_iter().map(|node| Node {
            x: node.x + inner.0,
            y: node.y + inner.1,
            ..node
        }));
        all.edges.extend(part.edges.into_iter().map(|edge| {
            Edge {
                from: edge.from + first,
                to: edge.to + first,
                points: edge
                    .points
                    .into_iter()
                    .map(|(px, py)| (px + inner.0, py + inner.1))
                    .collect(),
            }
        }));
        let group = Group {
            model: m,
            x,
            y,
            width: part.width + 2.0 * MARGIN,
            height: part.height + 3.0 * MARGIN,
        };
        all.width += group.width + MARGIN;
        all.height = all.height.max(group.y + group.height + MARGIN);
        all.groups.push(group);
    }
    all
}

/// An estimate of the width of a text at `size` pixels, in a common sans-serif font.
fn text_width(text: &str, size: f64) -> f64 {
    let em = |c: char| match c {
        'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '|' | '\'' | '/' | ' ' | '(' | ')' => 0.32,
        'm' | 'w' | 'M' | 'W' | '@' => 0.87,
        'A'..='Z' | '0'..='9' | '+' | '<' | '>' | '=' | '_' => 0.64,
        c if c.is_ascii() => 0.56,
        _ => 0.9,
    };
    text.chars().map(em).sum::<f64>() * size
}

fn node(plan: &ValidPlan, end: End) -> Node {
    let (title, subtitle) = match end {
        End::Step(step) => {
            let step = &plan.steps[step.index()];
            let kernel = &plan.kernels[step.kernel.index()];
            (step.label.clone(), kernel.summary())
        }
        End::Input(m, n) => {
            let p = &plan.models[m.index()].inputs[n];
            (p.name.clone(), p.ty())
        }
        End::Output(m, n) => {
            let p = &plan.models[m.index()].outputs[n];
            (p.name.clone(), p.ty())
        }
    };
    let (title, subtitle) = (
        shortened(&title, MAX_TITLE),
        shortened(&subtitle, MAX_TITLE + 8),
    );
    // Titles are bold.
    let text = (1.16 * text_width(&title, 13.0)).max(1.05 * text_width(&subtitle, 11.0));
    Node {
        end,
        x: 0.0,
        y: 0.0,
        width: (text + 44.0).clamp(96.0, 360.0).ceil(),
        height: NODE_HEIGHT,
        title,
        subtitle,
    }
}

/// A model's nodes and edges before they have places.
struct ModelLayout {
    nodes: Vec<Node>,
    edges: Vec<(usize, usize)>,
    layers: Vec<usize>,
}

/// Ways for edges over several layers. Passages are numbered from the number of nodes on.
struct Passages {
    /// Edges between neighbouring layers, from and to nodes and passages.
    short: Vec<(u32, u32)>,
    /// The passages that each edge takes.
    routes: Vec<Vec<usize>>,
    /// The layer of each node, then of each passage.
    layers: Vec<usize>,
}

/// A model's nodes and edges with places.
struct Part {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
    width: f64,
    height: f64,
}

impl ModelLayout {
    fn new(plan: &ValidPlan, m: ModelIndex, edges: &BTreeSet<(End, End)>) -> Self {
        let model = &plan.models[m.index()];
        let inputs = (0..model.inputs.len()).map(|n| End::Input(m, n));
        let steps = model.steps().map(|i| End::Step(StepIndex(i as u32)));
        let outputs = (0..model.outputs.len()).map(|n| End::Output(m, n));
        let ends: Vec<End> = inputs.chain(steps).chain(outputs).collect();
        let numbers: BTreeMap<End, usize> = ends.iter().copied().zip(0..).collect();
        let number = |end: &End| numbers.get(end).copied();
        let edges: Vec<(usize, usize)> = edges
            .iter()
            .filter_map(|(from, to)| Some((number(from)?, number(to)?)))
            .collect();
        // Nodes are numbered in an order that data can flow in, so one look at each suffices.
        let mut inward: Vec<Vec<usize>> = vec![vec![]; ends.len()];
        let mut outward = inward.clone();
        for &(from, to) in &edges {
            inward[to].push(from);
            outward[from].push(to);
        }
        let mut layers: Vec<usize> = vec![0; ends.len()];
        for i in 0..ends.len() {
            layers[i] = inward[i].iter().map(|&j| layers[j] + 1).max().unwrap_or(0);
        }
        // What nothing leads to moves down to where it is used.
        for i in 0..ends.len() {
            if inward[i].is_empty() {
                let used = outward[i].iter().map(|&j| layers[j]).min();
                layers[i] = used.unwrap_or(1).saturating_sub(1);
            }
        }
        Self {
            nodes: ends.into_iter().map(|end| node(plan, end)).collect(),
            edges,
            layers,
        }
    }

    fn passages(&self) -> Passages {
        let mut short = BTreeSet::new();
        let mut routes = vec![];
        let mut layers = self.layers.clone();
        // The passages of one node's results, by layer: edges are in order of where they start.
        let mut current = (usize::MAX, vec![]);
        for &(from, to) in &self.edges {
            if current.0 != from {
                current = (from, vec![]);
            }
            let span = self.layers[to] - self.layers[from];
            let missing = (span - 1).saturating_sub(current.1.len());
            if layers.len() + missing > self.layers.len() + MAX_PASSAGES {
                routes.push(vec![]);
                continue;
            }
            for _ in 0..missing {
                let last = current.1.last().copied().unwrap_or(from);
                let next = layers.len();
                layers.push(layers[last] + 1);
                short.insert((last as u32, next as u32));
                current.1.push(next);
            }
            let route = current.1[..span - 1].to_vec();
            let last = route.last().copied().unwrap_or(from);
            short.insert((last as u32, to as u32));
            routes.push(route);
        }
        Passages {
            short: short.into_iter().collect(),
            routes,
            layers,
        }
    }

    fn place(mut self) -> Part {
        let Passages {
            short,
            routes,
            layers,
        } = self.passages();
        let vertices: Vec<Vertex> = layers
            .iter()
            .enumerate()
            .map(|(i, &layer)| match self.nodes.get(i) {
                Some(node) => Vertex {
                    layer,
                    width: node.width,
                    is_passage: false,
                },
                None => Vertex {
                    layer,
                    width: PASSAGE,
                    is_passage: true,
                },
            })
            .collect();
        let places = place_parts(&vertices, &short);
        for (i, node) in self.nodes.iter_mut().enumerate() {
            (node.x, node.y) = (places.x[i], places.y[i]);
        }
        let edges = self
            .edges
            .iter()
            .zip(routes)
            .map(|(&(from, to), route)| {
                let mut points = vec![(places.x[from], places.y[from] + NODE_HEIGHT)];
                let mut last = from;
                for next in route.into_iter().chain([to]) {
                    if let Some(detour) = places.detours.get(&(last, next)) {
                        points.extend(detour);
                    }
                    points.push((places.x[next], places.y[next]));
                    if next != to {
                        // Straight through the layer.
                        points.push((places.x[next], places.y[next] + NODE_HEIGHT));
                    }
                    last = next;
                }
                Edge { from, to, points }
            })
            .collect();
        Part {
            nodes: self.nodes,
            edges,
            width: places.width.max(120.0),
            height: places.height,
        }
    }
}

/// Where vertices go.
struct Places {
    /// The middle of each vertex.
    x: Vec<f64>,
    /// The top of each vertex.
    y: Vec<f64>,
    /// The corners of edges from the end of a column to the start of a later one.
    detours: BTreeMap<(usize, usize), Vec<(f64, f64)>>,
    width: f64,
    height: f64,
}

/// The widest row of parts that have nothing to do with each other.
const MAX_ROW: f64 = 2400.0;

/// Between edges that leave a column side by side.
const TRACK: f64 = 7.0;

/// Places connected parts of the graph beside each other, each in as many columns as suit it.
fn place_parts(vertices: &[Vertex], edges: &[(u32, u32)]) -> Places {
    let mut places = Places {
        x: vec![0.0; vertices.len()],
        y: vec![0.0; vertices.len()],
        detours: BTreeMap::new(),
        width: 0.0,
        height: 0.0,
    };
    let (mut x, mut y, mut row_height) = (0.0, 0.0, 0.0f64);
    for part in columns::connected(vertices.len(), edges) {
        let columns = columns::cut(vertices, &part);
        let (width, height) = place_columns(vertices, &columns, &part.edges, (x, y), &mut places);
        if x > 0.0 && x + width > MAX_ROW {
            (x, y) = (0.0, y + row_height);
            row_height = 0.0;
            place_columns(vertices, &columns, &part.edges, (x, y), &mut places);
        }
        places.width = places.width.max(x + width);
        places.height = places.height.max(y + height);
        x += width + 2.0 * GAP;
        row_height = row_height.max(height + LAYER - NODE_HEIGHT);
    }
    places
}

/// Places the columns of one part, from the corner `origin` on; gives their width and height.
fn place_columns(
    vertices: &[Vertex],
    columns: &[Column],
    edges: &[(u32, u32)],
    origin: (f64, f64),
    places: &mut Places,
) -> (f64, f64) {
    let mut column_of = BTreeMap::new();
    for (c, column) in columns.iter().enumerate() {
        column_of.extend(column.places.iter().map(|&(i, _)| (i, c)));
    }
    // Edges that leave a column, by where they start: each start has a track of its own, which
    // leads below the column, up beside the next one and along above.
    let mut tracks: Vec<BTreeMap<usize, usize>> = vec![BTreeMap::new(); columns.len()];
    let mut leaving = vec![];
    for &(from, to) in edges {
        let (from, to) = (from as usize, to as usize);
        let (Some(&a), Some(&b)) = (column_of.get(&from), column_of.get(&to)) else {
            continue;
        };
        if a != b {
            let n = tracks[a].len();
            let track = *tracks[a].entry(from).or_insert(n);
            leaving.push((from, to, a, track));
        }
    }
    let most = tracks.iter().map(BTreeMap::len).max().unwrap_or(0) as f64;
    let room = if most > 0.0 { most * TRACK + 14.0 } else { 0.0 };
    let top = origin.1 + room;
    let mut left = origin.0;
    let mut gutters = vec![];
    let mut height = 0.0f64;
    for (c, column) in columns.iter().enumerate() {
        for &(i, x) in &column.places {
            places.x[i] = left + x;
            places.y[i] = top + (vertices[i].layer - column.first_layer) as f64 * LAYER;
        }
        height = height.max(columns::height(column.n_layers));
        left += column.width;
        gutters.push(left + GAP);
        if c + 1 < columns.len() {
            left += 2.0 * GAP + tracks[c].len() as f64 * TRACK;
        }
    }
    for (from, to, a, track) in leaving {
        let beside = track as f64 * TRACK;
        let bottom = top + columns::height(columns[a].n_layers) + 14.0 + beside;
        let gutter = gutters[a] + beside;
        let above = top - 14.0 - beside;
        let corners = vec![
            (places.x[from], bottom),
            (gutter, bottom),
            (gutter, above),
            (places.x[to], above),
        ];
        places.detours.insert((from, to), corners);
    }
    (left - origin.0, height + 2.0 * room)
}
