// What a closed loop decided: lines of the shares and the weight over steps, and a table of the reasons.

const DECIDED = { duty: 215, replay: 30, weight: 150 }; // name -> hue

function drawDecisions() {
  const decided = data.decisions;
  byId("decisions-section").hidden = !decided;
  if (!decided) return;
  if (decided.problem) {
    byId("decisions-note").textContent = decided.problem;
    return;
  }
  const { steps, lines, columns, rows } = decided;
  byId("decisions-note").textContent =
    "duty: share of the steps that train on pairs. replay: share that replays text. weight: factor of the alignment loss.";
  const ends = [data.steps[0], Math.max(data.steps[data.steps.length - 1], steps[steps.length - 1])];
  const plot = frameOf(ends, 0, Math.max(1, extreme(Object.values(lines).flat(), false)), 150);
  const title = "decisions by step";
  const svg = element("svg:svg", { viewBox: `0 0 ${plot.width} ${plot.height}`, role: "img", "aria-label": title });
  drawScale(svg, plot, 2);
  drawSteps(svg, plot, ends);
  for (const [name, values] of Object.entries(lines)) {
    const line = element("svg:path", { class: "decided", d: stairs(plot, steps, values, ends[1]), stroke: hueOf(name) });
    line.append(element("svg:title", {}, name));
    svg.append(line);
  }
  byId("decisions").replaceChildren(svg);
  byId("decisions-legend").replaceChildren(...Object.keys(lines).map((name) => {
    const item = element("li");
    item.append(element("span", { class: "swatch", style: `background:${hueOf(name)}` }), name);
    return item;
  }));
  const last = rows[rows.length - 1];
  byId("decisions-last").textContent = `Last, at step ${last[0]}: ${last[last.length - 1]}.`;
  byId("decisions-count").textContent = `All ${rows.length} decisions, with their reasons`;
  const head = element("tr");
  head.append(...columns.map((column) => element("th", { scope: "col" }, column)));
  byId("decisions-table").replaceChildren(head, ...rows.map((row) => {
    const made = element("tr");
    made.append(...row.map((cell) => element("td", { class: typeof cell === "number" ? "number" : "" }, shortly(cell))));
    return made;
  }));
}

function hueOf(name) {
  return `hsl(${DECIDED[name]} 62% 48%)`;
}

function shortly(cell) {
  return typeof cell === "number" ? String(Number(cell.toFixed(3))) : cell;
}

// A decision holds until the next one: the line runs level, then up or down.
function stairs(plot, steps, values, end) {
  const parts = steps.map((step, i) => {
    const [x, y] = [plot.x(step).toFixed(1), plot.y(values[i]).toFixed(1)];
    return i ? `H${x}V${y}` : `M${x} ${y}`;
  });
  return `${parts.join("")}H${plot.x(end).toFixed(1)}`;
}
