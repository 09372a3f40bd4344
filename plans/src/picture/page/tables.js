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
    { title: "Device", width: "84px", value: (r) => r.step.device },
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
