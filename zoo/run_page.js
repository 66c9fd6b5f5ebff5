"use strict";
// What fails is written where a test of the page looks for it.
const page = document.documentElement;
window.addEventListener("error", (event) => { page.dataset.error = event.message; });

// Reading values off a chart.
for (const chart of document.querySelectorAll(".chart")) {
  const points = JSON.parse(chart.dataset.points);
  const svg = chart.querySelector("svg");
  const cursor = svg.querySelector(".cursor");
  const reading = document.createElement("div");
  reading.className = "reading";
  reading.hidden = true;
  chart.append(reading);
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
    const [place, step, values] = points.reduce((a, b) => Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a);
    cursor.setAttribute("x1", place);
    cursor.setAttribute("x2", place);
    cursor.setAttribute("visibility", "visible");
    reading.hidden = false;
    reading.replaceChildren(`step ${step}`);
    for (const [name, value] of values) {
      const line = document.createElement("div");
      const bold = document.createElement("b");
      bold.textContent = value;
      line.append(`${name} `, bold);
      reading.append(line);
    }
    const left = box.left - chart.getBoundingClientRect().left + place / svg.viewBox.baseVal.width * box.width;
    reading.style.left = `${left > box.width / 2 ? left - reading.offsetWidth - 10 : left + 10}px`;
    reading.style.top = "56px";
  });
  svg.addEventListener("pointerleave", () => {
    reading.hidden = true;
    cursor.setAttribute("visibility", "hidden");
  });
}

// Sorting a table by a column: numbers from the greatest, text from A; again for the other way round.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const column = [...head.parentNode.children].indexOf(head);
    const body = head.closest("table").tBodies[0];
    const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const text = head.classList.contains("text");
    const first = text ? "ascending" : "descending";
    const order = head.ariaSort === first ? (text ? "descending" : "ascending") : first;
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const compare = (a, b) => {
      if (text) return sign * key(a).localeCompare(key(b));
      const [x, y] = [parseFloat(key(a)), parseFloat(key(b))];
      if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y);  // what has no value comes last
      return sign * (x - y);
    };
    body.append(...[...body.rows].sort(compare));
  });
}

// Going through the rounds of panels.
const slider = document.querySelector("#round");
if (slider) {
  const rounds = [...document.querySelectorAll(".round")].reverse();  // the page has the newest first
  const [back, on] = document.querySelectorAll(".rounds button");
  const show = (number) => {
    rounds.forEach((round, index) => { round.hidden = index !== number; });
    slider.value = number;
    back.disabled = number === 0;
    on.disabled = number === rounds.length - 1;
    document.querySelector(".rounds output").textContent = rounds[number].dataset.title;
  };
  slider.addEventListener("input", () => show(Number(slider.value)));
  back.addEventListener("click", () => show(Number(slider.value) - 1));
  on.addEventListener("click", () => show(Number(slider.value) + 1));
  show(rounds.length - 1);
}
page.dataset.ready = "true";
