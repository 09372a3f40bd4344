const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const make = (name, attributes, text) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
};
const html = (name, text, className) => {
  const node = document.createElement(name);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
};

// ---- What is shown.

const loads = [...new Set(data.scenes.map((s) => s.load))];
const labels = [...new Set(data.scenes.map((s) => s.label))];
const bases = [...new Set(data.scenes.map((s) => s.policy))];
const base = (label) => data.scenes.find((s) => s.label === label);
const colour = (label) => `var(--p${bases.indexOf(base(label).policy) % 8})`;
const isDashed = (label) => base(label).kind === "simulated" && data.scenes.some((s) => s.kind === "measured");
const shown = { load: loads[0], model: "", measure: "p99", hidden: new Set() };
const atLoad = (load) => data.scenes.filter((s) => s.load === load && !shown.hidden.has(s.label));
const summary = (scene, model) => (model ? scene.models.find((m) => m.model === model) : scene.total);

const ratioOf = (key) => (s) => (s.ratio ? s.ratio[key] : null);
const percent = (v) => (v === 0 ? "0" : (100 * v).toFixed(v < 0.0995 ? 2 : 1)) + " %";
const plain = (v) => (v >= 99.95 ? v.toFixed(0) : v >= 9.995 ? v.toFixed(1) : v.toFixed(2));
const violation = (k) => (s) => { const at = s.violations.find(([f]) => f === k); return at ? at[1] : null; };
const measures = {
  mean: ["Mean response ratio", ratioOf("mean"), plain],
  std: ["Standard deviation of response ratios", ratioOf("std"), plain],
  p50: ["Median response ratio", ratioOf("p50"), plain],
  p99: ["99 % of response ratios are within", ratioOf("p99"), plain],
  p999: ["99.9 % of response ratios are within", ratioOf("p999"), plain],
  max: ["Largest response ratio", ratioOf("max"), plain],
};
for (const k of data.limits) measures["over " + k] = [`Not finished within ${k} × solo`, violation(k), percent];
if (data.scenes.some((s) => s.total.late)) measures.late = ["Deadlines missed", (s) => s.late, String];
measures.throughput = ["Finished a second", (s) => s.throughput, plain];

// ---- Axes.

const log = (from, to) => ({ at: (v) => Math.log(v / from) / Math.log(to / from), from, to, back: (t) => from * (to / from) ** t });
const linear = (from, to) => ({ at: (v) => (v - from) / (to - from), from, to, back: (t) => from + (to - from) * t });
// How many nines: 0, 0.9, 0.99 and 0.999 are equally far apart.
const nines = (to) => ({ at: (v) => Math.min(1, -Math.log10(Math.max(1 - v, 1e-12)) / to), from: 0, to });
const steps = (most, n) => {
  const rough = most / n, unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * (rough / unit > 5 ? 10 : rough / unit > 2 ? 5 : rough / unit > 1 ? 2 : 1);
  const out = [];
  for (let i = 0; i * step <= most * 1.0001; i++) out.push(i * step);
  return out;
};
const octaves = (from, to) => {
  const out = [], n = Math.log2(to / from), step = n > 9 ? 2 : 1;
  for (let k = from; k <= to * 1.0001; k *= 2 ** step) out.push(k);
  return out;
};
const edge = { left: 52, right: 12, top: 8, bottom: 32 };

