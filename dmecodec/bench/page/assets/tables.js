// Tables. A cell is text, or { text, value, small, kind }: `value` is what a column sorts by.
const asCell = (cell) => (typeof cell === "object" && cell !== null ? cell : { text: cell, value: cell });

function bodyCell(content, isHead) {
  const cell = asCell(content);
  const attributes = { class: cell.kind || null, scope: isHead ? "row" : null, title: isHead ? cell.text : null };
  const element = make(isHead ? "th" : "td", attributes, cell.text);
  for (const line of cell.small || []) element.append(make("small", {}, line));
  return element;
}

function fillTable(id, heads, rows, { sorts = false, ours = () => false } = {}) {
  const body = make("tbody");
  const show = (list) => body.replaceChildren(...list.map((row) => make("tr", { class: ours(row) ? "ours" : null },
    ...row.map((cell, place) => bodyCell(cell, place === 0)))));
  const cells = heads.map((head, place) =>
    sorts ? sortingHead(head, place, rows, show) : make("th", { scope: "col" }, head));
  show(rows);
  byId(id).replaceChildren(make("thead", {}, make("tr", {}, ...cells)), body);
}

function sortingHead(head, place, rows, show) {
  const button = make("button", { type: "button" }, head);
  const cell = make("th", { scope: "col", "aria-sort": "none" }, button);
  button.addEventListener("click", () => {
    const direction = cell.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    for (const other of cell.parentElement.children) other.setAttribute("aria-sort", "none");
    cell.setAttribute("aria-sort", direction);
    show(sorted(rows, place, direction === "ascending" ? 1 : -1));
  });
  return cell;
}

function sorted(rows, place, sign) {
  const value = (row) => asCell(row[place]).value;
  return [...rows].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === null || y === null) return (x === null) - (y === null); // what has no value comes last
    return sign * (isNumber(x) && isNumber(y) ? x - y : String(x).localeCompare(String(y)));
  });
}

const percentCell = (value, small = []) => ({
  text: signed(value), value: isNumber(value) ? value : null, small,
  kind: !isNumber(value) || Math.abs(value) < 0.05 ? null : value < 0 ? "good" : "bad",
});

function fillPairs() {
  const measure = byId("bd-measure").value;
  const rows = data.names.map((codec) => [codec, ...data.names.map((anchor) => {
    if (codec === anchor) return "";
    const c = data.bd_rate_percent.find((one) =>
      one.codec === codec && one.anchor === anchor && one.measure === measure);
    if (!c || !isNumber(c.mean)) return { text: "–", value: null, small: [whyNone(c)] };
    const ends = c.interval_95 ? [`${signed(c.interval_95[0])} to ${signed(c.interval_95[1])}`] : [];
    return percentCell(c.mean, [`median ${signed(c.median)}`, ...ends]);
  })]);
  fillTable("pairs", ["", ...data.names], rows, { ours: (row) => row[0] === data.ours });
}

function whyNone(c) {
  if (!c) return "";
  if (c.under_4_points.length) return "fewer than 4 points";
  return c.under_1_db_in_common.length ? "under 1 dB in common" : "no image in common";
}

function fillImages() {
  const anchor = byId("anchor").value;
  const rates = ratesAgainst(anchor, byId("bd-measure").value);
  const others = data.names.filter((name) => name !== anchor);
  const rows = data.images.map((image) => {
    const point = data.points.find((one) => one.image === image);
    const pixels = { text: `${point.width} × ${point.height}`, value: point.width * point.height };
    const values = others.map((codec) => percentCell(rates[codec] ? rates[codec].per_image[image] : null));
    return [{ text: image, value: image }, pixels, ...values];
  });
  fillTable("images", ["image", "pixels", ...others], rows, { sorts: true });
}

function rateCells(row, values) {
  const measures = Object.keys(data.measures).map((name) => ({
    text: fixed(values[name], DIGITS[name]), value: isNumber(values[name]) ? values[name] : null }));
  return [{ text: fixed(row.bpp, 3), value: row.bpp }, ...measures];
}

function fillRate() {
  if (data.at_bpp === null) return;
  byId("rate-section").hidden = false;
  byId("rate-title").textContent = `At ${data.at_bpp} bits per pixel`;
  const heads = ["bpp", ...Object.values(data.measures).map((measure) => measure.title)];
  const means = data.averages_at_bpp.map((row) =>
    [row.codec, { text: row.images, value: row.images }, ...rateCells(row, row.values)]);
  const isOurs = (row) => row.some((cell) => asCell(cell).text === data.ours);
  fillTable("rate-means", ["codec", "images", ...heads], means, { sorts: true, ours: isOurs });
  const rows = data.points_at_bpp.map((row) => [
    { text: row.image, value: row.image }, { text: row.codec, value: row.codec, kind: "text" },
    { text: String(+row.setting.toFixed(4)), value: row.setting }, ...rateCells(row, row)]);
  fillTable("rate-images", ["image", "codec", "setting", ...heads], rows, { sorts: true });
}

function fillFacts() {
  const speeds = data.speeds.map((speed) => [speed.codec,
    { text: fixed(speed.encode, 2), value: speed.encode }, { text: fixed(speed.decode, 2), value: speed.decode },
    { text: isNumber(speed.peak_memory) ? fixed(speed.peak_memory / 1e6, 0) : "–", value: speed.peak_memory }]);
  fillTable("speeds", ["codec", "encode, MPix/s", "decode, MPix/s", "peak memory, MB"], speeds,
    { sorts: true, ours: (row) => row[0] === data.ours });
  byId("memory-note").textContent = "All settings together, of the images that all codecs coded; one call each."
    + (data.memory_image === null ? "" : " Peak memory is that of a fresh process, Python and libraries included, "
      + `that codes and decodes the largest of these images, ${data.memory_image}.`);
  const facts = [...Object.entries(data.environment), ...Object.entries(data.codecs)];
  fillTable("versions", ["", ""], facts.map(([name, text]) => [name, { text, value: text, kind: "text long" }]));
  byId("left-out-section").hidden = data.left_out.length === 0;
  fillTable("left-out", ["what", "why"], data.left_out.map((note) =>
    [note.what, { text: note.reason, value: note.reason, kind: "text long" }]));
}
