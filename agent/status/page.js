const EVERY_MS = 2000, HISTORY_MS = 60000, WAIT_MS = 8000, SHOWN = 6;
const $ = (id) => document.getElementById(id);
let token = "", answered = 0, timer = 0, busy = false, history, historyAt = 0;
try { token = sessionStorage.getItem("token") || ""; } catch { /* storage may be forbidden */ }

// Everything that the daemon says is text: it never becomes markup.
function el(name, className, text) {
  const node = document.createElement(name);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}
const known = (value) => typeof value === "number";
// At most four digits, so that every value fits into its circle.
function scaled(value, unit) {
  const sign = value < 0 ? "−" : "", size = Math.abs(value);
  if (size < 999.5) return (Math.round(size) ? sign : "") + Math.round(size) + " " + unit;
  const power = size < 999500 ? 1 : size < 999500000 ? 2 : 3, short = size / 1000 ** power;
  return sign + short.toFixed(short >= 99.95 ? 0 : short >= 9.995 ? 1 : 2) + " " + ["", "k", "M", "G"][power] + unit;
}
const watts = (value) => known(value) ? scaled(Math.abs(value), "W") : "–";
const signed = (value) => known(value) ? scaled(value, "W") : "–";
function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  for (const [size, unit, less, small] of [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]])
    if (s >= size) {
      const rest = Math.floor(s % size / less);
      return Math.floor(s / size) + " " + unit + (rest ? " " + rest + " " + small : "");
    }
  return s + " s";
}
const minute = (unix) => new Date(unix * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const clock = (unix) => new Date(unix * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const sum = (values) => values.every(known) ? values.reduce((a, b) => a + b, 0) : undefined;

// Sets a text only if it changes, so that screen readers do not repeat it.
function say(node, text, hidden = !text) {
  if (node.textContent !== text) node.textContent = text;
  node.hidden = hidden;
}

function spot(name, shown, value, label, towardsHouse) {
  const node = document.querySelector(".spot." + name), wire = document.querySelector(".wires ." + name);
  node.hidden = !shown;
  node.querySelector("b").textContent = watts(value);
  node.querySelector("small").textContent = label;
  if (!wire) return;
  wire.classList.toggle("gone", !shown);
  wire.style.display = shown ? "" : "none";
  const on = known(value) && Math.abs(value) >= 5;
  wire.classList.toggle("on", on);
  // Each line is drawn from left to right and from top to bottom.
  const fromStart = name === "solar" || name === "grid" ? towardsHouse : !towardsHouse;
  wire.classList.toggle("back", on && !fromStart);
}

function showFlow(flow, devices) {
  const { grid, solar, storage } = flow;
  const loads = LOADS.filter((name) => flow[name]);
  const g = grid?.active_power_W, s = solar?.active_power_W, b = storage?.active_power_W;
  const used = loads.length ? sum(loads.map((name) => flow[name].active_power_W)) : undefined;
  const house = grid ? sum([g, ...(solar ? [s] : []), ...(storage ? [b] : []).map((v) => known(v) ? -v : v)]) : undefined;
  const none = (value, text) => known(value) ? text : "no value";
  const nodes = devices.flatMap((each) => each.nodes);
  const nominal = nodes.filter((node) => loads.includes(node.type) && node.assumed === "nominal").map((node) => node.node_id);
  spot("solar", !!solar, s, none(s, "solar"), true);
  spot("grid", !!grid, g, none(g, g < -5 ? "exporting" : g > 5 ? "importing" : "grid"), g > 0);
  spot("storage", !!storage, b,
    none(b, (b > 5 ? "charging" : b < -5 ? "discharging" : "storage") + (known(storage?.mean_soc_perc) ? "\n" + Math.round(storage.mean_soc_perc) + " %" : "")), b < 0);
  spot("loads", loads.length > 0, used, none(used, nominal.length ? "loads\nnominal" : "loads"), false);
  spot("house", true, house, known(house) ? "house" : "house\nunknown", true);
  $("flow").classList.toggle("flat", !storage);
  const wires = document.querySelectorAll(".wires line");
  const middle = storage ? "50%" : "78%";
  for (const line of wires) for (const end of line.classList.contains("solar") ? ["y2"] : line.classList.contains("storage") ? ["y1"] : ["y1", "y2"]) line.setAttribute(end, middle);
  const without = (types) => nodes.filter((node) => types.includes(node.type) && !known(node.fields.active_power_W)).map((node) => node.node_id);
  const lacks = without(["grid", "solar", "storage"]), idle = without(loads);
  say($("parts"), [
    !grid ? "House: unknown, because no device measures the grid." : known(house) ? "" : "House: unknown, because there is no power of " + lacks.join(", ") + ".",
    idle.length && !known(used) ? "Loads: unknown, because there is no power of " + idle.join(", ") + "." : "",
    nominal.length ? "Loads: " + nominal.join(", ") + (nominal.length === 1 ? " reports" : " report") + " only on or off; the nominal power is used." : "",
  ].filter(Boolean).join(" "));
}

function endpoint(data, index, all) {
  const { backlog } = data, counts = data.outcomes;
  const dropped = Object.entries(backlog.dropped).filter(([, count]) => count > 0);
  const failed = (counts.retry || 0) + (counts.misconfigured || 0);
  const rows = [
    ...(data.reason && all.length > 1 ? [["Not ready", data.reason]] : []),
    ...(known(data.next_attempt_s) ? [["Next attempt", data.next_attempt_s < 0.5 ? "now" : "within " + span(data.next_attempt_s)]] : []),
    ["Endpoint", data.url],
    ["Interval", span(data.interval_s)],
    ["Last delivered", known(data.delivered_s) ? span(data.delivered_s) + " ago" : "not since the start"],
    ["Delivered", String(counts.delivered || 0)],
    ["Failed attempts", String(failed)],
    ["Refused", String(counts.refused || 0)],
    ["Waiting", backlog.waiting === 0 ? "nothing" : backlog.waiting + (backlog.waiting === 1 ? " message" : " messages") + (known(backlog.oldest_s) ? ", the oldest " + span(backlog.oldest_s) : "")],
    ["Dead letters", backlog.parked ? String(backlog.parked) : "none"],
    ["Dropped", dropped.length ? dropped.map(([reason, count]) => count + " (" + reason + ")").join(", ") : "none"],
  ];
  const figures = el("dl"), attempts = el("ul", "attempts");
  figures.replaceChildren(...rows.flatMap(([name, value]) => [el("dt", "", name), el("dd", "", value)]));
  const recent = data.recent.slice(0, all.length > 1 ? 2 : SHOWN);
  attempts.replaceChildren(...(recent.length ? recent.map(attempt) : [el("li", "more", "none yet")]));
  const named = all.length > 1 ? "Delivery to " + data.name + (data.reason ? ": not ready" : ": ready") : "Delivery";
  return [el("h2", index ? "second" : "", named), figures, ...deliveryChart(history, data.name), el("h3", "second", "Last attempts"), attempts];
}

function device(data) {
  const item = el("li");
  const power = data.nodes.map((node) => node.fields.active_power_W).filter(known);
  const figure = el("span", "figure", data.nodes.length === 1 && power.length ? signed(power[0]) + " " : "");
  figure.append(el("small", "", data.state === "waiting" ? "not polled yet" : known(data.age_s) ? span(data.age_s) + " ago" : "never answered"));
  item.append(el("span", "dot " + data.state), el("span", "name", data.name), figure);
  const types = data.nodes.map((node) => node.type.replaceAll("_", " ")).join(", ");
  item.append(el("span", "more", types + " · " + data.driver + " · " + data.address));
  const asleep = data.nodes.filter((node) => node.assumed === "asleep").map((node) => node.node_id);
  if (asleep.length && data.state !== "asleep") item.append(el("span", "more", asleep.join(", ") + ": asleep, counted as 0 W"));
  if (data.nodes.length > 1 && power.length)
    item.append(el("span", "more", data.nodes.filter((node) => known(node.fields.active_power_W)).map((node) =>
      node.node_id + " " + signed(node.fields.active_power_W)).join(" · ")));
  if (data.state === "lost") item.append(el("span", "more bad", "no answer for " + span(data.lost_s) + ": " + data.reason));
  if (data.state === "asleep") item.append(el("span", "more", "asleep for " + span(data.lost_s)));
  if (known(data.cycle_s)) item.append(el("span", "more warn", "polled every " + data.cycle_s.toFixed(1) + " s instead of every " + data.interval_s + " s: the link is too slow"));
  if (data.state === "partial") item.append(el("span", "more warn", "answers in part: " + data.reason));
  return item;
}

function attempt(data) {
  const item = el("li");
  item.append(el("span", "dot " + data.outcome), el("span", "", data.outcome + (data.attempt ? ", attempt " + (data.attempt + 1) : "") + (data.at - data.created > 45 ? ", " + span(data.at - data.created) + " old" : "")), el("small", "", clock(data.at)));
  if (data.reason) item.append(el("span", "more", data.reason));
  return item;
}

function show(data) {
  document.title = (data.ready ? "" : "! ") + data.site;
  $("site").textContent = data.site;
  $("state").className = "pill " + (data.ready ? "good" : "bad");
  const all = data.endpoints.length, ready = data.endpoints.filter((each) => !each.reason).length;
  say($("state"), data.ready ? "Pushing" : ready && ready < all ? "Pushing to " + ready + " of " + all : "Not pushing", false);
  say($("note"), [data.reason, data.not_on_disk].filter(Boolean).join("; "));
  say($("clock"), data.clock_reason ? "Clock: " + data.clock_reason + "." : "");
  showFlow(data.flow, data.devices);
  showEnergy(data.flow, data.no_balance);
  showLinks(data.links);
  $("delivery").replaceChildren(...data.endpoints.flatMap(endpoint));
  const well = data.devices.filter((each) => each.state === "ok" || each.state === "partial").length;
  const asleep = data.devices.filter((each) => each.state === "asleep").length;
  $("count").textContent = "Devices: " + well + " of " + data.devices.length + " answering" + (asleep ? ", " + asleep + " asleep" : "");
  const order = { lost: 0, partial: 1, waiting: 2, asleep: 3, ok: 4 };
  $("devices").replaceChildren(...[...data.devices].sort((a, b) => order[a.state] - order[b.state]).map(device));
  const foot = ["telemetry-agent " + data.version, "running for " + span(data.uptime_s), "its clock: " + clock(data.time) + (data.clock === "waiting" ? ", not set yet" : ", " + data.clock)];
  $("foot").replaceChildren(...foot.map((text) => el("span", "", text)));
}

function ask(wrong) {
  $("status").hidden = true; $("login").hidden = false; $("wrong").hidden = !wrong; $("token").focus();
}

async function refresh() {
  clearTimeout(timer);
  if (busy) return;
  busy = true;
  try {
    const headers = token ? { Authorization: "Bearer " + token } : {};
    const answer = await fetch("status.json", { headers, cache: "no-store", signal: AbortSignal.timeout(WAIT_MS) });
    if (answer.status === 401) { const tried = token !== ""; token = ""; ask(tried); return; }
    if (!answer.ok) throw new Error("HTTP " + answer.status);
    const data = await answer.json();
    if (Date.now() - historyAt >= HISTORY_MS) {
      const day = await fetch("history.json", { headers, cache: "no-store", signal: AbortSignal.timeout(WAIT_MS) });
      if (day.ok) { history = await day.json(); historyAt = Date.now(); showPower(history); }
    }
    answered = Date.now();
    try { if (token) sessionStorage.setItem("token", token); } catch { /* as above */ }
    const entered = !$("login").hidden;
    $("login").hidden = true; $("status").hidden = false; document.body.classList.remove("old");
    show(data);
    if (entered) $("site").focus();
  } catch (error) {
    document.body.classList.add("old");
    $("status").hidden = false;
    $("state").className = "pill idle"; say($("state"), "No answer", false);
    say($("note"), answered ? "The agent has not answered since " + clock(answered / 1000) + "; the values below are from then." : "The agent does not answer.");
  } finally {
    busy = false;
  }
  if (!document.hidden) timer = setTimeout(refresh, EVERY_MS);
}

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value.trim(); $("token").value = "";
  refresh();
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
refresh();