// An empty chart: the drawing area, and places in it.
const chart = (id, x, y, xTicks, yTicks, xText, yText, xTitle) => {
  const svg = $(id).querySelector("svg");
  svg.replaceChildren();
  const w = svg.clientWidth || 560, h = svg.clientHeight || 300;
  svg.setAttribute("viewBox", `0 0 ${w} ${h}`);
  const X = (v) => edge.left + x.at(v) * (w - edge.left - edge.right);
  const Y = (v) => h - edge.bottom - y.at(v) * (h - edge.top - edge.bottom);
  for (const t of yTicks) {
    svg.append(make("line", { class: "grid", x1: edge.left, x2: w - edge.right, y1: Y(t), y2: Y(t) }));
    svg.append(make("text", { x: edge.left - 7, y: Y(t) + 4, "text-anchor": "end" }, yText(t)));
  }
  for (const t of xTicks) {
    svg.append(make("line", { class: "grid", x1: X(t), x2: X(t), y1: edge.top, y2: h - edge.bottom }));
    svg.append(make("text", { x: X(t), y: h - edge.bottom + 15, "text-anchor": "middle" }, xText(t)));
  }
  if (xTitle) svg.append(make("text", { x: w - edge.right, y: h - 2, "text-anchor": "end" }, xTitle));
  return { svg, w, h, X, Y, x };
};
const line = (c, label, points) => {
  const path = points.map(([x, y], i) => (i ? "L" : "M") + c.X(x).toFixed(1) + " " + c.Y(y).toFixed(1)).join("");
  c.svg.append(make("path", { d: path, fill: "none", stroke: colour(label), "stroke-width": 2, "stroke-linejoin": "round", "stroke-dasharray": isDashed(label) ? "6 4" : "none" }));
};
const showTip = (event, title, rows) => {
  const tip = $("tip");
  tip.replaceChildren(html("b", title));
  for (const [name, value] of rows) { const row = html("div"); row.append(html("span", name), html("span", value)); tip.append(row); }
  tip.hidden = false;
  const right = event.clientX + 18 + tip.offsetWidth > innerWidth;
  tip.style.left = (right ? event.clientX - 14 - tip.offsetWidth : event.clientX + 14) + "px";
  tip.style.top = Math.max(4, Math.min(event.clientY + 12, innerHeight - tip.offsetHeight - 6)) + "px";
};
const hideTip = () => { $("tip").hidden = true; };
// Under the pointer: a line, and the value of each policy there.
const readable = (c, title, read) => {
  const cursor = make("line", { class: "cursor", y1: edge.top, y2: c.h - edge.bottom, visibility: "hidden" });
  c.svg.append(cursor);
  c.svg.onpointermove = (event) => {
    const box = c.svg.getBoundingClientRect();
    const t = (event.clientX - box.left - edge.left) / (c.w - edge.left - edge.right);
    if (t < 0 || t > 1) { c.svg.onpointerleave(); return; }
    const [at, rows] = read(c.x.back(t));
    cursor.setAttribute("x1", c.X(at)); cursor.setAttribute("x2", c.X(at)); cursor.setAttribute("visibility", "visible");
    showTip(event, title(at), rows);
  };
  c.svg.onpointerleave = () => { cursor.setAttribute("visibility", "hidden"); hideTip(); };
};
const nearest = (list, v, distance) => list.reduce((best, x) => (distance(x, v) < distance(best, v) ? x : best));
const inRatio = (a, b) => Math.abs(Math.log(a / b));

// ---- The charts.

const drawViolations = () => {
  const curves = atLoad(shown.load).map((s) => [s.label, summary(s, shown.model)?.violations || []]);
  const all = curves.flatMap(([, c]) => c);
  const late = all.filter(([, share]) => share > 0).map(([k]) => k);
  const to = Math.max(8, ...data.limits, 2 ** Math.ceil(Math.log2(Math.max(1, ...late) * 1.05)));
  const last = Math.min(to, Math.max(...all.map(([k]) => k), 2));
  const most = Math.max(0.001, ...all.map(([, share]) => share)) * 1.04;
  const c = chart("violations", log(1, last), linear(0, most), octaves(1, last), steps(most, 5), (k) => k + " ×", (v) => +(100 * v).toPrecision(3) + " %", "k");
  for (const k of data.limits) if (k > 1 && k < last) c.svg.append(make("line", { class: "mark", x1: c.X(k), x2: c.X(k), y1: edge.top, y2: c.h - edge.bottom }));
  for (const [label, curve] of curves) line(c, label, curve.filter(([k]) => k <= last));
  const ks = [...new Set(all.map(([k]) => k))].filter((k) => k <= last);
  readable(c, (k) => `not finished within ${+k.toFixed(3)} × solo`, (v) => {
    const k = nearest(ks, v, inRatio);
    return [k, curves.map(([label, curve]) => [label, percent((curve.find(([f]) => f === k) || [0, 0])[1])])];
  });
};

