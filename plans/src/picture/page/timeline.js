// ---- Rounds over time: predicted, and measured below.

const timelineCanvas = $("timeline").querySelector("canvas");
const rounds = plan.deploy?.rounds ?? [];
let round = 0;
// When each step ran by the trace, from the first of them on.
const ran = new Map();
for (const [step, start, duration] of measured) if (step < plan.steps.length) ran.set(step, [start, start + duration]);
const modelOfBlock = (b) => plan.models[plan.blocks[b].model];
const stepsOf = (b) => Array.from({ length: plan.blocks[b].n_steps }, (_, i) => plan.blocks[b].first_step + i);
// Of each round the lanes, and what is drawn in each: predicted, then measured.
const drawnRounds = rounds.map((r) => {
  const zero = Math.min(...r.placed.flatMap((p) => stepsOf(p.block)).map((i) => ran.get(i)?.[0] ?? Infinity));
  const bars = [];
  r.placed.forEach((p, position) => {
    bars.push({ position, placed: p, band: 0, from: p.start_ns, to: p.end_ns, steps: null });
    const steps = stepsOf(p.block).filter((i) => ran.has(i)).map((i) => [i, ran.get(i)[0] - zero, ran.get(i)[1] - zero]);
    if (steps.length) bars.push({ position, placed: p, band: 1, from: Math.min(...steps.map((s) => s[1])), to: Math.max(...steps.map((s) => s[2])), steps });
  });
  const lanes = 1 + Math.max(0, ...r.placed.map((p) => p.lane));
  const bands = bars.some((b) => b.band === 1) ? 2 : 1;
  return { bars, lanes, bands, ends: [0, 1].map((k) => Math.max(0, ...bars.filter((b) => b.band === k).map((b) => b.to))) };
});
const span_ = { first: 0, last: 1 };
const margin_ = { left: 92, right: 14, top: 6, bottom: 22, gap: 20 };
const timelineScale = (w, h) => {
  const r = drawnRounds[round];
  const inner = w - margin_.left - margin_.right;
  const tall = h - margin_.top - margin_.bottom - margin_.gap * r.bands;
  const row = Math.max(9, Math.min(40, tall / (r.lanes * r.bands)));
  return {
    row,
    x: (ns) => margin_.left + (ns - span_.first) / (span_.last - span_.first) * inner,
    ns: (px) => span_.first + (px - margin_.left) / inner * (span_.last - span_.first),
    y: (band, lane) => margin_.top + margin_.gap * (band + 1) + (band * r.lanes + lane) * row,
  };
};
const drawTimeline = prepare(timelineCanvas, (c, w, h) => {
  const r = drawnRounds[round];
  if (!r) return;
  const s = timelineScale(w, h);
  c.font = "11px " + font;
  c.textAlign = "center"; c.textBaseline = "top";
  for (const t of ticks(span_.first, span_.last, Math.max(2, (w - 120) / 110), false)) {
    c.fillStyle = theme.grid; c.fillRect(Math.round(s.x(t)), margin_.top, 1, h - margin_.bottom - margin_.top);
    c.fillStyle = theme.soft; c.fillText(time(t), s.x(t), h - margin_.bottom + 6);
  }
  for (let band = 0; band < r.bands; band++) {
    const y = s.y(band, 0) - margin_.gap / 2 - 2;
    c.textAlign = "left"; c.textBaseline = "middle";
    c.fillStyle = theme.ink; c.font = "600 11px " + font;
    c.fillText((band ? "Measured, " : "Predicted, ") + time(Math.round(r.ends[band])), 10, y);
    c.font = "11px " + font; c.fillStyle = theme.soft;
    for (let lane = 0; lane < r.lanes; lane++) {
      c.fillText("lane " + lane, 10, s.y(band, lane) + s.row / 2);
      c.fillStyle = theme.grid; c.fillRect(margin_.left, Math.round(s.y(band, lane) + s.row) - 1, w - margin_.left - margin_.right, 1);
      c.fillStyle = theme.soft;
    }
  }
  c.save();
  c.beginPath(); c.rect(margin_.left, 0, w - margin_.left - margin_.right, h - margin_.bottom + 1); c.clip();
  const chosenBlock = chosen?.step !== undefined ? blockOf[chosen.step] : -1;
  for (const b of r.bars) {
    const x0 = s.x(b.from), x1 = s.x(b.to), y = s.y(b.band, b.placed.lane) + 1;
    if (x1 < margin_.left || x0 > w - margin_.right) continue;
    const wide = Math.max(1, x1 - x0 - (x1 - x0 > 3 ? 1 : 0)), tall = s.row - 3;
    c.fillStyle = modelColour(plan.blocks[b.placed.block].model); c.fillRect(x0, y, wide, tall);
    // The steps of a measured block, where they can be told apart.
    if (b.steps) {
      c.fillStyle = theme.panel; c.globalAlpha = 0.45;
      for (const [, from] of b.steps.slice(1)) if (s.x(b.to) - s.x(b.from) > 3 * b.steps.length) c.fillRect(Math.round(s.x(from)), y, 1, tall);
      c.globalAlpha = 1;
    }
    if (b.placed.block === chosenBlock) { c.strokeStyle = theme.ink; c.lineWidth = 1.6; c.strokeRect(x0 + 0.5, y + 0.5, Math.max(1, wide - 1), tall - 1); }
    const from = Math.max(x0, margin_.left) + 4, room = Math.min(x1, w - margin_.right) - from - 4;
    if (room > 24 && tall > 10) {
      c.save(); c.beginPath(); c.rect(from, y, room, tall); c.clip();
      c.fillStyle = "#fff"; c.textAlign = "left"; c.textBaseline = "middle";
      c.fillText(modelOfBlock(b.placed.block).name + " " + b.placed.block, from, y + tall / 2 + 0.5); c.restore();
    }
  }
  // What the chosen block waits for.
  const waiting = r.bars.find((b) => b.band === 0 && b.placed.block === chosenBlock);
  for (const a of waiting?.placed.after ?? []) {
    const before = rounds[round].placed[a];
    c.strokeStyle = theme.ink; c.lineWidth = 1.2; c.beginPath();
    c.moveTo(s.x(before.end_ns), s.y(0, before.lane) + s.row / 2);
    c.lineTo(s.x(waiting.from), s.y(0, waiting.placed.lane) + s.row / 2); c.stroke();
  }
  c.restore();
});
const barAt = (px, py) => {
  const r = drawnRounds[round];
  if (!r || px < margin_.left) return null;
  const s = timelineScale(timelineCanvas.clientWidth, timelineCanvas.clientHeight), ns = s.ns(px);
  return r.bars.find((b) => ns >= b.from && ns <= b.to && py >= s.y(b.band, b.placed.lane) && py < s.y(b.band, b.placed.lane) + s.row) ?? null;
};
const stepIn = (bar, px) => {
  const ns = timelineScale(timelineCanvas.clientWidth, timelineCanvas.clientHeight).ns(px);
  return bar.steps?.filter((s) => s[1] <= ns).pop()?.[0] ?? plan.blocks[bar.placed.block].first_step;
};
const setSpan = (first, last) => {
  const most = Math.max(1, ...(drawnRounds[round]?.ends ?? [1])) * 1.01;
  const span = Math.min(most, Math.max(100, last - first));
  first = Math.max(0, Math.min(first, most - span));
  span_.first = first; span_.last = first + span;
  drawTimeline();
};
const showRound = (r) => { round = r; $("round").value = r; setSpan(0, Infinity); };
pointer(timelineCanvas, {
  drag: (dx) => { hideTip(); const d = dx / (timelineCanvas.clientWidth - margin_.left - margin_.right) * (span_.last - span_.first); setSpan(span_.first - d, span_.last - d); },
  click: (x, y) => { const b = barAt(x, y); if (b) choose({ step: stepIn(b, x) }, { reveal: true }); },
  hover: (x, y, e) => {
    const bar = barAt(x, y);
    if (!bar) return hideTip();
    const b = plan.blocks[bar.placed.block], alone = b.measured_ns ?? b.predicted_ns;
    const labels = stepsOf(bar.placed.block).map((i) => plan.steps[i].label);
    showTip(e, modelOfBlock(bar.placed.block).name + ", block " + bar.placed.block,
      time(Math.round(bar.to - bar.from)) + " from " + time(Math.round(bar.from)) + (alone ? ", alone " + time(alone) : ""),
      count(b.n_steps, "step") + ": " + cut(labels.join(", "), 120),
      bar.steps ? "step " + stepIn(bar, x) + ": " + plan.steps[stepIn(bar, x)].label : b.demand_compute || b.demand_memory ? "needs " + b.demand_compute / 10 + " % of the multiprocessors, " + b.demand_memory / 10 + " % of the bandwidth" : "");
  },
  leave: hideTip,
});
timelineCanvas.addEventListener("wheel", (e) => {
  e.preventDefault();
  hideTip();
  if (!drawnRounds[round]) return;
  const r = timelineCanvas.getBoundingClientRect(), span = span_.last - span_.first;
  if (e.shiftKey || Math.abs(e.deltaX) > Math.abs(e.deltaY)) {
    const d = (e.deltaX || e.deltaY) / r.width * span;
    return setSpan(span_.first + d, span_.last + d);
  }
  const at = timelineScale(r.width, r.height).ns(e.clientX - r.left), part = (at - span_.first) / span;
  const wide = span * Math.exp(e.deltaY * (e.deltaMode === 1 ? 30 : 1) * 0.0016);
  setSpan(at - wide * part, at + wide * (1 - part));
}, { passive: false });
