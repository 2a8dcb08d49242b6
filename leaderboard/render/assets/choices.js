// The choices above a view: selects whose values stand in the address.
const CHOICES = {
  network: {
    label: "Network",
    options: () => boards.networks.map((one) => one.label).filter((label) => listsOf({ network: label }).length),
  },
  bits: { label: "Bit-width", options: () => distinctBits(listsOf({ network: state.network })) },
  setting: {
    label: "Data and calibration",
    options: () =>
      inOrder(
        listsOf({ network: state.network, bits: usesBits() ? state.bits : "" }).map((one) => boards.settings[one.setting])
      ),
  },
  method: { label: "Method", options: methodNames },
  across: { label: "Columns", options: () => ["bit-widths", "data and calibration"] },
};
const inOrder = (values) => [...new Set(values)];
const distinctBits = (lists) => inOrder(lists.map((one) => one.bits)).sort(bitOrder);
const usesBits = () => VIEWS[state.view].choices.includes("bits");

// Lists with a network, bit-width and setting; an empty one means any.
function listsOf({ network = "", bits = "", setting = "" }) {
  return boards.lists.filter(
    (one) =>
      (!network || boards.networks[one.network].label === network) &&
      (!bits || one.bits === bits) &&
      (!setting || boards.settings[one.setting] === setting)
  );
}

// Fill in what the address does not say, say so where it names what is not here, and draw the selects.
function drawChoices(names) {
  const notes = [];
  for (const name of names) {
    const options = CHOICES[name].options();
    if (options.includes(state[name])) continue;
    if (state[name]) notes.push(`There is no ${CHOICES[name].label.toLowerCase()} “${state[name]}” here.`);
    state[name] = options[0] ?? "";
  }
  byId("note").replaceChildren(notes.join(" "));
  const focused = document.activeElement?.id;
  byId("choices").replaceChildren(...names.map(choice).filter(Boolean));
  if (focused?.startsWith("choose-")) byId(focused)?.focus();
}

function choice(name) {
  const options = CHOICES[name].options();
  if (name === "across" && CHOICES.setting.options().length < 2) return null;
  const select = el(
    "select",
    { id: `choose-${name}`, onchange: (event) => go({ [name]: event.target.value, ...clean() }) },
    options.map((value) => el("option", { value, selected: value === state[name] }, value))
  );
  return el("label", { class: name }, CHOICES[name].label, select);
}

// Pages and open details belong to what was chosen before.
function clean() {
  const own = Object.keys(state).filter((key) => key.endsWith(".page"));
  return { ...Object.fromEntries(own.map((key) => [key, ""])), cell: "", record: "" };
}

const currentList = () => listsOf(state)[0];
