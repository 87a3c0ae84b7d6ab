// Makes elements. All text goes in as text: names of files may hold anything.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function fillSelect(select, options, chosen) {
  select.replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
  if (chosen !== undefined && chosen !== null) select.value = chosen;
}

const isNumber = (value) => typeof value === "number";
const fixed = (value, digits) => (isNumber(value) ? value.toFixed(digits) : "–");
const signed = (value, digits = 1) =>
  isNumber(value) ? (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits) : "–";
const DIGITS = { psnr: 2, ms_ssim_db: 2, ssim_db: 2, max_error: 0, spectral_angle: 3, ndvi_error: 4 };
