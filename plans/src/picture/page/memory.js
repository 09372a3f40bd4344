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
      if (room > 40) { c.save(); c.beginPath(); c.rect(from, y0, room, bh); c.clip(); c.fillStyle = "#fff"; c.fillText(tail(b.name.replace(/_output_\d+$/, ""), Math.floor(room / 6.4)), from, (y0 + y1) / 2); c.restore(); }
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
// An arena, over the steps of the models that it serves.
const showArena = (a) => {
  arena = a;
  $("arena").value = a;
  const models = (plan.arenas[a]?.models ?? []).map((m) => plan.models[m]).filter((m) => m.n_steps);
  if (models.length) setTime(Math.min(...models.map((m) => m.first_step)), Math.max(...models.map((m) => m.first_step + m.n_steps)));
  arenaInfo();
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
