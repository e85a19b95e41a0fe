// The Guide's drawings: lines on a ground, in the page's own colours.

import { s } from "./dom.js";

const line = (d, kind) => s("path", { d, class: kind });
const dot = (cx, cy, r, kind) => s("circle", { cx, cy, r, class: kind });
const box = (x, y, width, height, rx, kind) => s("rect", { x, y, width, height, rx, class: kind });
const picture = (name, ...parts) => s("svg", { class: "picture", viewBox: "0 0 180 120", role: "img", "aria-label": name }, s("ellipse", { cx: 90, cy: 110, rx: 72, ry: 5, class: "ground" }), ...parts);

/** A pizza seen from above, with its slices and what is on it. */
function pizza(x, y, r) {
  const cuts = [0, 45, 90, 135].map((angle) => {
    const [dx, dy] = [Math.cos((angle * Math.PI) / 180) * r * 0.86, Math.sin((angle * Math.PI) / 180) * r * 0.86];
    return line(`M${(x - dx).toFixed(1)} ${(y - dy).toFixed(1)}L${(x + dx).toFixed(1)} ${(y + dy).toFixed(1)}`, "cut");
  });
  const bits = [20, 68, 112, 158, 200, 248, 292, 338].map((angle, i) => dot(x + Math.cos((angle * Math.PI) / 180) * r * (i % 2 ? 0.42 : 0.62), y + Math.sin((angle * Math.PI) / 180) * r * (i % 2 ? 0.42 : 0.62), r * 0.1, "bit"));
  return s("g", {}, dot(x, y, r, "crust"), dot(x, y, r * 0.84, "cheese"), ...cuts, ...bits);
}

/** A slip with an order: lines of writing. */
const slip = (x, y, lines = 3, kind = "paper") => s("g", {}, box(x, y, 26, 34, 3, kind), ...Array.from({ length: lines }, (_, i) => line(`M${x + 6} ${y + 10 + i * 8}h${i === lines - 1 ? 9 : 14}`, "writing")));

export const waiter = () =>
  picture(
    "A waiter writes down an order",
    dot(76, 30, 13, "skin"),
    line("M64 26c2-12 22-12 24 0-8 3-16 3-24 0z", "dark"),
    line("M56 108V70c0-16 8-22 20-22s20 6 20 22v38z", "cloth"),
    line("M68 49l8 9 8-9", "thin"),
    line("M76 64v.1M76 76v.1M76 88v.1", "button"),
    line("M95 66c8 10 14 12 22 8", "limb"),
    line("M57 66c-8 8-10 18-6 26", "limb"),
    slip(112, 48, 3),
    line("M132 86l12-22 4 2-12 22-5 3z", "pen"),
  );

export const rail = () =>
  picture("Orders hang on a rail, in their order", line("M14 26h152", "rail"), ...[20, 54, 88, 122].flatMap((x, i) => [line(`M${x + 13} 22v10`, "clip"), slip(x, 32, 3, i === 0 ? "paper first" : "paper")]), line("M24 86h124m-8-6l8 6-8 6", "arrow"));

export const kitchen = () =>
  picture(
    "A cook makes the order",
    line("M64 30c-12-2-12-18 2-17 3-11 21-11 24 0 14-1 14 15 2 17v8H64z", "hat"),
    dot(78, 48, 12, "skin"),
    line("M54 92V82c0-13 9-19 24-19s24 6 24 19v10z", "white"),
    line("M102 80c10 2 16 4 22 2M54 80c-8 4-12 6-16 4", "limb"),
    box(22, 90, 136, 18, 4, "counter"),
    s("g", { transform: "translate(0 0)" }, s("ellipse", { cx: 126, cy: 86, rx: 24, ry: 6, class: "crust" }), s("ellipse", { cx: 126, cy: 84.5, rx: 19, ry: 4, class: "cheese" })),
    line("M42 84c0-6 4-6 4-12M52 84c0-6 4-6 4-12", "steam"),
  );

export const table = () => picture("The pizza is on the table", line("M34 78h112l-8 12H42z", "counter"), line("M58 90l-6 20M122 90l6 20", "leg"), pizza(90, 48, 32), line("M44 42v28M40 42v8c0 4 8 4 8 0v-8M136 70V42c6 4 6 14 0 18", "fork"));

export const returned = () => picture("An order that nobody can make goes into a box, with a note why", box(52, 56, 76, 52, 6, "carton"), line("M52 70h76", "thin"), s("g", { transform: "rotate(-9 92 40)" }, slip(78, 22, 2, "paper wrong"), line("M84 46l14 0", "writing")), line("M74 88h32", "writing"), line("M90 76v6", "writing"));

/** A sign-up form whose button has just been pressed. */
export const form = () =>
  s(
    "svg",
    { class: "picture", viewBox: "0 0 240 170", role: "img", "aria-label": "A sign-up form in a web shop" },
    box(18, 8, 204, 154, 12, "paper"),
    line("M18 34h204", "thin"),
    ...[32, 44, 56].map((x) => dot(x, 21, 3.5, "bit")),
    ...[
      ["first and last name", 48],
      ["e-mail", 82],
    ].flatMap(([name, y]) => [s("text", { x: 34, y: y + 7, class: "tiny" }, name), box(34, y + 12, 172, 16, 5, "input")]),
    box(34, 124, 92, 24, 8, "press"),
    s("text", { x: 80, y: 140, "text-anchor": "middle", class: "tiny on" }, "Sign up"),
    line("M120 140l14 26 4-11 11-3z", "pointer"),
  );
