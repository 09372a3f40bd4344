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