const drawDistribution = () => {
  const curves = atLoad(shown.load).map((s) => [s.label, shown.model ? (summary(s, shown.model)?.violations || []).map(([k, share]) => [k, 1 - share]) : s.distribution]);
  const all = curves.flatMap(([, c]) => c);
  const reached = Math.max(2, ...all.filter(([, share]) => share < 1).map(([r]) => r));
  const to = 2 ** Math.ceil(Math.log2(reached * 1.02));
  const digits = Math.min(5, Math.max(2, Math.ceil(Math.log10(Math.max(10, ...data.scenes.map((s) => s.total.requests))))));
  const ticks = [0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999].filter((t) => t < 1 - 10 ** -digits * 0.99);
  const c = chart("distribution", log(1, to), nines(digits), octaves(1, to), ticks, (k) => k + " ×", (v) => +(100 * v).toFixed(3) + " %", "response ratio");
  for (const [label, curve] of curves) {
    const points = [];
    let before = 0;
    // Between two ratios the share stays as it is: stairs.
    for (const [r, share] of curve) { if (r > to) break; points.push([r, before], [r, share]); before = share; }
    if (points.length) points.push([to, before]);
    line(c, label, points);
  }
  readable(c, (r) => `finished within ${r.toFixed(2)} × solo`, (r) => [r, curves.map(([label, curve]) => {
    let share = 0;
    for (const [at, s] of curve) { if (at > r) break; share = s; }
    return [label, (100 * share).toFixed(2) + " %"];
  })]);
};

const drawBars = () => {
  const [title, get, text] = measures[shown.measure];
  $("bars-title").textContent = title;
  const scenes = atLoad(shown.load);
  const names = data.models.map((m) => m.name).filter((n) => scenes.some((s) => summary(s, n)));
  const groups = [...names, ""];
  const value = (s, n) => { const of = summary(s, n); return of ? get(of) : null; };
  const most = Math.max(1e-3, ...groups.flatMap((n) => scenes.map((s) => value(s, n) || 0))) * 1.05;
  const c = chart("bars", linear(0, groups.length), linear(0, most), [], steps(most, 5), String, (v) => (text === percent ? +(100 * v).toPrecision(3) + " %" : String(+v.toPrecision(4))), "");
  const room = (c.w - edge.left - edge.right) / groups.length;
  const width = Math.min(26, room * 0.82 / Math.max(1, scenes.length));
  groups.forEach((n, g) => {
    const left = edge.left + (g + 0.5) * room - width * scenes.length / 2;
    scenes.forEach((s, i) => {
      const v = value(s, n);
      if (v === null || v === undefined) return;
      const bar = make("rect", { x: left + i * width + 0.5, width: Math.max(1, width - 1), y: c.Y(v), height: Math.max(0.5, c.h - edge.bottom - c.Y(v)), rx: 1.5, fill: colour(s.label), "fill-opacity": isDashed(s.label) ? 0.55 : 1 });
      bar.onpointermove = (event) => showTip(event, n || "all models", [[s.label, text(v)]]);
      bar.onpointerleave = hideTip;
      c.svg.append(bar);
    });
    const name = n || "all";
    const fits = Math.max(3, Math.floor(room / 6.2));
    c.svg.append(make("text", { x: edge.left + (g + 0.5) * room, y: c.h - edge.bottom + 15, "text-anchor": "middle", "font-weight": n ? 400 : 600 }, name.length > fits ? name.slice(0, fits - 1) + "…" : name));
  });
};

const drawOver = () => {
  $("over").hidden = loads.length < 2 || loads.some((l) => l === null);
  if ($("over").hidden) return;
  const [title, get, text] = measures[shown.measure];
  $("over-title").textContent = title;
  const value = (s) => { const of = summary(s, shown.model); return of ? get(of) : null; };
  const visible = labels.filter((l) => !shown.hidden.has(l));
  const curve = (label) => data.scenes.filter((s) => s.label === label && value(s) !== null).map((s) => [s.load, value(s)]).sort((a, b) => a[0] - b[0]);
  const all = visible.flatMap(curve);
  const low = Math.min(...loads), high = Math.max(...loads);
  const ratios = ["mean", "p50", "p99", "p999", "max"].includes(shown.measure);
  const most = Math.max(ratios ? 2 : 1e-3, ...all.map(([, v]) => v)) * 1.04;
  const y = ratios ? log(1, most) : linear(0, most);
  const c = chart("over", linear(low - (high - low) * 0.03, high + (high - low) * 0.03), y, loads, ratios ? octaves(1, most) : steps(most, 5), String, (v) => (text === percent ? +(100 * v).toPrecision(3) + " %" : String(+v.toPrecision(4))), "load");
  for (const label of visible) {
    line(c, label, curve(label));
    for (const [x, v] of curve(label)) c.svg.append(make("circle", { cx: c.X(x), cy: c.Y(v), r: 3.2, fill: colour(label) }));
  }
  readable(c, (l) => "load " + l, (v) => {
    const at = nearest(loads, v, (a, b) => Math.abs(a - b));
    return [at, visible.flatMap((label) => curve(label).filter(([l]) => l === at).map(([, v]) => [label, text(v)]))];
  });
};

