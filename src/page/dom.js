// Small helpers to build and change the document. Text is only ever set as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/** Creates an element. `properties` are attributes; `on…` are listeners; `null` and `false` are left out. */
export function element(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** Creates an element of a drawing. */
export function drawing(tag, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

function fill(node, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** Sets a text only if it differs, so that selections and screen readers are left alone. */
export function setText(node, text) {
  const wanted = String(text);
  if (node.textContent !== wanted) node.textContent = wanted;
}

/** Sets a text whose parts between backticks are code, only if it differs. */
export function setProse(node, text) {
  const parts = text.split("`");
  if (node.textContent === parts.join("")) return;
  node.replaceChildren(...parts.map((part, index) => (index % 2 === 1 ? element("code", {}, part) : part)));
}

/** Sets an attribute only if it differs; `null` removes it. */
export function setAttribute(node, name, value) {
  if (value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

/** Shows or hides an element. */
export function show(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}

/**
 * Makes the children of `parent` those of `items`, in their order. Children are kept by key: `create(item)` makes one,
 * `update(child, item)` changes it. The focus stays where it is.
 */
export function keyed(parent, items, key, create, update) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let child = known.get(name);
    known.delete(name);
    if (!child) {
      child = create(item);
      child.dataset.key = name;
    }
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
    update(child, item);
  }
  for (const child of known.values()) child.remove();
}

/** Returns a name without its middle if it is long: the names of replicas differ at their ends. */
export function brief(name, most = 20) {
  if (name.length <= most) return name;
  const head = Math.floor((most - 1) / 2);
  return `${name.slice(0, head)}…${name.slice(head + 1 - most)}`;
}

/** Returns a number with at most one decimal. */
export function short(value) {
  if (value === null || value === undefined) return "–";
  const rounded = Math.abs(value) >= 10 ? Math.round(value) : Math.round(value * 10) / 10;
  return rounded.toLocaleString("en");
}

/** Returns whole seconds as `5 s`, `3 min`, `7 h` or `4 days`. */
export function span(seconds) {
  return seconds < 120 ? `${seconds} s` : time(seconds * 1000);
}

/** Returns milliseconds as `250 ms`, `1.4 s`, `12 s`, `5 min` or `3 h`. */
export function time(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 995) return `${Math.round(ms)} ms`;
  if (ms < 9_950) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 120_000) return `${Math.round(ms / 1000)} s`;
  if (ms < 7_200_000) return `${Math.round(ms / 60_000)} min`;
  return ms < 172_800_000 ? `${Math.round(ms / 3_600_000)} h` : `${Math.round(ms / 86_400_000)} days`;
}
