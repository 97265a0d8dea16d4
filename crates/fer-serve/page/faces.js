// One small drawing for each emotion, as inline SVG. Every browser shows the same seven faces, whatever fonts it has.
//
// Each drawing is a disc in the emotion's colour with dark features on it. `style.css` holds the colours, for light and for
// dark pages. All coordinates are in a square of 32 by 32.

const SVG = "http://www.w3.org/2000/svg";

/** Round eyes, in the classes that `style.css` colours: `ink` is filled, `line` is drawn, `white` and `tear` are filled. */
const EYES = [["circle", "ink", { cx: 11, cy: 13, r: 2 }], ["circle", "ink", { cx: 21, cy: 13, r: 2 }]];
const WIDE_EYES = [11, 21].flatMap((cx) => [
  ["circle", "white", { cx, cy: 13.5, r: 3.6 }],
  ["circle", "ink", { cx, cy: 13.5, r: 1.5 }],
]);

const line = (d) => ["path", "line", { d }];
const filled = (name, d) => ["path", name, { d }];

/** The features of each face. Brows come first, then eyes, then the mouth. */
const FEATURES = {
  angry: [
    line("M6.5 8.5 13 12M25.5 8.5 19 12"),
    ["circle", "ink", { cx: 11, cy: 15, r: 2 }], ["circle", "ink", { cx: 21, cy: 15, r: 2 }],
    line("M10.5 24c1.4-2.2 3.3-3.3 5.5-3.3s4.1 1.1 5.5 3.3"),
  ],
  disgust: [
    line("M7.5 10.5 13 13.3 8 15.5M24.5 10.5 19 13.3 24 15.5"),
    filled("tongue", "M12.6 20.6h7v3.9a3.5 3.5 0 0 1-7 0z"),
    line("M8.5 21.5c2.3-1.8 4.3-1.2 7.5-.9s5.2.7 7.5-.9"),
  ],
  fear: [
    line("M6.5 9.6c1.3-1.9 3-3.1 5.3-3.7M25.5 9.6c-1.3-1.9-3-3.1-5.3-3.7"),
    ...WIDE_EYES,
    line("M9 24.5l2.8-2.8 2.8 2.8 2.8-2.8 2.8 2.8L23 21.7"),
  ],
  happy: [...EYES, filled("ink", "M8.5 18.5h15a7.5 7.5 0 0 1-15 0z")],
  sad: [
    line("M7 11c2.2-.5 3.9-1.5 5.2-3M25 11c-2.2-.5-3.9-1.5-5.2-3"),
    ["circle", "ink", { cx: 11, cy: 14.5, r: 2 }], ["circle", "ink", { cx: 21, cy: 14.5, r: 2 }],
    filled("tear", "M23.5 17c1.7 2.4 2.4 3.7 2.4 4.9a2.4 2.4 0 0 1-4.8 0c0-1.2.7-2.5 2.4-4.9z"),
    line("M11 24.5c1.2-2 2.9-3 5-3s3.5.8 4.3 2"),
  ],
  surprise: [
    line("M7.5 8c1-1.6 2.2-2.3 3.7-2.3S13.9 6.4 14.5 8M17.5 8c.6-1.6 1.8-2.3 3.3-2.3S23.5 6.4 24.5 8"),
    ["circle", "ink", { cx: 11, cy: 13, r: 2 }], ["circle", "ink", { cx: 21, cy: 13, r: 2 }],
    ["ellipse", "ink", { cx: 16, cy: 22.5, rx: 3.6, ry: 4.6 }],
  ],
  neutral: [...EYES, line("M10.5 22h11")],
};

function shape([tag, className, attributes]) {
  const made = document.createElementNS(SVG, tag);
  made.setAttribute("class", className);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/**
 * The drawing of an emotion, as large as the text around it. With `named`, assistive technology reads the emotion's name;
 * without it the drawing is hidden from it, because the same word stands next to the drawing.
 */
export function faceIcon(emotion, { named = false } = {}) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 32 32");
  svg.setAttribute("class", `emoji ${emotion}`);
  if (named) {
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", emotion);
    const title = document.createElementNS(SVG, "title");
    title.textContent = emotion;
    svg.append(title);
  } else {
    svg.setAttribute("aria-hidden", "true");
  }
  svg.append(...[["circle", "disc", { cx: 16, cy: 16, r: 14.8 }], ...(FEATURES[emotion] ?? [])].map(shape));
  return svg;
}
