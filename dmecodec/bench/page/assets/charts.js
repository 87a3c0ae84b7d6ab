// The two charts. Without plotly's script the plots of the report's folder stand in their place.
const HAS_PLOTLY = typeof Plotly !== "undefined";
const colourOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const isNarrow = () => innerWidth < 600;

function layout(more) {
  const line = colourOf("--line");
  const axis = { gridcolor: line, zerolinecolor: line, linecolor: line };
  const isAxis = ([name]) => /^[xy]axis/.test(name);
  const axes = Object.entries(more).filter(isAxis).map(([name, own]) => [name, { ...axis, ...own }]);
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", height: isNarrow() ? 400 : 480,
    font: { color: colourOf("--ink"), family: "system-ui, sans-serif", size: 13 },
    margin: { l: 60, r: 15, t: 10, b: 50 }, hovermode: "closest",
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" }, ...more, ...Object.fromEntries(axes),
  };
}

function draw(id, traces, options) {
  Plotly.react(byId(id), traces, layout(options), { displaylogo: false, responsive: true, displayModeBar: false });
}

function showPlot(id, name) {
  const source = (data.plots || {})[name];
  byId(id).replaceChildren(source ? make("img", { src: source, alt: "" }) : "");
}

function curveOf(codec, image, measure) {
  const rows = image === ""
    ? data.averages.map((row) => ({ ...row, ...row.values }))
    : data.points.filter((row) => row.image === image);
  return rows.filter((row) => row.codec === codec && isNumber(row[measure])).sort((a, b) => a.bpp - b.bpp);
}

function drawCurves() {
  const measure = byId("measure").value;
  if (!HAS_PLOTLY) return showPlot("curves", `rd_${measure.replace("_db", "")}.svg`);
  const image = byId("image").value === "" ? "" : data.images[Number(byId("image").value)];
  const title = data.measures[measure].title;
  const traces = data.names.map((codec) => {
    const rows = curveOf(codec, image, measure);
    return {
      name: codec, type: "scatter", mode: "lines+markers", x: rows.map((row) => row.bpp),
      y: rows.map((row) => row[measure]), customdata: rows.map((row) => row.setting),
      line: { color: data.colours[codec], width: codec === data.ours ? 3.5 : 1.8 }, marker: { size: 6 },
      hovertemplate: `<b>${codec}</b>, setting %{customdata}<br>%{x:.3f} bpp<br>%{y:.4~r} ${title}<extra></extra>`,
    };
  });
  draw("curves", traces, { xaxis: { title: { text: "bits per pixel" } }, yaxis: { title: { text: title } } });
}

function ratesAgainst(anchor, measure) {
  const rates = Object.fromEntries(
    data.bd_rate_percent.filter((c) => c.anchor === anchor && c.measure === measure).map((c) => [c.codec, c]));
  rates[anchor] = { codec: anchor, mean: 0, median: 0, interval_95: null, per_image: {} };
  return rates;
}

// A ratio of bits on a logarithmic axis: half and twice as many are equally far from the anchor.
const RATIOS = [0.1, 0.25, 0.5, 0.7, 0.85, 1, 1.2, 1.5, 2, 3, 5, 10, 20];
const asPercent = (ratio) => (ratio === 1 ? "0" : signed(100 * (ratio - 1), 0));

function speedTraces(rates, which, axes) {
  const known = data.speeds.filter((speed) => rates[speed.codec] && isNumber(rates[speed.codec].mean));
  known.sort((a, b) => a[which] - b[which]);
  return known.map((speed, place) => {
    const percent = rates[speed.codec].mean;
    return {
      name: speed.codec, type: "scatter", mode: "markers+text", x: [speed[which]], y: [1 + percent / 100], ...axes,
      text: [speed.codec], textposition: place % 2 ? "bottom center" : "top center", cliponaxis: false,
      showlegend: false, customdata: [signed(percent)],
      marker: { color: data.colours[speed.codec], size: speed.codec === data.ours ? 15 : 11 },
      hovertemplate: `<b>${speed.codec}</b><br>%{x:.2f} MPix/s<br>%{customdata} %<extra></extra>`,
    };
  });
}

function drawSpeed() {
  if (!HAS_PLOTLY) return showPlot("speed", "bd_rate_speed.svg");
  const anchor = byId("anchor").value;
  const rates = ratesAgainst(anchor, byId("bd-measure").value);
  const [first, second] = isNarrow() ? [[0.58, 1], [0, 0.42]] : [[0, 0.47], [0.53, 1]];
  const speed = (text, more) => ({ type: "log", title: { text }, dtick: 1, ...more });
  const bits = (more) => ({ type: "log", tickvals: RATIOS, ticktext: RATIOS.map(asPercent), ...more });
  const title = { text: `BD-rate against ${anchor}, %` };
  const axes = isNarrow()
    ? { xaxis: speed("encode, MPix/s", {}), xaxis2: speed("decode, MPix/s", { anchor: "y2" }),
        yaxis: bits({ title, domain: first }), yaxis2: bits({ title, domain: second, anchor: "x2" }), height: 760 }
    : { xaxis: speed("encode, MPix/s", { domain: first }), xaxis2: speed("decode, MPix/s", { domain: second }),
        yaxis: bits({ title }) };
  const decode = isNarrow() ? { xaxis: "x2", yaxis: "y2" } : { xaxis: "x2" };
  draw("speed", [...speedTraces(rates, "encode", {}), ...speedTraces(rates, "decode", decode)], axes);
}
