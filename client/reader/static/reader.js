"use strict";
// Window, zoom, attention and keys. Every page works without it, but for these.
const all = (what) => [...document.querySelectorAll(what)];
const one = (what) => document.querySelector(what);
const light = one(".light:not(.empty)");
const films = all(".film");
const view = { zoom: 1, x: 0, y: 0, image: 0 };
const ranges = { contrast: one("#contrast"), brightness: one("#brightness"), attention: one("#attention") };

function draw() {
  // The window's width is 1 / contrast, its level 1 - brightness: out = (value - level) * contrast + 0.5.
  const slope = 2 ** (ranges.contrast.value / 100);
  const offset = 0.5 - slope * (1 - ranges.brightness.value / 100);
  all("#window feFuncR, #window feFuncG, #window feFuncB").forEach((part) => {
    part.setAttribute("slope", slope);
    part.setAttribute("intercept", offset);
  });
  all(".moved").forEach((part) => part.setAttribute("transform", `translate(${view.x} ${view.y}) scale(${view.zoom})`));
  light.classList.toggle("zoomed", view.zoom > 1);
  one("#zoom").textContent = `${Math.round(view.zoom * 100)} %`;
  if (ranges.attention) {
    all(".attention").forEach((map) => map.setAttribute("opacity", ranges.attention.value / 100));
    one("#opacity").textContent = `${ranges.attention.value} %`;
  }
  films.forEach((film, number) => film.toggleAttribute("hidden", number !== view.image));
  all("[data-image]").forEach((button, number) => button.setAttribute("aria-pressed", number === view.image));
}
const box = () => films[view.image].viewBox.baseVal;
const pixels = () => 1 / films[view.image].getScreenCTM().a; // of the image, in one of the screen

function zoom(factor, at) {
  const before = view.zoom;
  const { width, height } = box();
  const [x, y] = at || [width / 2, height / 2];
  view.zoom = Math.min(16, Math.max(1, before * factor));
  move((x - view.x) * (1 - view.zoom / before), (y - view.y) * (1 - view.zoom / before));
}
function move(x, y) {
  const { width, height } = box();
  view.x = Math.min(0, Math.max(width * (1 - view.zoom), view.x + x));
  view.y = Math.min(0, Math.max(height * (1 - view.zoom), view.y + y));
  draw();
}
function show(number) {
  if (number >= films.length) return;
  Object.assign(view, { image: number, zoom: 1, x: 0, y: 0 });
  draw();
}
function reset() {
  Object.assign(view, { zoom: 1, x: 0, y: 0 });
  Object.values(ranges).forEach((range) => range && (range.value = range.defaultValue));
  draw();
}
function shift(range, by) {
  if (!range) return;
  range.value = Number(range.value) + by;
  draw();
}
function attention() {
  if (!ranges.attention) return;
  ranges.attention.value = Number(ranges.attention.value) ? 0 : 60;
  draw();
}
function follow(what) {
  const link = one(what);
  if (link) link.click();
}
function walk(by) {
  const rows = all(".list .open");
  const now = rows.indexOf(document.activeElement);
  const next = rows[now < 0 ? 0 : Math.min(rows.length - 1, Math.max(0, now + by))];
  if (next) next.focus();
}
const pan = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] };
const onImage = {
  "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), 0: reset, o: attention,
  "]": () => shift(ranges.contrast, 10), "[": () => shift(ranges.contrast, -10),
  ".": () => shift(ranges.brightness, 2), ",": () => shift(ranges.brightness, -2),
};
const onPage = {
  n: () => follow("#next"), p: () => follow("#previous"), l: () => follow('nav a[href="/"]'),
  j: () => walk(1), k: () => walk(-1), "?": () => one("#keys").showModal(),
};
function choose(letter) {
  const found = one(`.choices input[data-key="${letter}"]`);
  if (!found) return false;
  const folded = found.closest("details");
  if (folded) folded.open = true;
  found.checked = true;
  found.focus();
  return true;
}
function press(event) {
  const letter = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (event.ctrlKey || event.metaKey || event.altKey || one("dialog[open]")) return;
  if (light && document.activeElement === light && pan[letter]) {
    move(...pan[letter].map((by) => by * pixels()));
  } else if (localStorage.getItem("letters") === "off" || event.key.length !== 1) return;
  else if (light && /[1-9]/.test(letter)) show(Number(letter) - 1);
  else if (light && onImage[letter]) onImage[letter]();
  else if (onPage[letter]) onPage[letter]();
  else if (!choose(letter)) return;
  event.preventDefault();
}
document.addEventListener("keydown", press);

const letters = one("#letters");
if (letters) {
  letters.checked = localStorage.getItem("letters") !== "off";
  letters.addEventListener("change", () => localStorage.setItem("letters", letters.checked ? "on" : "off"));
}
if (light) {
  const does = { smaller: () => zoom(0.8), larger: () => zoom(1.25), reset };
  all("[data-do]").forEach((button) => button.addEventListener("click", () => does[button.dataset.do]()));
  all("[data-image]").forEach((button) => button.addEventListener("click", () => show(Number(button.dataset.image))));
  Object.values(ranges).forEach((range) => range && range.addEventListener("input", draw));
  light.addEventListener("wheel", (event) => {
    const film = films[view.image];
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(film.getScreenCTM().inverse());
    zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15, [at.x, at.y]);
    event.preventDefault();
  }, { passive: false });
  light.addEventListener("pointerdown", (event) => {
    light.setPointerCapture(event.pointerId);
    light.classList.add("moving");
  });
  ["pointerup", "pointercancel"].forEach((name) =>
    light.addEventListener(name, () => light.classList.remove("moving")));
  light.addEventListener("pointermove", (event) => {
    if (!light.classList.contains("moving")) return;
    if (event.shiftKey || event.buttons === 2) {
      // As at a workstation: to the side is contrast, up and down is brightness.
      ranges.contrast.value = Number(ranges.contrast.value) + event.movementX;
      ranges.brightness.value = Number(ranges.brightness.value) - event.movementY / 4;
      draw();
    } else move(event.movementX * pixels(), event.movementY * pixels());
  });
  light.addEventListener("contextmenu", (event) => event.preventDefault());
  light.addEventListener("dblclick", reset);
  draw();
}
document.body.dataset.ready = "";
