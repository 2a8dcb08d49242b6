// The picture of a front: axes, markers, labels. Drawn at the width it has, so that text keeps its size.
function drawPicture(box, { points, bits, cost, fronts, full, width }) {
  box.replaceChildren();
  if (!points.length) return box.append(el("p", { class: "none" }, "Nothing to draw."));
  const height = width < 560 ? 380 : 460;
  const frame = { x: 50, y: 26, width: width - 64, height: height - 26 - 48 };
  const scale = scales(points, cost, full, frame);
  const picture = svg("svg", {
    width,
    height,
    viewBox: `0 0 ${width} ${height}`,
    role: "group",
    "aria-labelledby": "front-title",
    "aria-describedby": "front-caption",
  });
  picture.append(axes(scale, cost, frame), fullPrecision(scale, full, frame));
  const shown = points.map((one) => ({
    ...one,
    at: { x: scale.x(one.x), y: Math.min(scale.y(one.y), frame.y + frame.height - 7) },
    below: one.y < scale.low,
    shape: bits.indexOf(one.bits) % SHAPES.length,
  }));
  const tip = el("div", { class: "tip", hidden: true });
  picture.append(
    svg(
      "g",
      { class: "lines" },
      fronts.map((_, place) =>
        joined(
          shown.filter((one) => one.front === place),
          cost
        )
      )
    )
  );
  picture.append(
    svg(
      "g",
      { class: "bars", "aria-hidden": "true" },
      labelled(shown).map((one) => whiskers(one, scale, cost))
    )
  );
  picture.append(labelsOf(shown, frame, width), svg("g", { class: "marks" }, markers(shown, cost, tip, width)));
  box.append(picture, tip, belowNote(shown));
}

// The accuracy axis holds what is near the best; points far below are drawn as arrows at its lower edge and named under it.
function scales(points, cost, full, frame) {
  const values = points.map((one) => one.y).sort((a, b) => a - b);
  const [half, best] = [values[Math.floor(values.length / 2)], values.at(-1)];
  const near = values.filter((value) => value >= best - Math.max(5, 2.5 * (best - half)));
  const ends = points
    .filter((one) => one.y >= near[0])
    .flatMap((one) => (known(one.row.around?.[1]) ? one.row.around.slice(1) : []));
  const [least, most] = [Math.min(near[0], ...ends), Math.max(best, ...ends)];
  const span = Math.max(most - least, 0.2);
  const [low, high] = [least - 0.06 * span, (full <= most + span * 0.3 ? Math.max(full, most) : most) + 0.06 * span];
  const costs = points.flatMap((one) => (cost === "seconds" ? one.row.spread.filter(known) : [one.x]));
  const x = costScale(Math.min(...costs), Math.max(...costs), UNITS[cost].log, frame);
  return { low, high, ...x, y: (value) => frame.y + frame.height * (1 - (value - low) / (high - low)) };
}

function costScale(least, most, log, frame) {
  const apply = log ? (value) => Math.log(Math.max(value, 1e-9)) : (value) => value;
  let [a, b] = [apply(least), apply(most)];
  // Costs that hardly differ shall not look far apart: the axis spans at least a tenth of the cost.
  const narrowest = log ? Math.log(1.5) : 0.1 * Math.max(Math.abs(b), 1e-9);
  const room = Math.max(0.08 * (b - a), (narrowest - (b - a)) / 2);
  [a, b] = [a - room, b + room];
  const undo = log ? Math.exp : (value) => value;
  return { from: undo(a), to: undo(b), log, x: (value) => frame.x + (frame.width * (apply(value) - a)) / (b - a) };
}

function axes(scale, cost, frame) {
  const [right, bottom] = [frame.x + frame.width, frame.y + frame.height];
  const most = Math.max(3, Math.floor(frame.width / 80));
  const across = (scale.log ? logTicks : ticks)(scale.from, scale.to, most).filter(
    (value) => value >= scale.from && value <= scale.to
  );
  const texts = tickText(across);
  const up = ticks(scale.low, scale.high, 7).filter((value) => value >= scale.low && value <= scale.high);
  return svg(
    "g",
    { class: "axes", "aria-hidden": "true" },
    across.map((value, place) => [
      svg("line", { x1: scale.x(value), x2: scale.x(value), y1: frame.y, y2: bottom }),
      svg("text", { x: scale.x(value), y: bottom + 16, "text-anchor": "middle" }, texts[place]),
    ]),
    up.map((value) => [
      svg("line", { x1: frame.x, x2: right, y1: scale.y(value), y2: scale.y(value) }),
      svg("text", { x: frame.x - 6, y: scale.y(value) + 4, "text-anchor": "end" }, String(value)),
    ]),
    svg("text", { x: frame.x + frame.width / 2, y: bottom + 38, "text-anchor": "middle" }, UNITS[cost].axis),
    svg("text", { x: 4, y: 14, class: "title" }, "top-1, %")
  );
}

// A note at the edge, outside of the frame: a line across it would say nothing and take most of the height.
function fullPrecision(scale, full, frame) {
  const right = frame.x + frame.width;
  const within = full >= scale.low && full <= scale.high;
  return svg(
    "g",
    { class: "full" },
    svg(
      "text",
      { x: right + 8, y: 14, "text-anchor": "end" },
      `${within ? "◂ " : ""}full precision ${percent(full)} %${within ? "" : full > scale.high ? " (above)" : " (below)"}`
    ),
    within ? svg("path", { d: `M${right + 1} ${scale.y(full)} l9 -5 v10 z` }) : ""
  );
}

