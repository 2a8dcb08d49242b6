// Cost against accuracy. Bit-widths differ in shape and colour, standing in filling; the points that are shown to be on the
// front are labelled and joined. Standings come with the data, from resampled images and seeds.
const SHAPES = [
  (r) => svg("circle", { r }),
  (r) => svg("rect", { x: -r * 0.9, y: -r * 0.9, width: r * 1.8, height: r * 1.8 }),
  (r) => svg("path", { d: `M0 ${-r * 1.15} L${r * 1.1} ${r * 0.85} H${-r * 1.1} Z` }),
  (r) => svg("path", { d: `M0 ${-r * 1.25} L${r * 1.25} 0 L0 ${r * 1.25} L${-r * 1.25} 0 Z` }),
  (r) => svg("path", { d: `M0 ${r * 1.15} L${r * 1.1} ${-r * 0.85} H${-r * 1.1} Z` }),
  (r) =>
    svg("path", {
      d: "M-1 -.45 H-.45 V-1 H.45 V-.45 H1 V.45 H.45 V1 H-.45 V.45 H-1 Z",
      transform: `scale(${r})`,
      "vector-effect": "non-scaling-stroke",
    }),
];
const RADIUS = 6;
const SIZE = 12;
const WORDS = { front: "on the front", undecided: "undecided", dominated: "dominated" };

function frontsOf(list) {
  const own = boards.fronts.filter((one) => one.network === list.network && one.setting === list.setting);
  const costs = Object.keys(UNITS).filter((cost) => own.some((one) => one.cost === cost));
  const cost = costs.includes(state.cost) ? state.cost : costs[0];
  const fronts = own.filter((one) => one.cost === cost);
  const devices = inOrder(fronts.map((one) => one.device).filter(known)).map((number) => boards.texts[number]);
  const device = devices.includes(state.device) ? state.device : devices[0];
  return {
    costs,
    cost,
    devices,
    device,
    fronts: fronts.filter((one) => !known(one.device) || boards.texts[one.device] === device),
  };
}

const hidden = () => (state.hide ?? "").split(",").filter(Boolean);
const allBits = (list) =>
  distinctBits(boards.lists.filter((one) => one.network === list.network && one.setting === list.setting));

function pointsOf(list, fronts, cost) {
  const rows = new Map();
  for (const one of boards.lists.filter((other) => other.network === list.network && other.setting === list.setting)) {
    for (const row of one.rows) rows.set(`${one.bits} ${row.stack}`, row);
  }
  return fronts.flatMap((front, place) =>
    front.points.map(([stack, bits, status, share, best]) => {
      const row = rows.get(`${bits} ${stack}`);
      return { row, bits, status, share, best, front: place, x: row[cost] * UNITS[cost].scale, y: row.mean };
    })
  );
}

function paretoSection(list) {
  const { costs, cost, devices, device } = frontsOf(list);
  if (!cost) return null;
  const select = (id, key, label, values, chosen, show) =>
    el(
      "label",
      {},
      label,
      el(
        "select",
        { id, onchange: (event) => go({ [key]: event.target.value }) },
        values.map((value) => el("option", { value, selected: value === chosen }, show(value)))
      )
    );
  const bits = allBits(list);
  const boxes = bits.map((one, place) =>
    el(
      "label",
      { class: "check" },
      el("input", {
        type: "checkbox",
        id: `bits-${one}`,
        checked: !hidden().includes(one),
        onchange: () => go({ hide: toggled(one, bits) }),
      }),
      swatch(place),
      one
    )
  );
  return el(
    "section",
    {},
    el("h2", { id: "front-title" }, "Accuracy against cost"),
    el(
      "div",
      { class: "filters" },
      select("choose-cost", "cost", "Cost", costs, cost, (value) => UNITS[value].label),
      devices.length > 1 ? select("choose-device", "device", "Hardware", devices, device, (value) => value) : null,
      el("fieldset", {}, el("legend", {}, "Bit-widths"), boxes)
    ),
    el("figure", {}, el("div", { id: "front" }), el("figcaption", { id: "front-caption" })),
    el("details", {}, el("summary", {}, "The points as a table"), el("div", { id: "front-points" }))
  );
}

