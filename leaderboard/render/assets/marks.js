// Intervals as bars within a table, all rows on one scale.

// The scale of a column of intervals. Rows far below the others would squeeze them: their bars end in an arrow at the edge.
function scaleOf(arounds, include = []) {
  const values = arounds.filter((one) => known(one?.[0]));
  if (!values.length) return null;
  const middles = values.map((one) => one[0]).sort((a, b) => a - b);
  const half = middles[Math.floor(middles.length / 2)];
  const room = Math.max(5, 3 * (middles.at(-1) - half));
  const near = values.filter((one) => one[0] >= half - room);
  let low = Math.min(...near.map((one) => one[1] ?? one[0]), ...include);
  let high = Math.max(...near.map((one) => one[2] ?? one[0]), ...include);
  if (high - low < 0.1) [low, high] = [low - 0.05, high + 0.05];
  return { low, high };
}

const WIDTH = 150;

function bar(around, scale, zero = null) {
  if (!known(around?.[0]) || !scale) return "–";
  const place = (value) => 6 + (WIDTH - 12) * Math.min(1, Math.max(0, (value - scale.low) / (scale.high - scale.low)));
  const [value, low, high] = around;
  const parts = [];
  if (zero !== null && zero >= scale.low && zero <= scale.high)
    parts.push(svg("line", { x1: place(zero), x2: place(zero), y1: 0, y2: 16, class: "zero" }));
  if (known(low)) parts.push(svg("line", { x1: place(low), x2: place(high), y1: 8, y2: 8, class: "whisker" }));
  if (value < scale.low) parts.push(svg("path", { d: "M0 8 l6 -5 v10 z", class: "beyond" }));
  else if (value > scale.high) parts.push(svg("path", { d: `M${WIDTH} 8 l-6 -5 v10 z`, class: "beyond" }));
  else parts.push(svg("circle", { cx: place(value), cy: 8, r: 4, class: "dot" }));
  return svg("svg", { class: "bar", viewBox: `0 0 ${WIDTH} 16`, width: WIDTH, height: 16, "aria-hidden": "true" }, parts);
}

// Bar and numbers together: the numbers are what a screen reader reads.
function interval(around, scale, text, zero = null) {
  return el("span", { class: "interval" }, bar(around, scale, zero), el("span", { class: "ends" }, text(around)));
}

const MARKS = {
  best: ["best", "best mean of the list"],
  tied: ["≈ best", "not shown to be worse than the best: in the 95 % model confidence set"],
  unknown: ["?", "no per-image results to tell by"],
};

function badge(mark) {
  const found = MARKS[mark];
  return found ? el("span", { class: `badge ${mark}`, title: found[1] }, found[0]) : null;
}

// The sign beside a number of an altered network, and the line that explains it; nothing where there is none.
function alteredSign(one) {
  if (!known(one.altered)) return null;
  return el("abbr", { title: `altered network: ${boards.texts[one.altered]}` }, boards.altered.sign);
}

const alteredNote = (rows) => (rows.some((one) => known(one?.altered)) ? ` ${boards.altered.note}` : "");
