"use strict";
// Elements. Every text goes into the page through text nodes: names cannot become markup.
const byId = (id) => document.getElementById(id);
const SVG = byId("drawing").namespaceURI;

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.setAttribute("class", value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

// A name that breaks between its parts, and anywhere only where one of them is too long.
function named(text, tag = "span") {
  const parts = String(text).split(/(?=[+(.])|(?<=[,_])/);
  return el(
    tag,
    { class: "name" },
    parts.flatMap((part, index) => (index ? [el("wbr"), part] : [part]))
  );
}

function button(label, onclick, attributes = {}) {
  return el("button", { type: "button", onclick, ...attributes }, label);
}

// A link to another state of the page: works with a click, Enter, "open in a new tab" and Back.
const link = (label, changes, attributes = {}) => el("a", { href: address(changes), ...attributes }, label);

function pairs(entries) {
  const shown = entries.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el(
    "dl",
    {},
    shown.flatMap(([term, value]) => [el("dt", {}, term), el("dd", {}, value)])
  );
}

function section(title, ...content) {
  return el("section", {}, el("h2", {}, title), content);
}
