// Returns what is wrong with a page for those who do not see it, or see it badly: names, labels, structure, contrast, size.
() => {
  const faults = [];
  const visible = (node) => node.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  const say = (what, node) => faults.push(`${what}: ${node.outerHTML.slice(0, 120)}`);
  if (!document.documentElement.lang) faults.push("the document has no language");
  if (!document.title) faults.push("the document has no title");
  for (const tag of ["header", "main", "footer", "h1"]) {
    if (document.querySelectorAll(`body > ${tag}, header > ${tag}`).length !== 1) faults.push(`there is not one ${tag}`);
  }
  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  for (const id of ids) if (ids.filter((other) => other === id).length > 1) faults.push(`the id ${id} is used twice`);
  for (const node of document.querySelectorAll("[aria-labelledby], [aria-describedby]")) {
    for (const name of ["aria-labelledby", "aria-describedby"]) {
      for (const id of (node.getAttribute(name) ?? "").split(/\s+/).filter(Boolean)) if (!document.getElementById(id)) say(`${name} names nothing`, node);
    }
  }
  for (const node of document.querySelectorAll("input, select, textarea")) if (!node.labels?.length && !node.ariaLabel) say("no label", node);
  for (const node of document.querySelectorAll("button, a, summary")) if (!node.textContent.trim() && !node.ariaLabel) say("no name", node);
  for (const node of document.querySelectorAll("img")) if (!node.hasAttribute("alt")) say("no alternative text", node);
  for (const node of document.querySelectorAll("svg")) if (node.getAttribute("aria-hidden") !== "true" && !node.querySelector("title")) say("a drawing without a name", node);
  for (const node of document.querySelectorAll("th")) if (!node.scope) say("a heading of a table without a scope", node);
  for (const node of document.querySelectorAll("section")) if (!node.getAttribute("aria-labelledby")) say("a section without a name", node);
  let level = 0;
  for (const node of document.querySelectorAll("h1, h2, h3, h4")) {
    if (!visible(node)) continue;
    const own = Number(node.tagName[1]);
    if (own > level + 1) say("a heading skips a level", node);
    level = own;
  }
  for (const node of document.querySelectorAll("button, select, summary, input:not([type=radio])")) {
    const box = node.getBoundingClientRect();
    if (visible(node) && (box.height < 18 || box.width < 24)) say(`too small to hit, ${box.width} by ${box.height}`, node);
  }
  if (document.documentElement.scrollWidth > innerWidth) faults.push(`the page is ${document.documentElement.scrollWidth} wide, the window ${innerWidth}`);

  const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const colour = (text) => {
    paint.clearRect(0, 0, 1, 1);
    paint.fillStyle = text;
    paint.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = paint.getImageData(0, 0, 1, 1).data;
    return { rgb: [red, green, blue], alpha: alpha / 255 };
  };
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const found = colour(getComputedStyle(at).backgroundColor);
      if (found.alpha > 0.99) return found.rgb;
    }
    return colour("Canvas").rgb;
  };
  const luminance = (rgb) => {
    const [red, green, blue] = rgb.map((value) => value / 255).map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const seen = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || seen.has(node) || !visible(node) || node.closest(":disabled, noscript")) continue;
    seen.add(node);
    const style = getComputedStyle(node);
    const [one, two] = [luminance(colour(style.color).rgb), luminance(ground(node))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (two + 0.05);
    const size = parseFloat(style.fontSize);
    const needed = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
    if (ratio < needed) say(`contrast ${ratio.toFixed(2)}`, node);
  }
  return faults;
}
