// Builds the parts of the page. Everything from the gateway becomes a text node; unknown is written "unknown".

const SVG = "http://www.w3.org/2000/svg";
const LARGER = { Wh: ["kWh", 1000], mL: ["L", 1000], g: ["kg", 1000] };
const numbers = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 3 });
const counts = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const moments = new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "medium" });

export const zone = moments.resolvedOptions().timeZone;

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null));
  return made;
}

const plain = (value) => (Number.isFinite(value) ? numbers.format(value) : "unknown");

export const count = (value) => (Number.isFinite(value) ? counts.format(value) : "unknown");

export const moment = (text) => {
  const time = new Date(text);
  return Number.isNaN(time.getTime()) ? "unknown" : moments.format(time);
};

// The figure `key` of a row as {low, central, high}; null when nobody knows it. Usage writes the bounds beside
// the central estimate, requests write all three together.
export function range(row, key) {
  const value = row?.[key];
  if (Number.isFinite(value)) return { ...row[`${key}_range`], central: value };
  return Number.isFinite(value?.central) ? value : null;
}

function scale(largest, unit) {
  const [larger, factor] = LARGER[unit] ?? [unit, 1];
  return largest >= factor && factor > 1 ? [larger, factor] : [unit, 1];
}

export function amount(value, unit) {
  if (!Number.isFinite(value)) return "unknown";
  if (unit === "") return count(value);
  const [shown, factor] = scale(Math.abs(value), unit);
  return `${plain(value / factor)} ${shown}`;
}

export function spread(known, unit) {
  if (!Number.isFinite(known?.low) || !(known.high > 0)) return "";
  const [shown, factor] = scale(known.high, unit);
  return `${plain(known.low / factor)} to ${plain(known.high / factor)} ${shown}`;
}

export function card(title, figure, note) {
  return element(
    "div",
    {},
    element("dt", {}, title),
    element("dd", { class: "central" }, figure),
    element("dd", { class: "range" }, note),
  );
}

// A horizontal bar of shares between 0 and 1; the numbers stand in the table beside it, so it is decoration.
export function bar(...shares) {
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("class", "share");
  drawing.setAttribute("viewBox", "0 0 100 10");
  drawing.setAttribute("preserveAspectRatio", "none");
  drawing.setAttribute("aria-hidden", "true");
  let left = 0;
  for (const [kind, share] of [["track", 1], ...shares]) {
    const width = Math.max(0, Math.min(100 - (kind === "track" ? 0 : left), 100 * share));
    const piece = document.createElementNS(SVG, "rect");
    piece.setAttribute("class", kind);
    piece.setAttribute("x", kind === "track" ? 0 : left);
    piece.setAttribute("width", width);
    piece.setAttribute("height", 10);
    drawing.append(piece);
    if (kind !== "track") left += width;
  }
  return drawing;
}

// columns: [title, cell(row) -> text or node, "number"?]
export function table(caption, columns, rows, empty) {
  if (rows.length === 0) return element("p", { class: "note" }, empty);
  const head = columns.map(([title, , kind]) => element("th", { scope: "col", class: kind ?? "" }, title));
  const body = rows.map((row) =>
    element("tr", {}, ...columns.map(([, cell, kind], index) =>
      element(index === 0 ? "th" : "td", index === 0 ? { scope: "row" } : { class: kind ?? "" }, cell(row)))));
  return element(
    "table",
    {},
    element("caption", {}, caption),
    element("thead", {}, element("tr", {}, ...head)),
    element("tbody", {}, ...body),
  );
}

export const named = (pairs) => {
  const texts = Object.entries(pairs ?? {}).filter(([, value]) => typeof value === "string");
  return texts.length === 0 ? "everyone" : texts.map(([key, value]) => `${key} ${value}`).join(", ");
};
