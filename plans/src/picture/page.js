"use strict";
(() => {
  // Characters that would change how the text around them looks are shown as such.
  const unseen = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;
  const plainly = (key, value) => (typeof value === "string" ? value.replace(unseen, "\ufffd") : value);
  const { plan, width, height, groups, nodes, edges } = JSON.parse(document.getElementById("data").textContent, plainly);
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
  plan.steps.forEach((s, i) => s.args.forEach((a) => {
    if (a.buffer === undefined) return;
    const u = users[a.buffer];
    if (a.role !== "write" && !u.reads.includes(i)) u.reads.push(i);
    if (a.role !== "read" && !u.writes.includes(i)) u.writes.push(i);
  }));
  const blockOf = new Int32Array(plan.steps.length).fill(-1);
  plan.blocks.forEach((b, i) => blockOf.fill(i, b.first_step, b.first_step + b.n_steps));

  // ---- Colours.

  let theme = {};
  const readTheme = () => {
    const style = getComputedStyle(document.documentElement);
    theme = {};
    for (const name of ["bg", "panel", "card", "group", "port", "ink", "soft", "faint", "line", "strong", "edge", "accent", "accent-soft", "hit", "grid", "map", "row", "contract", "attention", "window", "movement", "recurrent", "library", "m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7"]) {
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

  // ---- Canvases.

  const prepare = (canvas, draw) => {
    const context = canvas.getContext("2d");
    let pending = false;
    const paint = () => {
      pending = false;
      const ratio = window.devicePixelRatio || 1;
      const w = canvas.clientWidth, h = canvas.clientHeight;
      if (!w || !h) return;
      if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) {
        canvas.width = Math.round(w * ratio);
        canvas.height = Math.round(h * ratio);
      }
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, w, h);
      draw(context, w, h);
    };
    return () => { if (!pending) { pending = true; requestAnimationFrame(paint); } };
  };
  const box = (c, x, y, w, h, r) => { c.beginPath(); c.roundRect(x, y, w, h, Math.max(0, Math.min(r, w / 2, h / 2))); };

  // ---- The graph.

  const graph = $("graph"), graphCanvas = graph.querySelector("canvas");
  const view = { x: 0, y: 0, k: 1 };
  const paths = edges.map((e) => ({ path: new Path2D(e.path), bounds: e.bounds, tip: e.tip }));
  const edgeBuffers = edges.map(() => []);
  {
    const key = (end) => JSON.stringify(end);
    const numbers = new Map(nodes.map((n, i) => [key(n.end), i]));
    const pairs = new Map(edges.map((e, i) => [e.from + "-" + e.to, i]));
    for (const f of plan.flows) {
      const i = pairs.get(numbers.get(key(f.from)) + "-" + numbers.get(key(f.to)));
      if (i !== undefined) edgeBuffers[i].push(f.buffer);
    }
  }

  const isLit = (node) => {
    if (chosen === null) return false;
    if (chosen.step !== undefined) return node.end.step === chosen.step;
    if (chosen.node !== undefined) return nodes[chosen.node] === node;
    if (chosen.buffer !== undefined && node.end.step !== undefined) {
      const u = users[chosen.buffer];
      return u.writes.includes(node.end.step) || u.reads.includes(node.end.step);
    }
    return false;
  };
  const isLitEdge = (i) => {
    if (chosen === null) return false;
    if (chosen.buffer !== undefined) return edgeBuffers[i].includes(chosen.buffer);
    const n = chosen.step !== undefined ? nodeOfStep.get(chosen.step) : chosen.node;
    return edges[i].from === n || edges[i].to === n;
  };
  const isFound = (node) => matches === null || (node.end.step !== undefined && matches.has(node.end.step));

  const drawGraph = prepare(graphCanvas, (c, w, h) => {
    c.translate(view.x, view.y);
    c.scale(view.k, view.k);
    const left = -view.x / view.k, top = -view.y / view.k;
    const right = left + w / view.k, bottom = top + h / view.k;
    const k = view.k;
    for (const [m, [x, y, gw, gh]] of groups) {
      box(c, x, y, gw, gh, 12);
      c.fillStyle = theme.group; c.fill();
      c.strokeStyle = theme.line; c.lineWidth = 1 / Math.min(1, k); c.stroke();
      const px = Math.min(15 / Math.min(k, 1), 56);
      c.font = "600 " + px + "px " + font;
      c.textAlign = "left"; c.textBaseline = "alphabetic";
      c.fillStyle = theme.ink;
      const name = cut(plan.models[m].name, Math.max(4, Math.floor((gw - 40) / (px * 0.56))));
      c.fillText(name, x + 18 + px * 0.5, y + Math.max(30, px + 6));
      c.fillStyle = modelColour(m);
      box(c, x + 10, y + Math.max(30, px + 6) - px * 0.75, px * 0.5, px * 0.8, 2); c.fill();
    }
    const lit = [];
    c.lineJoin = "round";
    c.lineWidth = Math.max(1.2, 0.8 / k);
    c.strokeStyle = theme.edge;
    c.globalAlpha = matches === null ? 1 : 0.35;
    c.fillStyle = theme.edge;
    const head = ([x, y]) => { c.beginPath(); c.moveTo(x, y); c.lineTo(x - 3.6, y - 7); c.lineTo(x + 3.6, y - 7); c.fill(); };
    for (let i = 0; i < edges.length; i++) {
      const p = paths[i];
      if (p.bounds[2] < left || p.bounds[0] > right || p.bounds[3] < top || p.bounds[1] > bottom) continue;
      if (isLitEdge(i)) { lit.push(p); continue; }
      c.stroke(p.path);
      if (k > 0.35) head(p.tip);
    }
    c.globalAlpha = 1;
    c.strokeStyle = c.fillStyle = theme.accent;
    c.lineWidth = Math.max(2.2, 1.6 / k);
    for (const p of lit) { c.stroke(p.path); if (k > 0.35) head(p.tip); }
    for (const node of nodes) {
      const [x, y, nw, nh] = node.at;
      if (x > right || x + nw < left || y > bottom || y + nh < top) continue;
      drawNode(c, node, x, y, nw, nh, k);
    }
    c.globalAlpha = 1;
  });

  const drawNode = (c, node, x, y, w, h, k) => {
    const step = node.end.step === undefined ? null : plan.steps[node.end.step];
    const found = isFound(node);
    c.globalAlpha = found ? 1 : 0.28;
    const colour = step ? theme[classOf(step)] : theme.port;
    if (k < 0.3) {
      box(c, x, y, w, h, 6);
      c.fillStyle = colour; c.fill();
    } else {
      box(c, x, y, w, h, step ? 7 : 22);
      c.fillStyle = step ? theme.card : theme.port; c.fill();
      if (step) {
        c.save(); c.clip();
        c.fillStyle = colour; c.fillRect(x, y, 6, h);
        c.restore();
        box(c, x, y, w, h, 7);
      }
      c.strokeStyle = theme.strong; c.lineWidth = 1; c.stroke();
      const n = step ? step.nodes.length : 0;
      const middle = x + w / 2;
      c.textBaseline = "alphabetic";
      c.textAlign = step ? "left" : "center";
      c.fillStyle = theme.ink;
      c.font = "600 13px " + font;
      const room = w - (step ? 24 : 20) - (n > 1 ? 18 : 0);
      c.fillText(node.title, step ? x + 15 : middle, y + 18, room);
      c.fillStyle = theme.soft;
      c.font = "11px " + font;
      c.fillText(node.subtitle, step ? x + 15 : middle, y + 34, w - 24);
      if (n > 1) {
        c.textAlign = "center"; c.font = "10px " + font;
        box(c, x + w - 24, y + 6, 18, 14, 7);
        c.fillStyle = theme.bg; c.fill();
        c.fillStyle = theme.soft; c.fillText(String(n), x + w - 15, y + 16.5, 16);
      }
    }
    if (isLit(node) || (matches !== null && found)) {
      c.globalAlpha = 1;
      box(c, x - 2, y - 2, w + 4, h + 4, step ? 9 : 24);
      c.strokeStyle = isLit(node) ? theme.accent : theme.hit;
      c.lineWidth = Math.max(2.4, 2 / k); c.stroke();
    }
  };

  const viewSize = () => [graphCanvas.clientWidth || 800, graphCanvas.clientHeight || 500];
  const fitScale = () => { const [w, h] = viewSize(); return Math.min(w / width, h / height); };
  const fit = () => {
    const [w, h] = viewSize();
    view.k = Math.min(fitScale(), 1.6);
    view.x = (w - width * view.k) / 2;
    view.y = (h - height * view.k) / 2;
    redraw();
  };
  const start = () => {
    const [w] = viewSize();
    if (fitScale() >= 0.5) { fit(); return; }
    // Too much for one look: the top left, as large as reads well.
    view.k = Math.min(1, Math.max(0.55, w / width));
    view.x = Math.max(0, (w - width * view.k) / 2);
    view.y = 0;
    redraw();
  };
  const zoom = (factor, cx, cy) => {
    const [w, h] = viewSize();
    const x = cx ?? w / 2, y = cy ?? h / 2;
    const k = Math.max(Math.min(view.k * factor, 4), Math.min(fitScale() * 0.5, 0.3));
    view.x = x - (x - view.x) * (k / view.k);
    view.y = y - (y - view.y) * (k / view.k);
    view.k = k;
    redraw();
  };
  const centre = (x, y) => {
    const [w, h] = viewSize();
    view.x = w / 2 - x * view.k;
    view.y = h / 2 - y * view.k;
    redraw();
  };
  const revealStep = (i) => {
    const [x, y, w, h] = nodes[nodeOfStep.get(i)].at;
    if (view.k < 0.6) view.k = 0.9;
    centre(x + w / 2, y + h / 2);
  };
  const nodeAt = (px, py) => {
    const x = (px - view.x) / view.k, y = (py - view.y) / view.k;
    return nodes.findIndex((n) => x >= n.at[0] && x <= n.at[0] + n.at[2] && y >= n.at[1] && y <= n.at[1] + n.at[3]);
  };
  const chooseNode = (i) => {
    if (i < 0) choose(null);
    else if (nodes[i].end.step !== undefined) { choose({ step: nodes[i].end.step }); revealInMemory(nodes[i].end.step); }
    else choose({ node: i });
  };

  /** Dragging, pinching and clicking on a canvas. */
  const pointer = (canvas, { drag, pinch, click, hover, leave }) => {
    const down = new Map();
    let moved = 0;
    const at = (e) => { const r = canvas.getBoundingClientRect(); return [e.clientX - r.left, e.clientY - r.top]; };
    canvas.addEventListener("pointerdown", (e) => {
      if (e.button !== 0) return;
      canvas.setPointerCapture(e.pointerId);
      down.set(e.pointerId, at(e));
      moved = 0;
    });
    canvas.addEventListener("pointermove", (e) => {
      const now = at(e), last = down.get(e.pointerId);
      if (!last) { hover?.(now[0], now[1], e); return; }
      moved += Math.abs(now[0] - last[0]) + Math.abs(now[1] - last[1]);
      if (down.size === 2) {
        const other = [...down].find(([id]) => id !== e.pointerId)[1];
        const length = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]);
        pinch?.(length(now) / Math.max(1, length(last)), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
      } else if (moved > 3) drag(now[0] - last[0], now[1] - last[1]);
      down.set(e.pointerId, now);
    });
    const up = (e) => {
      if (down.delete(e.pointerId) && e.type === "pointerup" && moved <= 3 && down.size === 0) click(...at(e));
    };
    canvas.addEventListener("pointerup", up);
    canvas.addEventListener("pointercancel", up);
    canvas.addEventListener("pointerleave", () => leave?.());
  };

  const tip = $("tip");
  const showTip = (e, title, ...lines) => {
    tip.replaceChildren(el("b", {}, title), ...lines.filter(Boolean).map((line) => el("div", {}, line)));
    tip.hidden = false;
    const w = tip.offsetWidth, h = tip.offsetHeight;
    tip.style.left = Math.min(e.clientX + 14, innerWidth - w - 8) + "px";
    tip.style.top = (e.clientY + 18 + h > innerHeight ? e.clientY - h - 12 : e.clientY + 18) + "px";
  };
  const hideTip = () => { tip.hidden = true; };

  pointer(graphCanvas, {
    drag: (dx, dy) => { hideTip(); graph.classList.add("dragging"); view.x += dx; view.y += dy; redraw(); },
    pinch: (factor, x, y) => zoom(factor, x, y),
    click: (x, y) => chooseNode(nodeAt(x, y)),
    hover: (x, y, e) => {
      const i = nodeAt(x, y);
      graphCanvas.style.cursor = i < 0 ? "" : "pointer";
      if (i < 0) return hideTip();
      const end = nodes[i].end;
      if (end.step === undefined) {
        const [m, n] = end.input || end.output;
        const port = (end.input ? plan.models[m].inputs : plan.models[m].outputs)[n];
        return showTip(e, port.name, end.input ? "input" : "output", tensor(port));
      }
      const s = plan.steps[end.step];
      showTip(e, s.label, "step " + end.step + ", " + classOf(s) + ": " + plan.kernels[s.kernel].summary, s.nodes.length > 1 ? count(s.nodes.length, "node") + " in one kernel" : s.nodes[0]);
    },
    leave: hideTip,
  });
  addEventListener("pointerup", () => graph.classList.remove("dragging"));
  graphCanvas.addEventListener("wheel", (e) => {
    e.preventDefault();
    hideTip();
    const r = graphCanvas.getBoundingClientRect();
    const unit = e.deltaMode === 1 ? 30 : 1;
    zoom(Math.exp(-e.deltaY * unit * (e.ctrlKey ? 0.01 : 0.0016)), e.clientX - r.left, e.clientY - r.top);
  }, { passive: false });
  graphCanvas.addEventListener("dblclick", (e) => {
    const r = graphCanvas.getBoundingClientRect();
    zoom(2, e.clientX - r.left, e.clientY - r.top);
  });
  $("zoom-in").onclick = () => zoom(1.4);
  $("zoom-out").onclick = () => zoom(1 / 1.4);
  $("fit").onclick = fit;

  // ---- The small map.

  const map = $("map");
  {
    const ratio = width / height;
    map.style.width = Math.round(Math.max(46, Math.min(170, 170 * ratio))) + "px";
    map.style.height = Math.round(Math.max(46, Math.min(170, 170 / ratio))) + "px";
  }
  const mapScale = () => Math.min(map.clientWidth / width, map.clientHeight / height);
  const drawMap = prepare(map, (c, w, h) => {
    const [vw, vh] = viewSize();
    const all = view.x >= -1 && view.y >= -1 && view.x + width * view.k <= vw + 1 && view.y + height * view.k <= vh + 1;
    map.style.opacity = all ? 0 : 1;
    map.style.pointerEvents = all ? "none" : "";
    const s = mapScale();
    c.translate((w - width * s) / 2, (h - height * s) / 2);
    for (const [, [x, y, gw, gh]] of groups) { c.fillStyle = theme.group; c.fillRect(x * s, y * s, gw * s, gh * s); }
    for (const n of nodes) {
      if (n.end.step === undefined) continue;
      c.fillStyle = isFound(n) ? theme[classOf(plan.steps[n.end.step])] : theme.line;
      c.fillRect(n.at[0] * s, n.at[1] * s, Math.max(1.5, n.at[2] * s), Math.max(1, n.at[3] * s));
    }
    c.strokeStyle = theme.accent; c.lineWidth = 1.5;
    c.strokeRect(-view.x / view.k * s, -view.y / view.k * s, vw / view.k * s, vh / view.k * s);
  });
  const mapGo = (e) => {
    const r = map.getBoundingClientRect(), s = mapScale();
    centre((e.clientX - r.left - (r.width - width * s) / 2) / s, (e.clientY - r.top - (r.height - height * s) / 2) / s);
  };
  map.addEventListener("pointerdown", (e) => { map.setPointerCapture(e.pointerId); mapGo(e); });
  map.addEventListener("pointermove", (e) => { if (e.buttons & 1) mapGo(e); });

  // ---- Memory over time.

  const memoryCanvas = $("memory").querySelector("canvas");
  const nSteps = Math.max(1, plan.steps.length);
  const time_ = { first: 0, last: nSteps };
  let arena = Math.max(0, plan.arenas.reduce((best, a, i) => (a.kind === "scratch" && (best < 0 || a.planned_bytes > plan.arenas[best].planned_bytes) ? i : best), -1));
  const inArena = plan.arenas.map((_, a) => plan.buffers.map((b, i) => i).filter((i) => plan.buffers[i].arena === a && plan.buffers[i].live && plan.buffers[i].bytes > 0));
  const liveCurves = new Map();
  const liveCurve = (a) => {
    if (!liveCurves.has(a)) {
      const change = new Float64Array(nSteps + 1);
      for (const i of inArena[a]) { const b = plan.buffers[i]; change[b.live[0]] += b.bytes; change[b.live[1] + 1] -= b.bytes; }
      let sum = 0;
      liveCurves.set(a, Array.from(change.subarray(0, nSteps), (d) => (sum += d)));
    }
    return liveCurves.get(a);
  };
  const edge = { left: 66, right: 14, top: 24, bottom: 22 };
  const memoryScale = (w, h) => {
    const most = Math.max(1, plan.arenas[arena]?.planned_bytes || 1) * 1.04;
    const inner = w - edge.left - edge.right, tall = h - edge.top - edge.bottom;
    return {
      x: (step) => edge.left + (step - time_.first) / (time_.last - time_.first) * inner,
      y: (bytes) => h - edge.bottom - bytes / most * tall,
      step: (px) => time_.first + (px - edge.left) / inner * (time_.last - time_.first),
      bytes: (py) => (h - edge.bottom - py) / tall * most,
      most,
    };
  };
  const ticks = (from, to, n, binary) => {
    const rough = (to - from) / Math.max(1, n);
    const base = binary ? 2 : 10;
    let unit = base ** Math.floor(Math.log(Math.max(rough, 1e-9)) / Math.log(base));
    if (!binary) unit *= rough / unit > 5 ? 10 : rough / unit > 2 ? 5 : rough / unit > 1 ? 2 : 1;
    else if (rough > unit) unit *= 2;
    unit = Math.max(1, unit);
    const out = [];
    for (let t = Math.ceil(from / unit) * unit; t <= to; t += unit) out.push(t);
    return out;
  };
  const drawMemory = prepare(memoryCanvas, (c, w, h) => {
    const a = plan.arenas[arena];
    if (!a) return;
    const s = memoryScale(w, h);
    c.font = "11px " + font;
    c.textBaseline = "middle"; c.textAlign = "right";
    for (const t of ticks(0, s.most, Math.max(2, (h - 46) / 34), true)) {
      c.fillStyle = theme.grid; c.fillRect(edge.left, Math.round(s.y(t)), w - edge.left - edge.right, 1);
      c.fillStyle = theme.soft; c.fillText(size(t), edge.left - 8, s.y(t));
    }
    c.textAlign = "center"; c.textBaseline = "top";
    for (const t of ticks(time_.first, time_.last, Math.max(2, (w - 80) / 90), false)) {
      c.fillStyle = theme.soft; c.fillText(String(t), s.x(t + 0.5), h - edge.bottom + 6);
    }
    c.save();
    c.beginPath(); c.rect(edge.left, 0, w - edge.left - edge.right, h - edge.bottom + 1); c.clip();
    // The models above.
    c.textBaseline = "middle"; c.textAlign = "left";
    plan.models.forEach((m, i) => {
      const x0 = s.x(m.first_step), x1 = s.x(m.first_step + m.n_steps);
      c.fillStyle = modelColour(i); c.fillRect(x0, 4, Math.max(1, x1 - x0 - 1), 14);
      const from = Math.max(x0, edge.left) + 6, room = Math.min(x1, w - edge.right) - from - 4;
      if (room > 24) { c.fillStyle = "#fff"; c.font = "600 11px " + font; c.save(); c.beginPath(); c.rect(from, 4, room, 14); c.clip(); c.fillText(m.name, from, 11.5); c.restore(); }
    });
    if (chosen?.step !== undefined) {
      c.fillStyle = theme["accent-soft"];
      c.fillRect(s.x(chosen.step), edge.top - 2, Math.max(2, s.x(chosen.step + 1) - s.x(chosen.step)), h - edge.top - edge.bottom + 2);
    }
    c.font = "11px " + font;
    for (const i of inArena[arena]) {
      const b = plan.buffers[i];
      if (b.live[1] + 1 < time_.first || b.live[0] > time_.last) continue;
      const x0 = s.x(b.live[0]), x1 = s.x(b.live[1] + 1), y1 = s.y(b.offset), y0 = s.y(b.offset + b.bytes);
      const bw = Math.max(1, x1 - x0 - (x1 - x0 > 3 ? 1 : 0)), bh = Math.max(1, y1 - y0 - (y1 - y0 > 3 ? 1 : 0));
      const lit = chosen?.buffer === i || (chosen?.step !== undefined && (users[i].reads.includes(chosen.step) || users[i].writes.includes(chosen.step)));
      c.globalAlpha = chosen !== null && !lit ? 0.55 : 1;
      c.fillStyle = modelColour(b.model); c.fillRect(x0, y0, bw, bh);
      c.globalAlpha *= 0.1 * (i % 3); c.fillStyle = theme.panel; c.fillRect(x0, y0, bw, bh);
      c.globalAlpha = 1;
      if (lit) { c.strokeStyle = theme.ink; c.lineWidth = 1.6; c.strokeRect(x0 + 0.5, y0 + 0.5, Math.max(1, bw - 1), Math.max(1, bh - 1)); }
      if (bh > 13) {
        const from = Math.max(x0, edge.left) + 4, room = Math.min(x1, w - edge.right) - from - 5;
        if (room > 40) { c.save(); c.beginPath(); c.rect(from, y0, room, bh); c.clip(); c.fillStyle = "#fff"; c.fillText(tail(b.name, Math.floor(room / 6.4)), from, (y0 + y1) / 2); c.restore(); }
      }
    }
    // What is live, step by step.
    const curve = liveCurve(arena);
    c.beginPath();
    const from = Math.max(0, Math.floor(time_.first)), to = Math.min(curve.length, Math.ceil(time_.last) + 1);
    const pixels = s.x(1) - s.x(0);
    const stride = Math.max(1, Math.ceil(2 / pixels));
    for (let i = from - (from % stride); i < to; i += stride) {
      const most = Math.max(...curve.slice(i, i + stride));
      c.lineTo(s.x(i), s.y(most));
      c.lineTo(s.x(Math.min(i + stride, nSteps)), s.y(most));
    }
    c.globalAlpha = stride > 1 ? 0.5 : 1;
    c.strokeStyle = theme.ink; c.lineWidth = 1.3; c.stroke();
    c.globalAlpha = 1;
    const rule = (bytes, text, colour) => {
      const y = Math.round(s.y(bytes)) + 0.5;
      c.setLineDash([5, 4]); c.strokeStyle = colour; c.lineWidth = 1;
      c.beginPath(); c.moveTo(edge.left, y); c.lineTo(w - edge.right, y); c.stroke(); c.setLineDash([]);
      c.textAlign = "right"; c.textBaseline = "bottom"; c.fillStyle = colour;
      c.fillText(text, w - edge.right - 4, y - 2);
    };
    rule(a.planned_bytes, a.live_bytes === a.planned_bytes ? "planned = most live at once" : "planned", theme.accent);
    if (a.live_bytes < a.planned_bytes && a.kind === "scratch") rule(a.live_bytes, "most live at once", theme.soft);
    c.restore();
  });
  const bufferAt = (px, py) => {
    const s = memoryScale(memoryCanvas.clientWidth, memoryCanvas.clientHeight);
    const step = Math.floor(s.step(px)), bytes = s.bytes(py);
    if (px < edge.left || px > memoryCanvas.clientWidth - edge.right) return -1;
    return inArena[arena]?.find((i) => { const b = plan.buffers[i]; return step >= b.live[0] && step <= b.live[1] && bytes >= b.offset && bytes <= b.offset + b.bytes; }) ?? -1;
  };
  const setTime = (first, last) => {
    const span = Math.min(nSteps, Math.max(4, last - first));
    first = Math.max(0, Math.min(first, nSteps - span));
    time_.first = first; time_.last = first + span;
    drawMemory();
  };
  const revealInMemory = (step) => {
    const span = time_.last - time_.first;
    if (step < time_.first || step >= time_.last) setTime(step - span / 2, step + span / 2);
  };
  pointer(memoryCanvas, {
    drag: (dx) => { hideTip(); const d = dx / (memoryCanvas.clientWidth - edge.left - edge.right) * (time_.last - time_.first); setTime(time_.first - d, time_.last - d); },
    click: (x, y) => {
      const i = bufferAt(x, y);
      if (i >= 0) return choose({ buffer: i });
      const step = Math.floor(memoryScale(memoryCanvas.clientWidth, memoryCanvas.clientHeight).step(x));
      if (step >= 0 && step < plan.steps.length) choose({ step }, { reveal: true });
    },
    hover: (x, y, e) => {
      const i = bufferAt(x, y);
      if (i >= 0) {
        const b = plan.buffers[i];
        return showTip(e, b.name, size(b.bytes) + " at " + b.offset.toLocaleString("en") + ", model " + plan.models[b.model].name, "steps " + b.live[0] + " to " + b.live[1]);
      }
      const step = Math.floor(memoryScale(memoryCanvas.clientWidth, memoryCanvas.clientHeight).step(x));
      if (x < edge.left || step < 0 || step >= plan.steps.length) return hideTip();
      showTip(e, "step " + step + ": " + plan.steps[step].label, size(liveCurve(arena)[step]) + " live");
    },
    leave: hideTip,
  });
  memoryCanvas.addEventListener("wheel", (e) => {
    e.preventDefault();
    hideTip();
    const r = memoryCanvas.getBoundingClientRect();
    const s = memoryScale(r.width, r.height);
    const span = time_.last - time_.first;
    if (e.shiftKey || Math.abs(e.deltaX) > Math.abs(e.deltaY)) {
      const d = (e.deltaX || e.deltaY) / r.width * span;
      return setTime(time_.first + d, time_.last + d);
    }
    const at = s.step(e.clientX - r.left), factor = Math.exp(e.deltaY * (e.deltaMode === 1 ? 30 : 1) * 0.0016);
    const wide = Math.min(nSteps, Math.max(4, span * factor));
    const part = (at - time_.first) / span;
    setTime(at - wide * part, at + wide * (1 - part));
  }, { passive: false });

  // ---- Tables: only the lines in sight are there.

  const LINE = 25;
  const makeTable = (container, columns, rows, { chosenKey, onChoose }) => {
    let order = rows.map((_, i) => i), sorted = null, up = true, filter = null;
    const template = columns.map((c) => c.width).join(" ");
    const least = columns.reduce((sum, c) => sum + parseInt(/\d+/.exec(c.width)[0], 10), 0) + "px";
    const head = el("div", { className: "head", style: { "grid-template-columns": template } });
    const body = el("div", { className: "body" });
    const none = el("div", { className: "none", hidden: true }, "Nothing found.");
    const table = el("div", { className: "table", tabIndex: 0, style: { "--least": least } }, head, body, none);
    columns.forEach((column, n) => {
      head.append(el("button", {
        className: column.number ? "number" : "", title: "Sort by " + column.title,
        onclick: () => { up = sorted === n ? !up : !column.number; sorted = n; arrange(); },
      }, column.title));
    });
    const arrange = () => {
      order = rows.map((_, i) => i).filter((i) => filter === null || filter(rows[i]));
      if (sorted !== null) {
        const value = columns[sorted].value, sign = up ? 1 : -1;
        order.sort((a, b) => {
          const x = value(rows[a]), y = value(rows[b]);
          return sign * (typeof x === "string" ? x.localeCompare(y) : x - y) || a - b;
        });
      }
      [...head.children].forEach((button, n) => {
        if (n === sorted) button.dataset.sorted = ""; else delete button.dataset.sorted;
        button.textContent = columns[n].title + (n === sorted ? (up ? " ↑" : " ↓") : "");
      });
      body.style.height = order.length * LINE + "px";
      none.hidden = order.length > 0;
      show();
    };
    const show = () => {
      const first = Math.max(0, Math.floor(table.scrollTop / LINE) - 6);
      const last = Math.min(order.length, first + Math.ceil((table.clientHeight || 400) / LINE) + 14);
      const lines = [];
      for (let n = first; n < last; n++) {
        const row = rows[order[n]];
        lines.push(el("div", {
          className: "line" + (chosenKey(row) ? " chosen" : ""),
          style: { top: n * LINE + "px", "grid-template-columns": template },
          onclick: () => onChoose(row),
        }, columns.map((c) => { const text = (c.text || c.value)(row); return el("span", { className: c.number ? "number" : "", title: typeof text === "string" ? text : "" }, text); })));
      }
      body.replaceChildren(...lines);
    };
    table.addEventListener("scroll", show);
    container.replaceChildren(table);
    new ResizeObserver(show).observe(table);
    arrange();
    return {
      show,
      filter: (f) => { filter = f; arrange(); },
      reveal: (key) => {
        const n = order.findIndex((i) => rows[i].key === key);
        if (n >= 0 && (n * LINE < table.scrollTop || (n + 2) * LINE > table.scrollTop + table.clientHeight)) table.scrollTop = n * LINE - table.clientHeight / 2;
        show();
      },
    };
  };
  const badge = (name) => el("span", { className: "class", style: { background: "var(--" + name + ")" } }, name);
  const stepRows = plan.steps.map((s, i) => ({ key: i, step: s, kernel: plan.kernels[s.kernel] }));
  const kernelRows = plan.kernels.map((k, i) => ({ key: i, kernel: k, steps: [], flop: 0, bytes: 0 }));
  for (const r of stepRows) {
    const k = kernelRows[r.step.kernel];
    k.steps.push(r.key); k.flop += r.step.flop; k.bytes += r.step.bytes_read + r.step.bytes_written;
  }
  const tables = {
    steps: makeTable($("steps"), [
      { title: "#", width: "64px", number: true, value: (r) => r.key },
      { title: "Class", width: "104px", value: (r) => r.kernel.class, text: (r) => badge(r.kernel.class) },
      { title: "Operators", width: "minmax(230px, 1.7fr)", value: (r) => r.step.label },
      { title: "Kernel", width: "minmax(210px, 1.5fr)", value: (r) => r.kernel.summary },
      { title: "Model", width: "minmax(90px, .6fr)", value: (r) => plan.models[r.step.model].name },
      { title: "Nodes", width: "70px", number: true, value: (r) => r.step.nodes.length },
      { title: "Operations", width: "112px", number: true, value: (r) => r.step.flop, text: (r) => flop(r.step.flop) },
      { title: "Read", width: "94px", number: true, value: (r) => r.step.bytes_read, text: (r) => size(r.step.bytes_read) },
      { title: "Written", width: "94px", number: true, value: (r) => r.step.bytes_written, text: (r) => size(r.step.bytes_written) },
      { title: "Lane", width: "64px", number: true, value: (r) => r.step.lane },
    ], stepRows, { chosenKey: (r) => isChosenStep(r.key), onChoose: (r) => choose({ step: r.key }, { reveal: true }) }),
    kernels: makeTable($("kernels"), [
      { title: "#", width: "64px", number: true, value: (r) => r.key },
      { title: "Class", width: "104px", value: (r) => r.kernel.class, text: (r) => badge(r.kernel.class) },
      { title: "Kernel", width: "minmax(240px, 2fr)", value: (r) => r.kernel.summary },
      { title: "Steps", width: "80px", number: true, value: (r) => r.steps.length },
      { title: "Operations", width: "120px", number: true, value: (r) => r.flop, text: (r) => flop(r.flop) },
      { title: "Bytes", width: "110px", number: true, value: (r) => r.bytes, text: (r) => size(r.bytes) },
    ], kernelRows, { chosenKey: (r) => chosen?.kernel === r.key, onChoose: (r) => choose({ kernel: r.key }) }),
  };

  // ---- Models.

  const portTable = (title, ports) => el("table", {},
    el("tr", {}, el("th", {}, title), el("th", {}, "Type"), el("th", {}, "Buffer")),
    ports.map((p) => el("tr", {}, el("td", {}, p.name), el("td", { className: "mono" }, tensor(p)), el("td", {}, bufferLink(p.buffer)))));
  const go = (text, onclick) => el("a", { className: "go", href: "#", onclick: (e) => { e.preventDefault(); onclick(); } }, text);
  const stepLink = (i) => go(i + " " + cut(plan.steps[i].label, 40), () => choose({ step: i }, { reveal: true }));
  const bufferLink = (i) => go(cut(plan.buffers[i].name || "b" + i, 48), () => {
    arena = plan.buffers[i].arena; $("arena").value = arena; choose({ buffer: i }); arenaInfo();
  });
  const showModels = () => {
    const container = $("models");
    container.classList.add("scroll");
    container.replaceChildren(el("div", { className: "models" }, plan.models.map((m, i) => {
      const blocks = plan.blocks.filter((b) => b.model === i);
      const predicted = blocks.reduce((sum, b) => sum + b.predicted_ns, 0);
      return el("div", { className: "model" },
        el("h3", {}, el("span", { className: "swatch", style: { background: "var(--m" + (i % 8) + ")" } }), m.name),
        el("div", { className: "soft" }, [count(m.n_nodes, "node") + " in " + count(m.n_steps, "step"), flop(m.flop), count(blocks.length, "block"), predicted ? "predicted " + time(predicted) : null].filter(Boolean).join(" · ")),
        portTable("Input", m.inputs), portTable("Output", m.outputs),
        el("div", { className: "soft mono", style: { "margin-top": "6px" } }, "BLAKE3 " + m.hash.slice(0, 16) + "…"));
    })));
  };

  // ---- Details.

  const facts = (pairs) => el("dl", {}, pairs.filter(Boolean).map(([k, v]) => [el("dt", {}, k), el("dd", {}, v)]));
  const heading = (text) => el("h2", {}, text);
  const detailsOfStep = (i) => {
    const s = plan.steps[i], k = plan.kernels[s.kernel];
    const bytes = s.bytes_read + s.bytes_written;
    const inputs = flowsIn[i], outputs = flowsOut[i];
    const end = (e) => {
      if (e.step !== undefined) return stepLink(e.step);
      const [m, n] = e.input || e.output;
      return el("span", {}, (e.input ? "input " : "output ") + (e.input ? plan.models[m].inputs : plan.models[m].outputs)[n].name);
    };
    const flowList = (flows, side) => el("ul", { className: "list" }, flows.slice(0, 60).map((f) => el("li", {}, end(f[side]), el("span", { className: "soft" }, size(plan.buffers[f.buffer].bytes)))));
    const operators = s.label.split("+");
    return [
      el("h1", {}, operators.join(" + ")),
      el("div", { className: "by" }, badge(k.class), " step " + i + " of " + plan.models[s.model].name),
      operators.length > 1 || s.nodes.length > 1 ? [heading(count(s.nodes.length, "node") + " in one kernel"), el("div", { className: "chips" }, operators.map((o) => el("span", { className: "chip" }, o)))] : heading("Node"),
      el("ul", { className: "list", style: { "margin-top": "6px" } }, s.nodes.slice(0, 200).map((n) => el("li", {}, n)), s.nodes.length > 200 ? el("li", {}, "and " + (s.nodes.length - 200) + " more") : null),
      heading("Work"),
      facts([
        ["Operations", flop(s.flop)], ["Read", size(s.bytes_read)], ["Written", size(s.bytes_written)],
        bytes ? ["Operations a byte", (s.flop / bytes).toFixed(1)] : null,
        ["Device", s.device], ["Lane", String(s.lane)],
        s.waits.length ? ["Waits for", s.waits.join(", ")] : null,
        blockOf[i] >= 0 ? ["Block", String(blockOf[i])] : null,
      ]),
      heading("Arguments"),
      el("ul", { className: "list" }, s.args.map((a) => {
        const at = a.offset ? " +" + a.offset : "";
        const place = a.buffer !== undefined ? [bufferLink(a.buffer), at] : [el("span", { className: "mono", title: plan.weights[a.weight].hash }, short(plan.weights[a.weight].hash)), at];
        const what = a.buffer !== undefined ? size(plan.buffers[a.buffer].bytes) : tensor(plan.weights[a.weight]);
        return el("li", {}, el("span", {}, el("span", { className: "soft" }, (a.role === "read" ? "" : "→ ") + a.name + " "), place), el("span", { className: "soft" }, what));
      })),
      inputs.length ? [heading("Reads from"), flowList(inputs, "from")] : null,
      outputs.length ? [heading("Read by"), flowList(outputs, "to")] : null,
      heading("Kernel " + s.kernel),
      el("pre", {}, [k.summary, ...k.spec].join("\n")),
    ];
  };
  const detailsOfBuffer = (i) => {
    const b = plan.buffers[i], u = users[i];
    const list = (steps) => el("ul", { className: "list" }, steps.slice(0, 100).map((s) => el("li", {}, stepLink(s))));
    return [
      el("h1", {}, b.name || "Buffer " + i),
      el("div", { className: "by" }, "buffer " + i + " of " + plan.models[b.model].name),
      facts([
        ["Size", size(b.bytes)], ["Arena", b.arena + ", " + plan.arenas[b.arena].kind], ["Offset", b.offset.toLocaleString("en")],
        b.live ? ["Live", "steps " + b.live[0] + " to " + b.live[1]] : ["Live", "never"],
      ]),
      u.writes.length ? [heading("Written by"), list(u.writes)] : null,
      u.reads.length ? [heading("Read by"), list(u.reads)] : null,
    ];
  };
  const detailsOfKernel = (i) => {
    const r = kernelRows[i];
    return [
      el("h1", {}, r.kernel.summary),
      el("div", { className: "by" }, badge(r.kernel.class), " kernel " + i),
      facts([["Operations", flop(r.flop)], ["Bytes", size(r.bytes)]]),
      heading("Spec"), el("pre", {}, r.kernel.spec.join("\n")),
      heading(count(r.steps.length, "step")),
      el("ul", { className: "list" }, r.steps.slice(0, 200).map((s) => el("li", {}, stepLink(s), el("span", { className: "soft" }, plan.models[plan.steps[s].model].name)))),
    ];
  };
  const detailsOfPort = (n) => {
    const end = nodes[n].end, [m, i] = end.input || end.output;
    const port = (end.input ? plan.models[m].inputs : plan.models[m].outputs)[i];
    return [
      el("h1", {}, port.name),
      el("div", { className: "by" }, (end.input ? "input of " : "output of ") + plan.models[m].name),
      facts([["Type", tensor(port)], ["Size", size(plan.buffers[port.buffer].bytes)], ["Buffer", bufferLink(port.buffer)]]),
    ];
  };
  const overview = () => {
    const total = plan.classes.reduce((sum, c) => sum + c.flop, 0) || 1;
    const most = Math.max(1, ...plan.arenas.map((a) => a.sum_bytes));
    return [
      el("h1", {}, count(plan.models.length, "model") + " in one plan"),
      el("div", { className: "by" }, "for " + plan.target + ", by dlirc " + plan.compiler),
      plan.warnings.map((w) => el("div", { className: "warning" }, w)),
      heading("Models"),
      el("ul", { className: "list" }, plan.models.map((m, i) => el("li", {}, el("span", {}, el("span", { className: "swatch", style: { background: "var(--m" + (i % 8) + ")" } }), m.name), el("span", { className: "soft" }, m.n_nodes + " nodes → " + count(m.n_steps, "step"))))),
      heading("Memory"),
      plan.arenas.map((a, i) => el("div", {},
        el("div", {}, go("arena " + i, () => { arena = i; $("arena").value = i; arenaInfo(); showTab("memory"); redraw(); }), el("span", { className: "soft" }, " " + (a.kind === "io" ? "inputs and outputs" : "scratch") + (a.models.length > 1 ? ", " + a.models.length + " models in turns" : ""))),
        el("div", { className: "soft" }, size(a.planned_bytes) + " planned · " + size(a.live_bytes) + " at least · " + size(a.sum_bytes) + " side by side"),
        el("div", { className: "bar" }, el("div", { style: { width: a.planned_bytes / most * 100 + "%", background: "var(--accent)" } })))),
      el("div", { className: "soft" }, size(plan.weights_bytes) + " of weights in " + count(plan.weights.length, "tensor")),
      heading("Steps by class"),
      plan.classes.map((c) => el("div", {},
        el("div", { style: { display: "flex", "justify-content": "space-between" } }, badge(c.class), el("span", { className: "soft" }, count(c.n_steps, "step") + " · " + flop(c.flop))),
        el("div", { className: "bar" }, el("div", { style: { width: c.flop / total * 100 + "%", background: "var(--" + c.class + ")" } })))),
      plan.options ? [heading("Options"), el("pre", {}, plan.options)] : null,
    ];
  };
  const showDetails = () => {
    const what = chosen === null ? overview()
      : chosen.step !== undefined ? detailsOfStep(chosen.step)
      : chosen.buffer !== undefined ? detailsOfBuffer(chosen.buffer)
      : chosen.kernel !== undefined ? detailsOfKernel(chosen.kernel)
      : detailsOfPort(chosen.node);
    $("details").replaceChildren(...what.flat(Infinity).filter(Boolean));
    $("details").scrollTop = 0;
  };

  // ---- Search.

  const haystacks = plan.steps.map((s) => [s.label, plan.kernels[s.kernel].summary, classOf(s), plan.models[s.model].name, ...s.nodes, ...s.args.map((a) => (a.buffer !== undefined ? plan.buffers[a.buffer].name : short(plan.weights[a.weight].hash)))].join("\n").toLowerCase());
  let found = [];
  const search = $("search");
  const runSearch = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    found = words.length ? haystacks.flatMap((text, i) => (words.every((w) => text.includes(w)) ? [i] : [])) : [];
    matches = words.length ? new Set(found) : null;
    $("found").textContent = words.length ? count(found.length, "step") : "";
    tables.steps.filter(matches === null ? null : (r) => matches.has(r.key));
    redraw();
  };
  search.addEventListener("input", runSearch);
  search.addEventListener("keydown", (e) => {
    if (e.key === "Enter" && found.length) {
      const now = chosen?.step ?? -1;
      const next = e.shiftKey ? found.filter((i) => i < now).pop() ?? found[found.length - 1] : found.find((i) => i > now) ?? found[0];
      choose({ step: next }, { reveal: true });
    }
    if (e.key === "Escape") { search.value = ""; runSearch(); search.blur(); }
  });
  addEventListener("keydown", (e) => {
    if (e.target === search || e.target.tagName === "SELECT" || e.ctrlKey || e.metaKey || e.altKey) return;
    const by = { ArrowDown: 1, ArrowRight: 1, j: 1, ArrowUp: -1, ArrowLeft: -1, k: -1 }[e.key];
    if (e.key === "/") { e.preventDefault(); search.focus(); search.select(); }
    else if (e.key === "f") fit();
    else if (e.key === "+" || e.key === "=") zoom(1.4);
    else if (e.key === "-") zoom(1 / 1.4);
    else if (e.key === "Escape") choose(null);
    else if (by && plan.steps.length) {
      e.preventDefault();
      const now = chosen?.step ?? (by > 0 ? -1 : plan.steps.length);
      choose({ step: Math.max(0, Math.min(plan.steps.length - 1, now + by)) }, { reveal: true });
    }
  });

  // ---- Tabs, divider, header.

  const tabs = ["memory", "steps", "kernels", "models"];
  const showTab = (name) => {
    for (const t of tabs) $(t).hidden = t !== name;
    for (const b of document.querySelectorAll("#tabs button")) b.setAttribute("aria-selected", String(b.dataset.tab === name));
    $("arena").hidden = name !== "memory" || plan.arenas.length < 2;
    arenaInfo(name);
    tables[name]?.show();
    redraw();
  };
  const arenaInfo = (tab) => {
    const info = $("tab-info");
    tab ??= tabs.find((t) => !$(t).hidden);
    info.replaceChildren();
    const a = plan.arenas[arena];
    if (tab !== "memory" || !a) return;
    info.append(el("b", {}, size(a.planned_bytes)), " planned, ");
    if (a.kind === "scratch") info.append(el("b", {}, size(a.live_bytes)), " live at once, ");
    info.append(el("b", {}, size(a.sum_bytes)), " side by side");
  };
  document.querySelectorAll("#tabs button").forEach((b) => { b.onclick = () => showTab(b.dataset.tab); });
  $("arena").append(...plan.arenas.map((a, i) => el("option", { value: i }, "arena " + i + ": " + (a.kind === "io" ? "inputs, outputs" : "scratch") + (a.models.length === 1 ? " of " + cut(plan.models[a.models[0]].name, 20) : ""))));
  $("arena").value = arena;
  $("arena").onchange = () => { arena = Number($("arena").value); arenaInfo(); drawMemory(); };
  $("divider").addEventListener("pointerdown", (e) => {
    const divider = $("divider");
    divider.setPointerCapture(e.pointerId);
    const move = (m) => {
      const r = $("left").getBoundingClientRect();
      $("bottom").style.height = Math.max(90, Math.min(r.height - 100, r.bottom - m.clientY)) + "px";
    };
    divider.addEventListener("pointermove", move);
    divider.addEventListener("pointerup", () => divider.removeEventListener("pointermove", move), { once: true });
  });
  $("title").textContent = plan.models.map((m) => m.name).join(", ");
  const fact = (value, what) => el("span", {}, el("b", {}, value), " " + what);
  const scratch = plan.arenas.reduce((sum, a) => sum + a.planned_bytes, 0);
  $("totals").append(
    fact(plan.target, ""), fact(String(plan.models.length), plan.models.length === 1 ? "model" : "models"),
    fact(plan.models.reduce((s, m) => s + m.n_nodes, 0).toLocaleString("en"), "nodes"),
    fact(plan.steps.length.toLocaleString("en"), "steps"),
    fact(flop(plan.models.reduce((s, m) => s + m.flop, 0)), ""),
    fact(size(plan.weights_bytes), "weights"), fact(size(scratch), "memory"));
  $("legend").append(...plan.classes.map((c) => el("span", {}, el("i", { style: { background: "var(--" + c.class + ")" } }), c.class)));

  const redraw = () => {
    drawGraph(); drawMap(); drawMemory();
    for (const t of Object.values(tables)) t.show();
  };
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", () => { readTheme(); redraw(); });
  readTheme();
  showModels();
  showDetails();
  showTab("memory");
  let started = false;
  new ResizeObserver(() => { if (!started && graphCanvas.clientWidth) { started = true; start(); open(); } redraw(); }).observe(graphCanvas);
  new ResizeObserver(() => drawMemory()).observe(memoryCanvas);
  const open = () => {
    const step = Number(/^#step-(\d+)$/.exec(location.hash)?.[1] ?? NaN);
    if (step >= 0 && step < plan.steps.length) choose({ step }, { reveal: true });
  };
})();
