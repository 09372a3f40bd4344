// ---- Models.

const portTable = (title, ports) => el("table", {},
  el("tr", {}, el("th", {}, title), el("th", {}, "Type"), el("th", {}, "Buffer")),
  ports.map((p) => el("tr", {}, el("td", {}, p.name), el("td", { className: "mono" }, tensor(p)), el("td", {}, bufferLink(p.buffer)))));
const go = (text, onclick) => el("a", { className: "go", href: "#", onclick: (e) => { e.preventDefault(); onclick(); } }, text);
const stepLink = (i) => go(i + " " + cut(plan.steps[i].label, 40), () => choose({ step: i }, { reveal: true }));
const bufferLink = (i) => go(cut(plan.buffers[i].name || "b" + i, 48), () => {
  if (arena !== plan.buffers[i].arena) showArena(plan.buffers[i].arena);
  choose({ buffer: i });
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
const codeText = (i) => [
  heading("Device code " + i),
  el("pre", {}, [...plan.codes[i].lines, "images: " + plan.codes[i].images.map((n) => plan.images[n].arch + ", " + size(plan.images[n].bytes)).join("; ")].join("\n")),
];
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
      s.workspace === undefined ? null : ["Workspace", bufferLink(s.workspace)],
      s.counters === undefined ? null : ["Counters", bufferLink(s.counters)],
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
    s.code === undefined ? null : codeText(s.code),
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
    (plan.codes || []).map((c, n) => (c.kernel === i ? codeText(n) : null)),
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
    el("div", { className: "by" }, "for " + plan.target + ", by " + plan.compiler),
    plan.warnings.map((w) => el("div", { className: "warning" }, w)),
    heading("Models"),
    el("ul", { className: "list" }, plan.models.map((m, i) => el("li", {}, el("span", {}, el("span", { className: "swatch", style: { background: "var(--m" + (i % 8) + ")" } }), m.name), el("span", { className: "soft" }, m.n_nodes + " nodes → " + count(m.n_steps, "step"))))),
    heading("Memory"),
    plan.arenas.map((a, i) => el("div", {},
      el("div", {}, go("arena " + i, () => { showArena(i); showTab("memory"); }), el("span", { className: "soft" }, " " + ({ io: "inputs and outputs", scratch: "scratch", counters: "counters" })[a.kind] + " on " + a.device + (a.models.length > 1 ? ", " + a.models.length + " models in turns" : ""))),
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
