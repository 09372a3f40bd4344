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

const tabs = ["memory", "timeline", "steps", "kernels", "models"];
const showTab = (name) => {
  for (const t of tabs) $(t).hidden = t !== name;
  for (const b of document.querySelectorAll("#tabs button")) b.setAttribute("aria-selected", String(b.dataset.tab === name));
  $("arena").hidden = name !== "memory" || plan.arenas.length < 2;
  $("round").hidden = name !== "timeline" || rounds.length < 2;
  arenaInfo(name);
  tables[name]?.show();
  redraw();
};
const arenaInfo = (tab) => {
  const info = $("tab-info");
  tab ??= tabs.find((t) => !$(t).hidden);
  info.replaceChildren();
  if (tab === "timeline" && rounds.length) {
    const blocks = rounds[round].placed.map((p) => plan.blocks[p.block]);
    const alone = blocks.reduce((sum, b) => sum + (b.measured_ns ?? b.predicted_ns), 0);
    info.append("policy ", el("b", {}, plan.deploy.policy), ", ", el("b", {}, time(rounds[round].makespan_ns)), " predicted, ", el("b", {}, time(alone)), " one after another");
  }
  const a = plan.arenas[arena];
  if (tab !== "memory" || !a) return;
  info.append(el("b", {}, size(a.planned_bytes)), " planned, ");
  if (a.kind === "scratch") info.append(el("b", {}, size(a.live_bytes)), " live at once, ");
  info.append(el("b", {}, size(a.sum_bytes)), " side by side");
};
document.querySelectorAll("#tabs button").forEach((b) => { b.onclick = () => showTab(b.dataset.tab); });
$("arena").append(...plan.arenas.map((a, i) => el("option", { value: i }, "arena " + i + ": " + ({ io: "inputs, outputs", scratch: "scratch", counters: "counters" })[a.kind] + " on " + a.device + (a.models.length === 1 ? " of " + cut(plan.models[a.models[0]].name, 20) : ""))));
$("round").append(...rounds.map((r, i) => el("option", { value: i }, "round " + i + ": " + [...new Set(r.placed.map((p) => modelOfBlock(p.block).name))].join(", "))));
$("round").onchange = () => { showRound(Number($("round").value)); arenaInfo(); };
document.querySelector('#tabs [data-tab="timeline"]').hidden = rounds.length === 0;
$("arena").onchange = () => showArena(Number($("arena").value));
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
  drawGraph(); drawMap(); drawMemory(); drawTimeline();
  for (const t of Object.values(tables)) t.show();
};
const dark = matchMedia("(prefers-color-scheme: dark)");
dark.addEventListener("change", () => { readTheme(); redraw(); });
readTheme();
showModels();
showDetails();
showArena(arena);
if (rounds.length) showRound(0);
showTab(rounds.length ? "timeline" : "memory");
let started = false;
new ResizeObserver(() => { if (!started && graphCanvas.clientWidth) { started = true; start(); open(); } redraw(); }).observe(graphCanvas);
new ResizeObserver(() => drawMemory()).observe(memoryCanvas);
new ResizeObserver(() => drawTimeline()).observe(timelineCanvas);
const open = () => {
  const step = Number(/^#step-(\d+)$/.exec(location.hash)?.[1] ?? NaN);
  if (step >= 0 && step < plan.steps.length) choose({ step }, { reveal: true });
};