function toggled(one, bits) {
  const left = hidden().includes(one) ? hidden().filter((other) => other !== one) : [...hidden(), one];
  return left.length === bits.length ? "" : left.join(",");
}

function swatch(place) {
  return svg(
    "svg",
    { width: 16, height: 16, viewBox: "-8 -8 16 16", "aria-hidden": "true", class: "swatch" },
    svg("g", { class: `mark front bits-${place % SHAPES.length}` }, SHAPES[place % SHAPES.length](RADIUS))
  );
}

let watching = null;
function drawPareto(list) {
  watching?.disconnect();
  const box = byId("front");
  if (!box) return;
  const { cost, device, fronts } = frontsOf(list);
  const bits = allBits(list);
  const points = pointsOf(list, fronts, cost).filter((one) => !hidden().includes(one.bits));
  let width = 0;
  watching = new ResizeObserver(() => {
    if (box.clientWidth === width || !box.clientWidth) return;
    width = box.clientWidth;
    drawPicture(box, { points, bits, cost, fronts, full: list.full, width });
  });
  watching.observe(box);
  byId("front-points").replaceChildren(
    table("points", "Every point of the picture.", pointColumns(cost), points, { heading: 0, sort: "mean", down: true })
  );
  byId("front-caption").replaceChildren(...paretoCaption(points, cost, device, fronts));
}

function paretoCaption(points, cost, device, fronts) {
  const count = (status) => points.filter((one) => one.status === status).length;
  const sure = count("front")
    ? `${count("front")} shown to be on the front (bold${count("front") > 1 ? ", joined" : ""})`
    : "none is shown to be on the front";
  const on = cost === "latency" ? `Latency on ${device}. ` : "";
  const where =
    cost === "seconds" ? `Times on ${device}; each bit-width has its own front.` : `${on}One front over all bit-widths.`;
  return [
    `${where} Of ${points.length} points ${sure}, ${count("undecided")} undecided, ${count("dominated")} dominated. `,
    "Labelled: the front of the means. ",
    el(
      "span",
      { class: "key" },
      ["front", "undecided", "dominated"].map((status) =>
        el(
          "span",
          {},
          svg(
            "svg",
            { width: 16, height: 16, viewBox: "-8 -8 16 16", "aria-hidden": "true" },
            svg("g", { class: `mark ${status} bits-0` }, SHAPES[0](RADIUS))
          ),
          WORDS[status]
        )
      )
    ),
    el(
      "small",
      {},
      ` On the front or dominated: in at least 95 % of ${whole(Math.min(...fronts.map((one) => one.draws)))} draws `,
      `of images and seeds. Bars of labelled points: 95 % interval${cost === "seconds" ? ", lowest to highest time" : ""}.`
    ),
  ];
}

function pointColumns(cost) {
  return [
    {
      key: "stack",
      label: "Stack",
      text: true,
      kind: "stack",
      value: (one) => one.row.label,
      cell: (one) => link(named(one.row.label), { bits: one.bits, cell: one.row.label }),
    },
    { key: "bits", label: "Bits", text: true, value: (one) => one.bits, order: bitOrder },
    {
      key: "mean",
      label: "Top-1, %",
      kind: "strong",
      value: (one) => one.y,
      cell: (one) => [percent(one.y), alteredSign(one.row)],
    },
    { key: "cost", label: UNITS[cost].label, value: (one) => one.x, cell: (one) => UNITS[cost].show(one.row[cost]) },
    {
      key: "status",
      label: "Standing",
      text: true,
      value: (one) => one.status,
      cell: (one) => `${WORDS[one.status]} (on the front in ${Math.round(100 * one.share)} %)`,
    },
  ];
}