// ---- Tables.

const fill = (id, header, rows, best) => {
  const table = html("table"), head = html("tr");
  header.forEach((h) => head.append(html("th", h)));
  table.append(head);
  for (const row of rows) {
    const tr = html("tr");
    row.forEach((cell, i) => {
      const td = html("td");
      if (cell instanceof Node) td.append(cell);
      else td.textContent = cell === null ? "–" : i && best[i] ? best[i](cell) : cell;
      const column = rows.map((r) => (r[i] === null ? Infinity : r[i]));
      if (best[i] && cell !== null && cell === Math.min(...column) && cell < Math.max(...column)) td.className = "best";
      tr.append(td);
    });
    table.append(tr);
  }
  $(id).replaceChildren(table);
};
const swatch = (label) => { const s = html("span", undefined, isDashed(label) ? "swatch dashed" : "swatch"); s.style.borderTopColor = colour(label); return s; };
const named = (label) => { const n = html("span", undefined, "policy"); n.append(swatch(label), html("span", label)); return n; };
const drawTable = () => {
  $("table-title").textContent = (shown.load === null ? "" : `Load ${shown.load}: `) + (shown.model || "all models");
  const keys = Object.keys(measures).filter((k) => k !== "throughput");
  const header = ["", "done", ...keys.map((k) => ({ p999: "p99.9", mean: "ratio mean" })[k] || (k.startsWith("over") ? k + "x" : k)), "refused", "done/s", "busy", ...(shown.model ? [] : ["worst p99", "at once"])];
  const best = [null, null, ...keys.map((k) => measures[k][2]), null, null, null, plain];
  const rows = atLoad(shown.load).flatMap((s) => {
    const of = summary(s, shown.model);
    if (!of) return [];
    return [[named(s.label), of.finished, ...keys.map((k) => measures[k][1](of)), of.rejected + of.dropped + of.failed, plain(of.throughput), percent(of.utilisation), ...(shown.model ? [] : [s.worst_p99, s.side_by_side.toFixed(2)])]];
  });
  fill("table", header, rows, best);
};
const drawModels = () => {
  const at = data.models.map((m) => [m.name, m.solo_ms.toFixed(3), m.rates[loads.indexOf(shown.load)] ? plain(m.rates[loads.indexOf(shown.load)]) : "–", m.deadline_ms === null ? "–" : plain(m.deadline_ms), String(m.priority)]);
  fill("models-table", ["", "alone, ms", "requests a second", "deadline, ms", "priority"], at, []);
};

// ---- Choices.

const draw = () => { hideTip(); drawViolations(); drawDistribution(); drawBars(); drawOver(); drawTable(); drawModels(); };
const press = (button, on) => button.setAttribute("aria-pressed", on);
$("title").textContent = data.title;
$("facts").textContent = data.facts.join(" · ");
$("loads").hidden = loads.length < 2;
$("loads").append("Load");
for (const load of loads) {
  const button = html("button", load === null ? "as recorded" : String(load));
  press(button, load === shown.load);
  button.onclick = () => { shown.load = load; for (const b of $("loads").querySelectorAll("button")) press(b, b === button); draw(); };
  $("loads").append(button);
}
const option = (value, text) => { const o = html("option", text); o.value = value; return o; };
$("models").append(option("", "all models"), ...data.models.map((m) => option(m.name, m.name)));
$("models").onchange = () => { shown.model = $("models").value; draw(); };
$("measure").append(...Object.entries(measures).map(([key, [title]]) => option(key, title)));
$("measure").value = shown.measure;
$("measure").onchange = () => { shown.measure = $("measure").value; draw(); };
for (const label of labels) {
  const button = html("button", undefined, "policy");
  button.append(swatch(label), html("span", label));
  press(button, true);
  button.onclick = () => { shown.hidden.has(label) ? shown.hidden.delete(label) : shown.hidden.add(label); press(button, !shown.hidden.has(label)); draw(); };
  $("policies").append(button);
}
addEventListener("resize", draw);
draw();
