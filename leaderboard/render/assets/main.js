// The views, and what happens when the address changes.
const VIEWS = {
  board: { label: "Leaderboard", choices: ["network", "bits", "setting"], draw: drawBoard },
  heat: { label: "Heat map", choices: ["network", "across", "setting"], draw: drawHeat },
  methods: { label: "Methods", choices: ["method"], draw: drawMethods },
  networks: { label: "Networks", choices: ["network"], draw: drawNetworks },
  records: { label: "Records", choices: [], draw: drawRecords },
};
let drawn = "";

// All but the open details: what is drawn below them stays when they open or close.
const below = () => JSON.stringify({ ...state, record: "", cell: "" });

async function show() {
  if (!VIEWS[state.view]) state.view = "board";
  const view = VIEWS[state.view];
  const choices = boards.lists.length ? view.choices : [];
  drawChoices(state.view === "heat" && state.across === "data and calibration" ? ["network", "across", "bits"] : choices);
  for (const one of byId("views").querySelectorAll("a")) {
    const own = one.dataset.view === state.view;
    if (own) one.setAttribute("aria-current", "page");
    else one.removeAttribute("aria-current");
    one.href = address({ view: one.dataset.view, record: "", cell: "" });
  }
  if (drawn !== below()) await redraw(view);
  await showDetails();
}

async function redraw(view) {
  drawn = below();
  const focus = focusPlace();
  byId("view").replaceChildren();
  byId("view").dataset.view = state.view;
  await view.draw(byId("view"));
  if (focus) byId("view").querySelector(focus)?.focus();
}

// Where the focus is within what is drawn anew, as a selector of the same place in the new drawing.
function focusPlace() {
  const focused = document.activeElement;
  if (!byId("view").contains(focused)) return null;
  if (focused.id) return `#${CSS.escape(focused.id)}`;
  const grid = focused.closest(".table")?.querySelector("table")?.id;
  const key = focused.closest("th[data-key]")?.dataset.key;
  if (grid && key) return `#${CSS.escape(grid)} th[data-key="${CSS.escape(key)}"] button`;
  if (focused.dataset.to) return `.pager button[data-to="${focused.dataset.to}"]:enabled, .pager button:enabled`;
  return null;
}

async function start() {
  await loadBoards();
  const newest = boards.newest ? `, the newest of ${boards.newest.slice(0, 10)}` : "";
  byId("summary").textContent =
    `${whole(boards.records)} records (${whole(boards.done)} done${newest}); ` +
    `networks: ${boards.networks.length}, stacks: ${boards.stacks.length}`;
  byId("views").append(
    ...Object.entries(VIEWS).map(([name, one]) =>
      el("li", {}, el("a", { href: `#view=${name}`, "data-view": name }, one.label))
    )
  );
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    byId("main").focus();
  });
  state = readState();
  await show();
  document.documentElement.dataset.ready = "yes";
}

start().catch((error) => {
  byId("problem").hidden = false;
  byId("problem").textContent = `This page could not be shown: ${error.message}. It needs a browser of 2023 or later.`;
  throw error;
});
