const openTraversal = (() => {
  const all = report.traversals;
  if (!all.length) return () => {};
  const byImage = new Map();
  for (const entry of all) byImage.set(entry.id, [...(byImage.get(entry.id) ?? []), entry]);
  const names = (get) => [...new Set(all.map(get))].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const view = { entry: null, frames: [], frame: 0, flicker: false, showBefore: false, playing: null, shown: [], scale: 1 };

  /* the list and its filters */
  const list = find("#list"), count = find("#f-count");
  choices(find("#f-source"), [["", "any class"], ...names((e) => e.source).map((n) => [n, n])]);
  choices(find("#f-target"), [["", "any class"], ...names((e) => e.target).map((n) => [n, n])]);
  const disagrees = (e) => (e.oracle.original !== null && e.oracle.original !== e.source) || e.oracle.end_agrees === false;

  function wanted(entry) {
    const source = find("#f-source").value, target = find("#f-target").value, text = find("#f-text").value.toLowerCase();
    return (!source || entry.source === source) && (!target || entry.target === target)
      && (!text || entry.id.toLowerCase().includes(text)) && (!find("#f-wrong").checked || entry.wrong)
      && (!find("#f-lost").checked || entry.status === "not_found") && (!find("#f-oracle").checked || disagrees(entry));
  }

  function fill() {
    view.shown = [...byImage.values()].map((entries) => entries.find(wanted)).filter(Boolean);
    list.replaceChildren(...view.shown.map(item));
    count.textContent = view.shown.length === byImage.size ? `${byImage.size} images` : `${view.shown.length} of ${byImage.size} images`;
    mark();
  }

  function item(entry) {
    const small = entry.sprite ? make("canvas", { "aria-hidden": "true" }) : make("span", { class: "none" });
    if (entry.sprite) whenSeen(small, () => paintTile(small, entry.sprite, entry.original_tile));
    const words = `${entry.id}: ${entry.source} towards ${entry.target}, ${entry.status.replace("_", " ")}`;
    const button = make("button", { type: "button", "aria-label": words, title: words, onclick: () => show(entry) }, small,
      make("span", { class: "cut" }, named(entry.source)), make("span", { class: "cut" }, entry.status === "found" ? "→ " : "↛ ", named(entry.target)));
    button.dataset.image = entry.id;
    return make("li", {}, button);
  }

  function mark() {
    for (const button of list.querySelectorAll("button")) {
      button.setAttribute("aria-current", view.entry !== null && button.dataset.image === view.entry.id);
    }
  }

  for (const id of ["#f-source", "#f-target", "#f-wrong", "#f-lost", "#f-oracle"]) find(id).addEventListener("change", fill);
  find("#f-text").addEventListener("input", fill);

  /* one traversal */
  async function show(entry) {
    stop();
    view.entry = entry;
    mark();
    describe(entry);
    const path = find("#v-path"), moving = Boolean(entry.sprite) && entry.tau.length > 1;
    path.hidden = !moving;
    for (const id of ["#v-overlay", "#v-strength"]) find(id).closest("label").hidden = !moving;
    for (const id of ["#v-side", "#v-flicker"]) find(id).hidden = !moving;
    if (!entry.sprite) return drawn(entry);
    const frames = await tiles(entry.sprite);
    if (view.entry !== entry) return;
    view.frames = frames;
    view.scale = largest(entry);
    find("#v-overlay").querySelector("[value=evidence]").disabled = entry.evidence_tile === null;
    const slider = find("#v-slider");
    slider.max = entry.tau.length - 1;
    find("#v-jump").hidden = entry.boundary === null;
    stage();
    if (moving) { chart(entry); bars(entry); legend(entry); }
    move(entry.boundary ?? entry.tau.length - 1);
  }

  function describe(entry) {
    find("#v-title").replaceChildren(named(entry.id));
    const badge = (kind, ...parts) => make("span", { class: "badge " + kind }, ...parts);
    const badges = [badge("", "classified as ", named(entry.source))];
    if (entry.label !== null) badges.push(badge(entry.wrong ? "warn" : "", "label ", named(entry.label), entry.wrong ? " (wrong prediction)" : ""));
    badges.push(badge(entry.status === "found" ? "good" : "warn", entry.status.replace("_", " "), ", towards ", named(entry.target)));
    if (entry.oracle.end_agrees !== null) badges.push(badge(entry.oracle.end_agrees ? "good" : "warn", entry.oracle.end_agrees ? "oracle agrees at the end" : "oracle disagrees at the end"));
    find("#v-badges").replaceChildren(...badges);
    const variants = byImage.get(entry.id);
    find("#v-variant-label").hidden = variants.length < 2;
    choices(find("#v-variant"), variants.map((e) => [e.key, `${e.target}, ${e.references ? "reference " + e.references : "no reference"} (${e.set})`]));
    find("#v-variant").value = entry.key;
    find("#v-reason").textContent = entry.status === "found" ? "" : entry.reason;
    const facts = entry.numbers.map(([words, value]) => make("div", {}, make("dt", {}, words), make("dd", {}, number(value))));
    if (entry.references) facts.push(make("div", {}, make("dt", {}, "reference"), make("dd", {}, named(entry.references))));
    find("#v-numbers").replaceChildren(...facts);
  }

  /* only pictures that traverse drew: the path itself was not saved */
  function drawn(entry) {
    const figures = entry.pictures.map((one) => {
      const image = make("img", { alt: `${one.words} of ${entry.id}`, width: one.width, height: one.height });
      image.src = "data:image/webp;base64," + document.getElementById("p-" + one.key).textContent;
      return make("figure", { class: "tile" + (one.words === "strip" ? " wide" : "") }, image, make("figcaption", {}, one.words));
    });
    figures.push(make("p", { class: "note wide" }, "The path of this image was not saved: ", make("code", {}, "traverse.save=all"), " keeps it, with every frame."));
    find("#v-stage").className = "stage";
    find("#v-stage").replaceChildren(...figures);
  }

  const tile = (id) => make("figure", { class: "tile" }, make("canvas", { id, role: "img", "aria-label": "" }), make("figcaption"));

  function stage() {
    const stageOf = find("#v-stage"), moving = view.entry.tau.length > 1;
    stageOf.className = view.flicker || !moving ? "stage single" : "stage";
    stageOf.replaceChildren(...(view.flicker || !moving ? [tile("v-single")] : [tile("v-before"), tile("v-after"), tile("v-over")]));
  }

  function largest(entry) {
    let size = 1;
    const first = view.frames[0].data;
    for (let frame = 1; frame < entry.tau.length; frame++) {
      const data = view.frames[frame].data;
      for (let place = 0; place < data.length / 4; place++) size = Math.max(size, Math.abs(brightness(data, place) - brightness(first, place)));
    }
    return size;
  }

  function over(frame) {
    const kind = find("#v-overlay").value, strength = find("#v-strength").value / 100, entry = view.entry, pixels = view.frames[frame];
    if (kind === "change") {
      const first = view.frames[0].data, now = pixels.data;
      const change = (place) => (brightness(now, place) - brightness(first, place)) / view.scale;
      const least = 2.5 / view.scale; // below this, the picture format alone may make a difference
      return overlaid(pixels, DIVERGING, (place) => strong(change(place)), (place) => Math.abs(change(place)) < least ? 0 : strength * Math.sqrt(Math.abs(change(place))));
    }
    if (kind === "evidence" && entry.evidence_tile !== null) {
      const evidence = view.frames[entry.evidence_tile].data;
      return overlaid(pixels, SEQUENTIAL, (place) => brightness(evidence, place) / 255, (place) => strength * Math.min(1, 2 * brightness(evidence, place) / 255));
    }
    return pixels;
  }

  const likely = (probabilities) => probabilities.indexOf(Math.max(...probabilities));
  const spoken = (entry, frame) => `${entry.classes[likely(entry.classifier[frame])]} with ${Math.max(...entry.classifier[frame]).toFixed(2)}`;

  function put(id, pixels, caption, words) {
    const canvas = find("#" + id);
    if (!canvas) return;
    paint(canvas, pixels);
    canvas.setAttribute("aria-label", words);
    canvas.nextElementSibling.replaceChildren(...caption);
  }

  function move(frame) {
    const entry = view.entry;
    view.frame = Math.max(0, Math.min(entry.tau.length - 1, frame));
    frame = view.frame;
    const before = view.frames[entry.original_tile], at = `${(100 * entry.tau[frame]).toFixed(0)} % of the path`;
    const where = frame === entry.boundary ? "at the boundary" : at;
    const kind = find("#v-overlay"), shown = kind.options[kind.selectedIndex].textContent;
    const now = `classified as ${spoken(entry, frame)}`;
    put("v-before", before, ["original: ", named(entry.source)], `Original ${entry.id}, classified as ${spoken(entry, 0)}`);
    put("v-after", view.frames[frame], [where + ": ", named(spoken(entry, frame))], `${entry.id} ${where}, ${now}`);
    put("v-over", over(frame), [{ none: "no overlay", change: "red: brighter, blue: darker", evidence: "evidence: where it changes at the end" }[kind.value]], `${entry.id} ${where}, with ${shown} laid over`);
    const single = view.flicker ? view.showBefore : entry.tau.length < 2;
    put("v-single", single ? before : over(frame), single ? ["before: ", named(entry.source)] : ["after, ", where], single ? `Original ${entry.id}` : `${entry.id} ${where}, ${now}`);
    const slider = find("#v-slider");
    slider.value = frame;
    slider.setAttribute("aria-valuetext", `${where}, ${now}`);
    if (entry.tau.length > 1) { cursor(entry, frame); level(entry, frame); }
  }

  /* the chart: the classifier's probabilities as lines, the oracle's dashed, the boundary upright */
  const LEFT = 34, TOP = 10, BOTTOM = 138, HEIGHT = 176, WIDEST = 640, NARROWEST = 300;
  let right = WIDEST - 12; // follows the screen, so that words keep their size on a small one
  const x = (tau) => LEFT + tau * (right - LEFT), y = (p) => BOTTOM - p * (BOTTOM - TOP);
  const kindOf = (entry, place) => entry.classes[place] === entry.source ? "0" : entry.classes[place] === entry.target ? "1" : "x";

  function chart(entry) {
    const parts = [], svg = find("#v-chart"), width = Math.max(NARROWEST, Math.min(WIDEST, svg.clientWidth || WIDEST));
    svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    right = width - 12;
    for (const p of [0, 0.5, 1]) parts.push(make("line", { class: "grid", x1: LEFT, x2: right, y1: y(p), y2: y(p) }), make("text", { x: LEFT - 6, y: y(p) + 4, "text-anchor": "end" }, String(p)));
    parts.push(make("text", { x: (LEFT + right) / 2, y: BOTTOM + 32, "text-anchor": "middle" }, "from the original to the end of the path"));
    const line = (series, place, extra) => make("polyline", { class: `line s${kindOf(entry, place)} ${extra}`, points: series.map((row, frame) => `${x(entry.tau[frame])},${y(row[place])}`).join(" ") });
    for (let place = entry.classes.length - 1; place >= 0; place--) {
      if (entry.oracle_path) parts.push(line(entry.oracle_path, place, "oracle"));
      parts.push(line(entry.classifier, place, ""));
    }
    if (entry.boundary !== null) {
      const at = x(entry.tau[entry.boundary]);
      parts.push(make("line", { class: "boundary", id: "v-boundary", x1: at, x2: at, y1: TOP - 6, y2: BOTTOM }), make("text", { x: at, y: BOTTOM + 14, "text-anchor": "middle" }, "boundary"));
    }
    parts.push(make("line", { class: "cursor", id: "v-cursor", y1: TOP - 6, y2: BOTTOM }));
    entry.classes.forEach((_, place) => parts.push(make("circle", { class: `dot f${kindOf(entry, place)}`, r: 4.5 })));
    svg.replaceChildren(...parts);
    svg.setAttribute("aria-label", `Probabilities along the path from ${entry.source} to ${entry.target}` + (entry.boundary === null ? "" : `; the answer changes at ${(100 * entry.tau[entry.boundary]).toFixed(0)} %`));
  }

  function cursor(entry, frame) {
    const at = x(entry.tau[frame]), line = find("#v-cursor");
    line.setAttribute("x1", at);
    line.setAttribute("x2", at);
    find("#v-chart").querySelectorAll(".dot").forEach((dot, place) => {
      dot.setAttribute("cx", at);
      dot.setAttribute("cy", y(entry.classifier[frame][place]));
    });
  }

  function legend(entry) {
    const swatch = (kind, words, dashed) => make("span", { class: "item" }, make("svg", { viewBox: "0 0 16 16", "aria-hidden": "true", class: "chart" }, make("line", { class: `line s${kind}${dashed ? " oracle" : ""}`, x1: 0, x2: 16, y1: 8, y2: 8 })), words);
    const shown = [swatch("0", named(entry.source)), swatch("1", named(entry.target))];
    if (entry.classes.length > 2) shown.push(swatch("x", "other classes"));
    if (entry.oracle_path) shown.push(swatch("x", "dashed, and the narrow bars: the oracle", true));
    find("#v-legend").replaceChildren(...shown);
  }

  function bars(entry) {
    const row = (kind) => make("div", { class: "row " + kind }, make("div", { class: "track" }, make("div", { class: "fill" })), make("span", { class: "value" }));
    find("#v-bars").replaceChildren(...entry.classes.map((name, place) => {
      const role = { 0: "source", 1: "target", x: "" }[kindOf(entry, place)];
      return make("div", { class: "bar " + role }, make("span", { class: "name", title: name }, named(name)),
        make("div", { class: "pair" }, row("classifier"), entry.oracle_path ? row("oracle") : null));
    }));
  }

  function level(entry, frame) {
    find("#v-bars").querySelectorAll(".bar").forEach((bar, place) => {
      for (const [kind, series] of [["classifier", entry.classifier], ["oracle", entry.oracle_path]]) {
        const row = bar.querySelector("." + kind);
        if (!row) continue;
        row.querySelector(".fill").style.width = `${100 * series[frame][place]}%`;
        row.querySelector(".value").textContent = series[frame][place].toFixed(2);
        row.title = `${kind}: ${series[frame][place].toFixed(3)}`;
      }
    });
  }

  /* moving */
  function stop() {
    if (view.playing !== null) clearInterval(view.playing);
    view.playing = null;
    find("#v-play").setAttribute("aria-pressed", "false");
    find("#v-play").textContent = "Play";
  }
  function play() {
    if (view.playing !== null) return stop();
    let step = 1;
    if (view.frame === view.entry.tau.length - 1) move(0);
    view.playing = setInterval(() => {
      if (view.frame + step > view.entry.tau.length - 1 || view.frame + step < 0) step = -step;
      move(view.frame + step);
    }, 160);
    find("#v-play").setAttribute("aria-pressed", "true");
    find("#v-play").textContent = "Stop";
  }
  let blinking = null;
  function flicker(on) {
    view.flicker = on;
    find("#v-flicker").setAttribute("aria-pressed", on);
    find("#v-side").setAttribute("aria-pressed", !on);
    clearInterval(blinking);
    view.showBefore = false;
    if (on) blinking = setInterval(() => { view.showBefore = !view.showBefore; move(view.frame); }, 650); // slower than three a second: safe to look at
    stage();
    move(view.frame);
  }
  addEventListener("resize", () => {
    if (!view.entry || !view.entry.sprite || view.entry.tau.length < 2) return;
    chart(view.entry);
    cursor(view.entry, view.frame);
  });
  function other(step) {
    const place = view.shown.findIndex((entry) => entry.id === view.entry.id), next = view.shown[place + step];
    if (next) show(next).then(() => list.querySelector("[aria-current=true]")?.scrollIntoView({ block: "nearest" }));
  }
  find("#v-slider").addEventListener("input", (event) => { stop(); move(Number(event.target.value)); });
  find("#v-play").addEventListener("click", play);
  find("#v-jump").addEventListener("click", () => { stop(); move(view.entry.boundary); });
  find("#v-side").addEventListener("click", () => flicker(false));
  find("#v-flicker").addEventListener("click", () => flicker(true));
  find("#v-overlay").addEventListener("change", () => move(view.frame));
  find("#v-strength").addEventListener("input", () => move(view.frame));
  find("#v-variant").addEventListener("change", (event) => show(all.find((entry) => entry.key === event.target.value)));
  find("#traversals").addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || typing(event.target) || !view.entry) return;
    const ranging = event.target.matches("input[type=range]"), pressing = event.target.matches("button, summary, input");
    const moving = view.entry.sprite && view.entry.tau.length > 1, overlay = find("#v-overlay");
    const act = {
      ArrowLeft: () => moving && move(view.frame - 1), ArrowRight: () => moving && move(view.frame + 1),
      ArrowUp: () => other(-1), ArrowDown: () => other(1),
      Home: () => moving && move(0), End: () => moving && move(view.entry.tau.length - 1),
      " ": () => moving && play(), f: () => moving && flicker(!view.flicker), b: () => moving && view.entry.boundary !== null && move(view.entry.boundary),
      o: () => { overlay.selectedIndex = (overlay.selectedIndex + 1) % overlay.options.length; move(view.frame); },
    }[event.key];
    if (!act || (event.key === " " && pressing) || (event.key.startsWith("Arrow") && ranging && event.target.id === "v-strength")) return;
    event.preventDefault();
    if (event.key !== " ") stop();
    act();
  });

  /* the first screen shows one */
  async function hero() {
    const fit = all.filter((e) => e.sprite && e.status === "found" && e.evidence_tile !== null && !e.wrong && e.oracle.end_agrees !== false);
    if (!fit.length) return;
    const masked = fit.filter((e) => e.dice !== null).sort((one, another) => one.dice - another.dice);
    const entry = masked.length ? masked[Math.floor(masked.length / 2)] : fit[0]; // not the most beautiful one
    const frames = await tiles(entry.sprite), last = entry.tau.length - 1, evidence = frames[entry.evidence_tile].data;
    const shown = overlaid(frames[0], SEQUENTIAL, (p) => brightness(evidence, p) / 255, (p) => 0.85 * Math.min(1, 2 * brightness(evidence, p) / 255));
    const parts = [[frames[entry.original_tile], ["as it is: ", named(spoken(entry, 0))]], [frames[last], ["changed: ", named(spoken(entry, last))]], [shown, ["where it changes"]]];
    find("#hero .tiles").replaceChildren(...parts.map(([pixels, caption]) => {
      const canvas = make("canvas", { role: "img", "aria-label": caption.map((part) => part.textContent ?? part).join("") });
      paint(canvas, pixels);
      return make("div", { class: "tile" }, canvas, make("div", { class: "note" }, ...caption));
    }));
    find("#hero figcaption").replaceChildren("Image ", named(entry.id), ": what turns the classifier’s answer, and where.",
      masked.length ? ` Of ${masked.length} images with a mask, the one of median overlap with it.` : "");
    find("#hero").hidden = false;
  }

  fill();
  hero();
  whenSeen(find("#viewer"), () => { if (view.entry === null) show(view.shown.find((e) => e.status === "found") ?? view.shown[0]); });

  return (key) => {
    const entry = all.find((one) => one.key === key);
    if (!entry) return;
    show(entry);
    find("#traversals").scrollIntoView();
    find("#viewer").focus({ preventScroll: true });
  };
})();
