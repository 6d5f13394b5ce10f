"use strict";
const report = JSON.parse(document.getElementById("data").textContent);
const find = (selector) => document.querySelector(selector);

/* An element with attributes and children; texts become text nodes, never markup. */
function make(tag, attributes = {}, ...children) {
  const drawn = ["svg", "circle", "path", "line", "text", "polyline", "rect", "g", "title"].includes(tag);
  const element = drawn ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/* A name in whatever script: it does not turn the text around it. */
const named = (text) => make("bdi", {}, String(text));

const waiting = new Map();
const KEPT = 80; // decoded pictures at once

function picture(key) {
  if (waiting.has(key)) {
    const known = waiting.get(key);
    waiting.delete(key);
    waiting.set(key, known);
    return known;
  }
  const image = new Image();
  image.src = "data:image/webp;base64," + document.getElementById("p-" + key).textContent;
  const decoded = image.decode().then(() => image);
  waiting.set(key, decoded);
  if (waiting.size > KEPT) waiting.delete(waiting.keys().next().value);
  return decoded;
}

const desk = document.createElement("canvas");
const tools = desk.getContext("2d", { willReadFrequently: true });

/* The pixels of all tiles of a sprite, in order. */
async function tiles(sprite) {
  const image = await picture(sprite.key);
  desk.width = image.width;
  desk.height = image.height;
  tools.drawImage(image, 0, 0);
  const found = [];
  for (let tile = 0; tile < sprite.count; tile++) {
    const left = (tile % sprite.columns) * sprite.width, top = Math.floor(tile / sprite.columns) * sprite.height;
    found.push(tools.getImageData(left, top, sprite.width, sprite.height));
  }
  return found;
}

function paint(canvas, pixels) {
  canvas.width = pixels.width;
  canvas.height = pixels.height;
  canvas.classList.toggle("smooth", pixels.width > 200);
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

async function paintTile(canvas, sprite, tile) {
  const image = await picture(sprite.key);
  canvas.width = sprite.width;
  canvas.height = sprite.height;
  const left = (tile % sprite.columns) * sprite.width, top = Math.floor(tile / sprite.columns) * sprite.height;
  canvas.getContext("2d").drawImage(image, left, top, sprite.width, sprite.height, 0, 0, sprite.width, sprite.height);
}

/* A colour map of 256 colours, from text of six hexadecimal digits each. */
function colours(text) {
  const table = new Uint8Array(768);
  for (let place = 0; place < 768; place++) table[place] = parseInt(text.substr(2 * place, 2), 16);
  return table;
}
const DIVERGING = colours(report.colours.diverging), SEQUENTIAL = colours(report.colours.sequential);

/* Values laid over pixels: value in [0, 1] of the colour map, weight in [0, 1] of the colour. */
function overlaid(pixels, table, value, weight) {
  const made = new ImageData(new Uint8ClampedArray(pixels.data), pixels.width, pixels.height), out = made.data;
  for (let place = 0; place < out.length / 4; place++) {
    const share = weight(place);
    if (share <= 0) continue;
    const colour = 3 * Math.max(0, Math.min(255, Math.round(255 * value(place))));
    for (let channel = 0; channel < 3; channel++) {
      out[4 * place + channel] = (1 - share) * out[4 * place + channel] + share * table[colour + channel];
    }
  }
  return made;
}

/* The colour of a signed value laid over an image: its sign, for the pale middle of the map would look like light. */
const strong = (value) => value < 0 ? 0.12 : 0.88;

const brightness = (data, place) => (data[4 * place] + data[4 * place + 1] + data[4 * place + 2]) / 3;

const draftsman = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    draftsman.unobserve(entry.target);
    entry.target.drawNow();
  }
}, { rootMargin: "300px" });

/* A part of the page that is made when it comes into sight. */
function whenSeen(element, draw) {
  element.drawNow = draw;
  draftsman.observe(element);
}

/* A row of small images to choose from, the first of them chosen; of each, `look` tells the picture and the words. */
function fillPicker(picker, images, look, show) {
  picker.replaceChildren(...images.map((image) => {
    const { sheet, tile, label, title } = look(image), canvas = make("canvas", { "aria-hidden": "true" });
    whenSeen(canvas, () => paintTile(canvas, sheet, tile));
    const button = make("button", { type: "button", "aria-label": label, title, onclick: () => show(image) }, canvas);
    button.dataset.key = image.key;
    return button;
  }));
  if (images.length) show(images[0]);
  return images.length > 0;
}

function markPicked(picker, image) {
  for (const button of picker.children) button.setAttribute("aria-current", button.dataset.key === image.key);
}

for (const image of document.querySelectorAll("img[data-key]")) {
  whenSeen(image, () => { image.src = "data:image/webp;base64," + document.getElementById("p-" + image.dataset.key).textContent; });
}

const theme = find("#theme");
const dark = () => {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};
theme.hidden = false;
theme.setAttribute("aria-pressed", dark());
theme.addEventListener("click", () => {
  document.documentElement.dataset.theme = dark() ? "light" : "dark";
  theme.setAttribute("aria-pressed", dark());
});

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const sign = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const key = (row) => {
      const cell = row.cells[column], text = cell.dataset.value ?? cell.textContent.trim();
      return text === "" || text === "–" ? null : Number.isNaN(Number(text.replace(/,/g, ""))) ? text : Number(text.replace(/,/g, ""));
    };
    const rows = [...body.rows].sort((one, other) => {
      const a = key(one), b = key(other);
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * (typeof a === typeof b && typeof a === "number" ? a - b : String(a).localeCompare(String(b)));
    });
    body.append(...rows);
  }));
}

function choices(select, entries) {
  select.replaceChildren(...entries.map(([value, words]) => make("option", { value }, words)));
}
const typing = (target) => target.closest("input:not([type=range]), select, textarea") !== null;
const number = (value) => Math.abs(value) >= 100 ? Math.round(value).toLocaleString("en") : Number(value.toPrecision(3)).toString();
