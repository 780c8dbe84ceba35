"use strict";
// Charts are pictures without this script; with it they can be asked for values.
for (const chart of document.querySelectorAll("figure.chart")) {
  const data = JSON.parse(chart.querySelector("script").textContent);
  const svg = chart.querySelector("svg[role=img]");
  const cursor = chart.querySelector(".cursor");
  const readout = chart.querySelector(".readout");
  const lines = [...svg.querySelectorAll("polyline.series")];
  const places = lines.map((line) => line.getAttribute("points").split(" ").map((p) => +p.split(",")[0]));
  const isOff = (n) => lines[n].classList.contains("off");
  let at = -1; // index into the points of the longest line that is shown

  const number = (value) => (Number.isInteger(value) ? String(value) : value.toPrecision(4));
  const nearest = (n, x) => {
    let best = 0;
    places[n].forEach((place, i) => { if (Math.abs(place - x) < Math.abs(places[n][best] - x)) best = i; });
    return best;
  };
  const longest = () => {
    const on = places.map((_, n) => n).filter((n) => !isOff(n));
    return on.length ? on.reduce((a, b) => (places[b].length > places[a].length ? b : a)) : -1;
  };
  const show = (x) => {
    const reference = longest();
    if (reference < 0) return;
    at = nearest(reference, x);
    const place = places[reference][at];
    cursor.setAttribute("x1", place);
    cursor.setAttribute("x2", place);
    cursor.style.visibility = "visible";
    const words = [`${data.x} ${number(data.values[reference][at][0])}`];
    data.names.forEach((name, n) => {
      if (isOff(n)) return;
      const [xn, yn] = data.values[n][nearest(n, place)];
      const same = xn === data.values[reference][at][0];
      words.push(`${data.names.length > 1 ? name + " " : ""}${number(yn)}${same ? "" : ` (at ${number(xn)})`}`);
    });
    readout.textContent = words.join("  ·  ");
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    show(((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width);
  });
  chart.addEventListener("keydown", (event) => {
    if (event.target !== chart) return;
    const reference = longest();
    const last = reference < 0 ? -1 : places[reference].length - 1;
    const moves = { ArrowLeft: Math.max(at - 1, 0), ArrowRight: Math.min(at + 1, last), Home: 0, End: last };
    if (last < 0 || !(event.key in moves)) return;
    event.preventDefault();
    show(places[reference][moves[event.key]]);
  });
  for (const button of chart.querySelectorAll(".legend button")) {
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", on);
      for (const part of svg.querySelectorAll(`[data-series="${button.dataset.series}"]`)) {
        part.classList.toggle("off", !on);
      }
    });
  }
}

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") !== "descending";
      for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => {
        const cell = row.cells[column];
        const known = cell.dataset.value ?? cell.textContent.replaceAll(",", "");
        return known !== "" && !Number.isNaN(+known) ? +known : cell.textContent;
      };
      const order = (a, b) => {
        const [x, y] = [value(a), value(b)];
        return typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
      };
      const rows = [...body.rows].sort(order);
      body.append(...(down ? rows.reverse() : rows));
    });
  });
}