function joined(members, cost) {
  const front = members.filter((one) => one.status === "front" && !one.below).sort((a, b) => a.x - b.x || a.y - b.y);
  if (front.length < 2) return "";
  const path = front.map(({ at }, place) => (place ? `H${at.x} V${at.y}` : `M${at.x} ${at.y}`)).join(" ");
  return svg("path", { d: path, class: cost === "seconds" ? `line bits-${front[0].shape}` : "line" });
}

function whiskers(one, scale, cost) {
  const lines = [];
  const clip = (value) => scale.y(Math.max(value, scale.low));
  if (known(one.row.around?.[1]))
    lines.push(`M${one.at.x} ${clip(one.row.around[1])} V${scale.y(Math.min(one.row.around[2], scale.high))}`);
  const [from, to] = one.row.spread;
  if (cost === "seconds" && known(from) && to > from) lines.push(`M${scale.x(from)} ${one.at.y} H${scale.x(to)}`);
  return lines.length ? svg("path", { d: lines.join(" "), class: `bits-${one.shape} ${one.status}` }) : "";
}

const markBox = ({ at }) => ({ x: at.x - RADIUS - 2, y: at.y - RADIUS - 2, width: 2 * RADIUS + 4, height: 2 * RADIUS + 4 });

// What is shown to be on the front first, then the rest of the front of the means.
function labelled(shown) {
  const front = shown.filter((one) => !one.below && (one.status === "front" || (one.best && one.status === "undecided")));
  return front.sort((a, b) => (b.status === "front") - (a.status === "front") || a.x - b.x);
}

function labelsOf(shown, frame, width) {
  const labels = labelled(shown).map((one) => {
    const lines = linesOf(one.row.label, SIZE, Math.min(260, width * 0.4));
    return {
      ...one.at,
      one,
      lines,
      width: Math.max(...lines.map((line) => textWidth(line, SIZE))) * 1.08 + 4,
      height: lines.length * SIZE * 1.2 + 2,
    };
  });
  const places = placeLabels(labels, shown.map(markBox), frame);
  return svg(
    "g",
    { class: "labels", "aria-hidden": "true" },
    labels.map((label, i) => (places[i] ? drawnLabel(label, places[i]) : ""))
  );
}

function drawnLabel({ one, lines }, place) {
  const [x, y] = [place.x + place.width / 2, place.y + place.height / 2];
  const end = {
    x: Math.min(place.x + place.width, Math.max(place.x, one.at.x)),
    y: Math.min(place.y + place.height, Math.max(place.y, one.at.y)),
  };
  const leader = place.leader ? svg("line", { x1: one.at.x, y1: one.at.y, x2: end.x, y2: end.y }) : "";
  return [
    leader,
    svg(
      "text",
      { class: `label ${one.status} bits-${one.shape}`, "text-anchor": "middle" },
      lines.map((line, i) => svg("tspan", { x, y: y + (i - (lines.length - 1) / 2) * SIZE * 1.2 + SIZE * 0.35 }, line))
    ),
  ];
}

// One stop for the Tab key; the arrows go from point to point in the order of cost.
function markers(shown, cost, tip, width) {
  const order = [...shown].sort((a, b) => a.x - b.x || a.y - b.y);
  const marks = order.map((one, place) => {
    const about = [`${percent(one.y)} %`, UNITS[cost].show(one.row[cost]), WORDS[one.status]];
    const words = `${one.row.label}, ${one.bits}: ${about.join(", ")}`;
    const shape = one.below ? svg("path", { d: "M-6 -5 H6 L0 6 Z" }) : SHAPES[one.shape](RADIUS);
    const open = () => go({ bits: one.bits, cell: one.row.label });
    return svg(
      "g",
      {
        class: `mark ${one.status} bits-${one.shape}`,
        transform: `translate(${one.at.x} ${one.at.y})`,
        role: "button",
        tabindex: place ? -1 : 0,
        "aria-label": words,
        onclick: open,
        onfocus: () => showTip(tip, one, words, width),
        onblur: () => hideTip(tip),
        onmouseenter: () => showTip(tip, one, words, width),
        onmouseleave: () => hideTip(tip),
        onkeydown: (event) => {
          const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
          if (event.key === "Enter" || event.key === " ") open();
          else if (!step) return;
          else moveFocus(marks, place, Math.min(marks.length - 1, Math.max(0, place + step)));
          event.preventDefault();
        },
      },
      shape
    );
  });
  return marks;
}

function moveFocus(marks, from, to) {
  marks[from].setAttribute("tabindex", -1);
  marks[to].setAttribute("tabindex", 0);
  marks[to].focus();
}

function showTip(tip, one, words, width) {
  tip.hidden = false;
  tip.textContent = `${words}; 95 % interval ${endsText(one.row.around)}`;
  const wide = Math.min(320, width - 16);
  tip.style.width = `${wide}px`;
  tip.style.left = `${Math.max(4, Math.min(width - wide - 4, one.at.x - wide / 2))}px`;
  tip.style.top = `${one.at.y + 14}px`;
}

function hideTip(tip) {
  tip.hidden = true;
}

function belowNote(shown) {
  const below = shown.filter((one) => one.below);
  if (!below.length) return "";
  return el(
    "p",
    { class: "below" },
    `Below the axis (arrows): ${below.map((one) => `${one.row.label} ${one.bits} ${percent(one.y)} %`).join("; ")}.`
  );
}
