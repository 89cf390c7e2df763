"use strict";
// Charts of the last day, and the balance of the energies. `history` has the steps of /history.json, oldest first.
const SVG = "http://www.w3.org/2000/svg";
const LOADS = ["heat_pump", "switched_load", "variable_power_load"];
const DAY_STEPS = 144;

function svg(name, attributes) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

// The place of a step in a day that ends now: a short history is at the right side.
const placeOf = (step, steps) => DAY_STEPS - steps + step;

function picture(label) {
  return svg("svg", { viewBox: "0 0 " + DAY_STEPS + " 100", preserveAspectRatio: "none", role: "img", "aria-label": label });
}

function pathOf(values, y) {
  let path = "", open = false;
  values.forEach((value, step) => {
    if (!known(value)) { open = false; return; }
    const x = placeOf(step, values.length);
    path += (open ? "L" : "M") + x + " " + y(value).toFixed(2) + "L" + (x + 1) + " " + y(value).toFixed(2);
    open = true;
  });
  return path;
}

function times(history, steps) {
  const line = el("div", "times"), end = history.began + steps * history.step_s;
  line.append(el("span", "", minute(end - DAY_STEPS * history.step_s)), el("span", "", minute(end - DAY_STEPS * history.step_s / 2)), el("span", "", "now"));
  return line;
}

function keys(entries) {
  const line = el("p", "keys");
  for (const [className, text] of entries) {
    const item = el("span", "", text);
    item.prepend(el("i", "key " + className));
    line.append(item);
  }
  return line;
}

function added(lists) {
  return lists.length ? lists[0].map((_, step) => sum(lists.map((values) => values[step]))) : undefined;
}

function showPower(history) {
  const loads = added(LOADS.map((name) => history.power_W[name]).filter(Boolean));
  const lines = [["solar", "solar", history.power_W.solar], ["grid", "grid, import above 0", history.power_W.grid],
    ["storage", "storage, charge above 0", history.power_W.storage], ["loads", "loads", loads]].filter(([, , values]) => values?.some(known));
  $("power").hidden = !lines.length;
  if (!lines.length) return;
  const all = lines.flatMap(([, , values]) => values.filter(known));
  const high = Math.max(0, ...all), low = Math.min(0, ...all), size = Math.max(high - low, 1);
  const y = (value) => 4 + 92 * (high - value) / size;
  const words = lines.map(([, text, values]) => text + ": " + signed(Math.min(...values.filter(known))) + " to " + signed(Math.max(...values.filter(known))));
  const chart = picture("Mean power in steps of " + span(history.step_s) + " since " + minute(history.began) + ". " + words.join(". "));
  chart.append(svg("path", { class: "zero", d: "M0 " + y(0) + "H" + DAY_STEPS }));
  for (const [name, , values] of lines) chart.append(svg("path", { class: name, d: pathOf(values, y) }));
  const frame = el("div", "frame");
  frame.append(chart, el("b", "high", signed(high)));
  if (low < 0) frame.append(el("b", "deep", signed(low)));
  $("power").replaceChildren(el("h2", "", "Power, last 24 hours"), keys(lines.map(([name, text]) => [name, text])), frame, times(history, lines[0][2].length));
}

function deliveryChart(history, name) {
  const counts = history?.endpoints[name];
  if (!counts) return [];
  const { delivered, failed } = counts, most = Math.max(1, ...delivered.map((count, step) => count + failed[step]));
  const total = (values) => values.reduce((a, b) => a + b, 0);
  const chart = picture("Attempts in steps of " + span(history.step_s) + " since " + minute(history.began) + ": " + total(delivered) + " delivered, " + total(failed) + " not delivered");
  delivered.forEach((count, step) => {
    const x = placeOf(step, delivered.length) + 0.1, good = 100 * count / most, bad = 100 * failed[step] / most;
    if (count) chart.append(svg("rect", { class: "delivered", x, width: 0.8, y: 100 - good, height: good }));
    if (failed[step]) chart.append(svg("rect", { class: "failed", x, width: 0.8, y: 100 - good - bad, height: bad }));
  });
  const box = el("div", "chart low"), frame = el("div", "frame");
  frame.append(chart);
  box.append(keys([["delivered", "delivered"], ["failed", "not delivered"]]), frame, times(history, delivered.length));
  return [el("h3", "second", "Attempts, last 24 hours"), box];
}

function bar(parts) {
  const line = el("div", "bar"), whole = parts.reduce((all, [, value]) => all + Math.max(0, value), 0);
  line.setAttribute("aria-hidden", "true");
  for (const [name, value] of parts) {
    const part = el("i", name);
    part.style.width = (whole ? 100 * Math.max(0, value) / whole : 0) + "%";
    line.append(part);
  }
  return line;
}

function showEnergy(flow, why) {
  const { grid, solar, storage } = flow, wanted = [];
  if (grid) wanted.push(["import", grid.today_imported_energy_Wh], ["export", grid.today_exported_energy_Wh]);
  if (solar) wanted.push(["solar production", solar.today_energy_Wh]);
  if (storage) wanted.push(["battery discharge", storage.today_discharged_Wh], ["battery charge", storage.today_charged_Wh]);
  $("energy").hidden = !wanted.length;
  if (!wanted.length) return;
  const figures = el("dl");
  const show = (name, text) => figures.append(el("dt", "", name), el("dd", "", text));
  const content = [el("h2", "", "Energy today")];
  if (why) {
    for (const [name, value] of wanted) show(name[0].toUpperCase() + name.slice(1), known(value) ? scaled(value, "Wh") : "no value");
    content.push(figures, el("p", "parts", "No balance: " + why + "."));
  } else {
    const from = [["solar", solar?.today_energy_Wh ?? 0], ["grid", grid.today_imported_energy_Wh], ["storage", storage?.today_discharged_Wh ?? 0]];
    const house = from.reduce((all, [, value]) => all + value, 0) - grid.today_exported_energy_Wh - (storage?.today_charged_Wh ?? 0);
    const to = [["house", house], ["grid", grid.today_exported_energy_Wh], ["storage", storage?.today_charged_Wh ?? 0]];
    const named = (parts, names) => parts.map(([name, value], at) => [name, names[at] + " " + scaled(value, "Wh")])
      .filter(([name]) => name !== "storage" || storage).filter(([name]) => name !== "solar" || solar);
    show("House, calculated", scaled(house, "Wh"));
    if (house > 0) show("Share not from the grid", Math.max(0, Math.round(100 * (1 - grid.today_imported_energy_Wh / house))) + " %");
    content.push(el("h3", "", "From"), keys(named(from, ["solar", "import", "discharge"])), bar(from),
      el("h3", "", "To"), keys(named(to, ["house", "export", "charge"])), bar(to), figures);
    if (house < 0) content.push(el("p", "more warn", "More energy left the house than came in: compare the signs and meters with `check --online`."));
  }
  $("energy").replaceChildren(...content);
}

function showLinks(links) {
  const busy = links.filter((link) => known(link.load)).slice(0, 8);
  $("links").hidden = !busy.length;
  $("loads").replaceChildren(...busy.map((link) => {
    const item = el("li"), line = bar([]), part = el("i", "load" + (link.load > 1 ? " full" : ""));
    part.style.width = Math.min(100, 100 * link.load) + "%";
    line.append(part);
    const share = 100 * link.load;
    item.append(el("span", "name", link.address), el("span", "figure", (share < 1 ? "under 1" : Math.round(share)) + " %"),
      el("span", "more", link.devices + (link.devices === 1 ? " device" : " devices") + (link.load > 1 ? ": more polls than the link has time for" : "")), line);
    return item;
  }));
}
