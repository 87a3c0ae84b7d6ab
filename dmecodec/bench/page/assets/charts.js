// The two charts. Without plotly's script the plots of the report's folder stand in their place.
const HAS_PLOTLY = typeof Plotly !== "undefined";
const colourOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function layout(more) {
  const axis = { gridcolor: colourOf("--line"), zerolinecolor: colourOf("--line"), linecolor: colourOf("--line") };
  const { xaxis = {}, yaxis = {}, xaxis2, ...others } = more;
  const axes = { xaxis: { ...axis, ...xaxis }, yaxis: { ...axis, ...yaxis } };
  if (xaxis2) axes.xaxis2 = { ...axis, ...xaxis2 };
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", height: innerWidth < 600 ? 380 : 460,
    font: { color: colourOf("--ink"), family: "system-ui, sans-serif", size: 13 },
    margin: { l: 60, r: 15, t: 15, b: 50 }, hovermode: "closest",
    legend: { orientation: "h", y: -0.18, yanchor: "top" }, ...axes, ...others,
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

function speedTraces(rates, which, xaxis) {
  return data.speeds.filter((speed) => rates[speed.codec] && isNumber(rates[speed.codec].mean)).map((speed) => ({
    name: speed.codec, type: "scatter", mode: "markers+text", x: [speed[which]], y: [rates[speed.codec].mean], xaxis,
    text: [speed.codec], textposition: "top center", cliponaxis: false, showlegend: false,
    marker: { color: data.colours[speed.codec], size: speed.codec === data.ours ? 15 : 11 },
    hovertemplate: `<b>${speed.codec}</b><br>%{x:.2f} MPix/s<br>%{y:.1f} %<extra></extra>`,
  }));
}

function drawSpeed() {
  if (!HAS_PLOTLY) return showPlot("speed", "bd_rate_speed.svg");
  const anchor = byId("anchor").value;
  const rates = ratesAgainst(anchor, byId("bd-measure").value);
  const axis = (text, domain) => ({ type: "log", title: { text }, domain, dtick: 1, showgrid: true });
  draw("speed", [...speedTraces(rates, "encode", "x"), ...speedTraces(rates, "decode", "x2")], {
    xaxis: axis("encode, MPix/s", [0, 0.47]), xaxis2: axis("decode, MPix/s", [0.53, 1]),
    yaxis: { title: { text: `BD-rate against ${anchor}, %` }, zeroline: true },
  });
}
