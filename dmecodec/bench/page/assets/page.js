// Fills the page and keeps it up to date.
function fillSummary() {
  const files = data.points.length;
  const [images, codecs] = [data.images.length, data.names.length];
  byId("summary").textContent = `${images} ${images === 1 ? "image" : "images"}, ${codecs} codecs, ${files} files, `
    + `made and decoded again.${data.environment.date ? ` Report of ${data.environment.date}.` : ""}`;
  const verdicts = data.bd_rate_percent.filter((c) =>
    c.codec === data.ours && c.measure === "psnr" && isNumber(c.mean));
  byId("verdicts-note").hidden = verdicts.length === 0;
  byId("verdicts").replaceChildren(...verdicts.map((c) => make("li", {},
    make("strong", {}, `${signed(c.mean)} %`), make("span", {}, `against ${c.anchor}`))));
}

function fillControls() {
  byId("plots-note").hidden = HAS_PLOTLY;
  const measures = Object.entries(data.measures);
  fillSelect(byId("measure"), measures.map(([name, measure]) => [name, measure.title]));
  const images = data.images.map((name, place) => [place, name]);
  fillSelect(byId("image"), HAS_PLOTLY ? [["", "mean of all"], ...images] : [["", "all"]]);
  fillSelect(byId("bd-measure"), measures.filter(([, m]) => m.has_bd_rate).map(([name, m]) => [name, m.label]));
  fillSelect(byId("anchor"), data.names.map((name) => [name, name]), data.anchor);
}

function updateRates() {
  drawSpeed();
  fillPairs();
  fillImages();
}

fillSummary();
fillControls();
drawCurves();
fillRate();
byId("bd-section").hidden = data.anchor === null;
if (data.anchor !== null) updateRates();
fillExamples();
fillFacts();
for (const id of ["measure", "image"]) byId(id).addEventListener("change", drawCurves);
for (const id of ["bd-measure", "anchor"]) byId(id).addEventListener("change", updateRates);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  drawCurves();
  if (data.anchor !== null) drawSpeed();
});
