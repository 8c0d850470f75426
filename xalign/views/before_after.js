// What training and centring made of the model: sentences, and a table of the chosen metric.

function drawImprovement(name) {
  const found = data.improvement;
  byId("improvement-section").hidden = !found;
  if (!found) return;
  if (found.problem) {
    byId("improvement-note").textContent = found.problem;
    return;
  }
  byId("improvement-said").replaceChildren(...found.said.map((sentence) => element("li", {}, sentence)));
  const row = data.metrics[name];
  const rows = found.rows.filter((one) => one.metric === name);
  const isCentred = rows.some((one) => one.centred !== null);
  const hasLosses = Object.keys(found.losses).length > 0;
  const number = (value) => shown(row, value);
  const signed = (value) => `${value < 0 ? "−" : "+"}${number(Math.abs(value))}`;
  const columns = [
    ["before", (one) => number(one.before)],
    ["trained", (one) => number(one.trained)],
    ...(isCentred ? [["centred", (one) => number(one.centred)]] : []),
    ["change [95 %]", (one) => signed(one.difference) + (one.low === null ? "" : ` [${signed(one.low)}, ${signed(one.high)}]`)],
    ["", (one) => (one.verdict === "worse" ? element("span", { class: "warn" }, "worse") : one.verdict)],
    ...(hasLosses ? [["loss before", (one) => lossOf(found, one, 0)], ["after", (one) => lossOf(found, one, 1)]] : []),
  ];
  const head = element("tr");
  head.append(element("th", { scope: "col" }, "language"), ...columns.map(([title]) => element("th", { scope: "col", class: "number" }, title)));
  const made = rows.map((one) => {
    const line = element("tr");
    line.append(element("th", { scope: "row" }, one.language));
    for (const [, cell] of columns) {
      const box = element("td", { class: "number" });
      box.append(cell(one));
      line.append(box);
    }
    return line;
  });
  byId("improvement-table").replaceChildren(head, ...made);
  const notes = rows.length ? [] : [`${row.name} was not compared; choose another metric.`];
  if (isCentred) notes.push("Centred: with each language's mean subtracted, where that helps on the control pairs.");
  if (hasLosses) notes.push("Loss: nats per token of the reported sentences.");
  byId("improvement-note").textContent = notes.join(" ");
}

function lossOf(found, one, which) {
  const both = found.losses[one.language];
  return both ? both[which].toFixed(3) : NOTHING;
}
