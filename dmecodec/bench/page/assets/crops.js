// Crops of one scene: two of them under a slider, and all of them with their error maps.
function fillExamples() {
  byId("crops-section").hidden = data.examples.length === 0;
  byId("examples").replaceChildren(...data.examples.map(makeExample));
}

function makeExample(example) {
  const original = { codec: "original", pixels: example.original };
  const sides = [original, ...example.crops];
  const viewer = makeViewer(sides);
  const buttons = example.crops.map((crop, place) =>
    make("button", { type: "button", "aria-pressed": "false", onclick: () => viewer.choose(place + 1) },
      make("span", { class: "pair" },
        make("img", { src: crop.pixels, alt: `${crop.codec}, crop` }),
        make("img", { src: crop.errors, alt: `${crop.codec}, errors` })),
      make("span", { class: "caption" }, make("strong", {}, crop.codec),
        ...captionsOf(crop).map((line) => make("span", {}, line)))));
  viewer.onchange = (place) =>
    buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(index + 1 === place)));
  const ours = sides.findIndex((side) => side.codec === data.ours);
  viewer.choose(ours > 0 ? ours : 1);
  const where = `Column ${example.column}, row ${example.row}, ${example.side} pixels a side`;
  return make("div", { class: "example" },
    make("h3", {}, example.image),
    make("p", { class: "note" }, `${where}. About ${example.rate} bits per pixel. PSNR and MS-SSIM are those of the `
      + `whole image. Error maps: mean absolute error of the bands, ${example.gain} times enlarged.`),
    make("div", { class: "viewer" }, viewer.element, make("div", { class: "gallery" }, ...buttons)));
}

const captionsOf = (crop) => [
  `${crop.bytes} bytes, ${fixed(crop.bpp, 3)} bpp`,
  `PSNR ${fixed(crop.psnr, 2)} dB`,
  ...(isNumber(crop.ms_ssim_db) ? [`MS-SSIM ${fixed(crop.ms_ssim_db, 2)} dB`] : []),
];

function makeViewer(sides) {
  const [left, right] = [make("img", { alt: "left" }), make("img", { alt: "right", class: "right" })];
  const handle = make("div", { class: "handle" });
  const stage = make("div", { class: "stage" }, left, right, handle);
  const slider = make("input", { type: "range", min: 0, max: 100, value: 50, step: 0.5, "aria-label": "Boundary" });
  const selects = ["left", "right"].map((side) => make("select", { "aria-label": `Codec on the ${side}` }));
  const viewer = { onchange: () => {} };
  const move = () => {
    right.style.clipPath = `inset(0 0 0 ${slider.value}%)`;
    handle.style.left = `${slider.value}%`;
  };
  const show = () => {
    left.src = sides[selects[0].value].pixels;
    right.src = sides[selects[1].value].pixels;
    viewer.onchange(Number(selects[1].value));
  };
  const drag = (event) => {
    if (event.type === "pointermove" && event.buttons !== 1) return;
    const box = stage.getBoundingClientRect();
    slider.value = Math.min(100, Math.max(0, (100 * (event.clientX - box.left)) / box.width));
    move();
  };
  for (const select of selects) {
    fillSelect(select, sides.map((side, place) => [place, side.codec]));
    select.addEventListener("change", show);
  }
  slider.addEventListener("input", move);
  for (const type of ["pointerdown", "pointermove"]) stage.addEventListener(type, drag);
  viewer.choose = (place) => { selects[1].value = place; show(); };
  viewer.element = make("div", { class: "compare" }, stage, slider, make("div", { class: "sides" },
    make("label", {}, "Left", selects[0]), make("label", {}, "Right", selects[1])));
  move();
  return viewer;
}
