// Characters that would change how the text around them looks are shown as such.
const unseen = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;
const plainly = (key, value) => (typeof value === "string" ? value.replace(unseen, "\ufffd") : value);
const { plan, width, height, groups, nodes, edges, measured } = JSON.parse(document.getElementById("data").textContent, plainly);
const $ = (id) => document.getElementById(id);

// ---- Text and elements. Names are only ever set as text.

const el = (tag, props, ...children) => {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props || {})) {
    if (key === "style") for (const [k, v] of Object.entries(value)) node.style.setProperty(k, v);
    else if (key === "data") Object.assign(node.dataset, value);
    else node[key] = value;
  }
  node.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false));
  return node;
};
const scaled = (n, step, units) => {
  let u = 0;
  while (n >= step * 0.9995 && u < units.length - 1) { n /= step; u++; }
  return (u === 0 ? String(n) : n.toFixed(n < 9.995 ? 2 : n < 99.95 ? 1 : 0)) + " " + units[u];
};
const size = (n) => scaled(n, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]);
const flop = (n) => scaled(n, 1000, ["FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP"]);
const time = (n) => scaled(n, 1000, ["ns", "µs", "ms", "s"]);
const count = (n, word) => n.toLocaleString("en") + " " + word + (n === 1 ? "" : "s");
const tail = (text, most) => (text.length > most ? "…" + text.slice(1 - most) : text);
const tensor = (p) => p.dtype + "[" + p.dims.join(", ") + "]";
const short = (hash) => "#" + hash.slice(0, 8);
const classOf = (s) => plan.kernels[s.kernel].class;
const cut = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);

// ---- What refers to what.

const nodeOfStep = new Map();
nodes.forEach((n, i) => { if ("step" in n.end) nodeOfStep.set(n.end.step, i); });
const flowsIn = plan.steps.map(() => []), flowsOut = plan.steps.map(() => []);
for (const f of plan.flows) {
  if ("step" in f.to) flowsIn[f.to.step].push(f);
  if ("step" in f.from) flowsOut[f.from.step].push(f);
}
const users = plan.buffers.map(() => ({ writes: [], reads: [] }));
plan.steps.forEach((s, i) => {
  for (const b of [s.workspace, s.counters]) if (b !== undefined) { users[b].reads.push(i); users[b].writes.push(i); }
  s.args.forEach((a) => {
    if (a.buffer === undefined) return;
    const u = users[a.buffer];
    if (a.role !== "write" && !u.reads.includes(i)) u.reads.push(i);
    if (a.role !== "read" && !u.writes.includes(i)) u.writes.push(i);
  });
});
const blockOf = new Int32Array(plan.steps.length).fill(-1);
plan.blocks.forEach((b, i) => blockOf.fill(i, b.first_step, b.first_step + b.n_steps));

// ---- Colours.

let theme = {};
const readTheme = () => {
  const style = getComputedStyle(document.documentElement);
  theme = {};
  for (const name of ["bg", "panel", "card", "group", "port", "ink", "soft", "faint", "line", "strong", "edge", "accent", "accent-soft", "hit", "grid", "map", "row", "contract", "attention", "window", "movement", "recurrent", "library", "transfer", "m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7"]) {
    theme[name] = style.getPropertyValue("--" + name).trim();
  }
};
const modelColour = (m) => theme["m" + (m % 8)];
const font = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif";

// ---- What is chosen: a step, a buffer, a port, or nothing.

let chosen = null;
let matches = null;
const isChosenStep = (i) => chosen !== null && chosen.step === i;
const choose = (what, { reveal = false } = {}) => {
  chosen = what;
  showDetails();
  if (what && what.step !== undefined) {
    history.replaceState(null, "", "#step-" + what.step);
    if (reveal) { revealStep(what.step); revealInMemory(what.step); }
    tables.steps.reveal(what.step);
  }
  redraw();
};
