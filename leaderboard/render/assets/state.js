// What is shown stands behind the # of the address: a link leads to the same view, Back to the one before.
let state = {};

function readState() {
  const found = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  return location.hash === "#main" ? state : found;
}

// The address of this state with some changes; an empty value takes a part away.
function address(changes) {
  const next = Object.entries({ ...state, ...changes }).filter(
    ([, value]) => value !== "" && value !== null && value !== undefined
  );
  return `#${new URLSearchParams(next)}`;
}

// A change that Back should undo.
function go(changes) {
  location.hash = address(changes);
}

// A change on the way, such as a letter of a search: it replaces the address and does not draw the view again.
let waiting = 0;
function remember(changes) {
  state = Object.fromEntries(new URLSearchParams(address(changes).slice(1)));
  clearTimeout(waiting);
  waiting = setTimeout(() => history.replaceState(null, "", address({})), 200);
}

addEventListener("hashchange", () => {
  clearTimeout(waiting);
  state = readState();
  show();
});
