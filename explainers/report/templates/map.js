(() => {
  const map = report.map;
  if (!map || !map.points) return;
  const EDGE = 34, svg = find("#m-svg"), tip = find("#m-tip"), live = find("#m-live");
  const points = map.points, classes = map.classes;
  const nameOf = (value) => value === null || value === -1 ? "unknown" : typeof value === "number" ? classes[value] : value;
  const colourOf = (name) => { const place = classes.indexOf(name); return place < 0 ? "#8a9299" : report.colours.classes[place % report.colours.classes.length]; };
  const shapeOf = (name) => { const place = classes.indexOf(name); return place < 0 ? 0 : place % SHAPES.length; };
  /* classes differ by shape as well as by colour */
  const SHAPES = [
    (r) => `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`,
    (r) => `M${-r} ${-r}h${2 * r}v${2 * r}h${-2 * r}z`,
    (r) => `M0 ${-1.3 * r}L${1.25 * r} ${0.95 * r}H${-1.25 * r}z`,
    (r) => `M0 ${-1.35 * r}L${1.35 * r} 0L0 ${1.35 * r}L${-1.35 * r} 0z`,
    (r) => `M0 ${1.3 * r}L${1.25 * r} ${-0.95 * r}H${-1.25 * r}z`,
  ];
  const state = { layout: map.layouts[0], places: [], current: -1, drag: null };

  choices(find("#m-layout"), map.layouts.map((one) => [one.method, { pca: "principal axes (PCA)", tsne: "t-SNE", umap: "UMAP" }[one.method]]));

  function scaled(layout) {
    const xs = layout.xy.map((p) => p[0]), ys = layout.xy.map((p) => p[1]);
    const low = [Math.min(...xs), Math.min(...ys)], high = [Math.max(...xs), Math.max(...ys)];
    const span = [high[0] - low[0] || 1, high[1] - low[1] || 1];
    return ([x, y]) => [EDGE + (x - low[0]) / span[0] * (WIDTH - 2 * EDGE), HEIGHT - EDGE - (y - low[1]) / span[1] * (HEIGHT - 2 * EDGE)];
  }

  function lookOf(point) {
    const by = find("#m-colour").value;
    if (by === "prediction" || by === "label") { const name = nameOf(point[by]); return [colourOf(name), shapeOf(name)]; }
    if (by === "probability") {
      const place = 3 * Math.round(255 * Math.max(0, Math.min(1, (point.probability - report.map.lowest) / (1 - report.map.lowest))));
      return [`rgb(${SEQUENTIAL[place]},${SEQUENTIAL[place + 1]},${SEQUENTIAL[place + 2]})`, 0];
    }
    const label = nameOf(point.label);
    return label === "unknown" ? ["#8a9299", 0] : label === nameOf(point.prediction) ? ["#56b4e9", 0] : ["#d55e00", 2];
  }

  let WIDTH = 960, HEIGHT = 560;
  function draw() {
    WIDTH = Math.max(280, find("#m-wrap").clientWidth);
    HEIGHT = Math.round(Math.max(300, Math.min(WIDTH * 0.62, innerHeight * 0.74)));
    svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    const to = scaled(state.layout), flat = state.layout.method === "pca", parts = [];
    state.to = to;
    state.places = state.layout.xy.map(to);
    find("#m-paths-label").hidden = !flat || !Object.keys(map.paths).length;
    if (flat && find("#m-paths").checked) for (const key of Object.keys(map.paths)) parts.push(way(key, "way"));
    points.forEach((point, place) => {
      const [colour, shape] = lookOf(point), [x, y] = state.places[place], explained = Boolean(point.traversals);
      const dot = make("path", { class: explained ? "hit explained" : "hit", d: SHAPES[shape](explained ? 6.2 : 4), transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`, fill: colour });
      dot.dataset.place = place;
      parts.push(dot);
      if (point.marks.includes("prototype") && find("#m-prototype").checked) parts.push(make("circle", { class: "mark", cx: x, cy: y, r: 11 }));
      if (point.marks.includes("line_end") && find("#m-line_end").checked) parts.push(make("circle", { class: "core", cx: x, cy: y, r: 2.2 }));
      if (point.marks.includes("outliers") && find("#m-outliers").checked) parts.push(make("rect", { class: "mark", x: x - 8, y: y - 8, width: 16, height: 16 }));
      if (point.marks.includes("label_issues") && find("#m-label_issues").checked) parts.push(make("path", { class: "mark", d: `M${x - 8} ${y - 8}l16 16M${x + 8} ${y - 8}l-16 16` }));
    });
    parts.push(make("text", { class: "axis", x: WIDTH / 2, y: HEIGHT - 8, "text-anchor": "middle" }, state.layout.axes[0]));
    parts.push(make("text", { class: "axis", transform: `translate(16 ${HEIGHT / 2}) rotate(-90)`, "text-anchor": "middle" }, state.layout.axes[1]));
    svg.replaceChildren(...parts);
    marked = -1;
    const words = { pca: "", tsne: " Distances between groups mean nothing on this layout.", umap: " Distances between groups mean nothing on this layout." }[state.layout.method];
    find("#m-note").textContent = `${points.length} images; ${(100 * state.layout.trust).toFixed(0)} % trustworthiness: how far near neighbours here are near among the codes.${words}`
      + (map.thumbnails_left_out ? ` Small pictures of ${map.thumbnails_left_out} images were left out to keep the file small.` : map.sheets ? "" : " Small pictures of training images, and lines between codes, are there once the command manifold has run.");
    legend();
  }

  const way = (key, kind) => make("polyline", { class: kind, points: map.paths[key].map((p) => state.to(p).map((v) => v.toFixed(1)).join(",")).join(" ") });

  function legend() {
    const by = find("#m-colour").value;
    const item = (colour, shape, words) => make("span", { class: "item" }, make("svg", { viewBox: "-8 -8 16 16", "aria-hidden": "true" }, make("path", { d: SHAPES[shape](5.5), fill: colour })), words);
    let shown;
    if (by === "prediction" || by === "label") {
      const present = new Set(points.map((point) => nameOf(point[by])));
      shown = [...classes.filter((name) => present.has(name)).map((name) => item(colourOf(name), shapeOf(name), named(name))), present.has("unknown") ? item("#8a9299", 0, "unknown") : null].filter(Boolean);
    } else if (by === "correct") shown = [item("#56b4e9", 0, "as labelled"), item("#d55e00", 2, "not as labelled"), item("#8a9299", 0, "no label")];
    else shown = [0, 0.5, 1].map((share) => { const place = 3 * Math.round(255 * share); return item(`rgb(${SEQUENTIAL[place]},${SEQUENTIAL[place + 1]},${SEQUENTIAL[place + 2]})`, 0, (map.lowest + share * (1 - map.lowest)).toFixed(2)); });
    find("#m-legend").replaceChildren(...shown);
  }

  const words = (point) => `${point.id}: predicted ${nameOf(point.prediction)} with ${point.probability.toFixed(2)}, label ${nameOf(point.label)}, ` + (point.traversals ? "explained" : "training image");

  function hover(place) {
    svg.querySelector(".current:not(.asked)")?.remove();
    state.current = place;
    if (place < 0) { tip.hidden = true; return; }
    const point = points[place], [x, y] = state.places[place];
    svg.append(make("circle", { class: "current", cx: x, cy: y, r: 10 }));
    const lines = [make("strong", {}, named(point.id)), make("br"), "predicted ", named(nameOf(point.prediction)), ` (${point.probability.toFixed(2)})`, make("br"), "label ", named(nameOf(point.label))];
    if (point.marks.length) lines.push(make("br"), point.marks.map((m) => ({ prototype: "prototype of its class", line_end: "end of computed lines", outliers: "outlier", label_issues: "likely label error" })[m]).join(", "));
    if (point.traversals) lines.push(make("br"), "select to open its traversal");
    tip.replaceChildren(...lines);
    const first = point.traversals && report.traversals.find((entry) => entry.key === point.traversals[0]);
    const canvas = make("canvas", { role: "img", "aria-label": `Image ${point.id}` });
    if (first && first.sprite) { tip.prepend(canvas, make("br")); paintTile(canvas, first.sprite, first.original_tile); }
    else if (point.tile) { tip.prepend(canvas, make("br")); paintTile(canvas, map.sheets[point.tile[0]], point.tile[1]); }
    tip.hidden = false;
    const wrap = find("#m-wrap").getBoundingClientRect(), box = svg.getBoundingClientRect(), matrix = svg.getScreenCTM();
    const left = matrix.a * x + matrix.e - wrap.left, top = matrix.d * y + matrix.f - wrap.top;
    tip.style.left = `${Math.max(0, Math.min(left + 14, box.width - 205))}px`;
    tip.style.top = `${Math.max(0, Math.min(top + 14, box.height - tip.offsetHeight))}px`;
    live.textContent = words(point);
  }

  function position(event) {
    const matrix = svg.getScreenCTM().inverse();
    return [matrix.a * event.clientX + matrix.e, matrix.d * event.clientY + matrix.f];
  }
  function nearest([x, y], within) {
    let best = -1, least = within * within;
    state.places.forEach(([u, v], place) => {
      const distance = (u - x) ** 2 + (v - y) ** 2;
      if (distance < least) { least = distance; best = place; }
    });
    return best;
  }
  function open(place) {
    const point = points[place];
    if (point?.traversals) openTraversal(point.traversals[0]);
  }

  svg.addEventListener("pointermove", (event) => {
    const at = position(event);
    if (state.drag) {
      state.drag.line.setAttribute("x2", at[0]);
      state.drag.line.setAttribute("y2", at[1]);
      state.drag.moved ||= Math.hypot(at[0] - state.drag.from[0], at[1] - state.drag.from[1]) > 12;
    }
    const place = nearest(at, 14);
    if (place !== state.current) hover(place);
  });
  svg.addEventListener("pointerleave", () => { if (!state.drag) hover(-1); });
  svg.addEventListener("pointerdown", (event) => {
    const from = position(event);
    state.drag = { from, moved: false, line: make("line", { class: "drag", x1: from[0], y1: from[1], x2: from[0], y2: from[1] }) };
    svg.append(state.drag.line);
    if (event.pointerType === "mouse") svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointercancel", () => { state.drag?.line.remove(); state.drag = null; });
  svg.addEventListener("pointerup", (event) => {
    const drag = state.drag;
    state.drag = null;
    if (!drag) return;
    drag.line.remove();
    if (drag.moved) between(nearest(drag.from, Infinity), nearest(position(event), Infinity));
    else open(nearest(position(event), 14));
  });

  /* between which codes images were computed: lines between representative images, and the paths of explained ones */
  const startOf = new Map(points.flatMap((point, place) => (point.traversals ?? []).map((key) => [key, place])));
  const computed = [
    ...(map.lines ?? []).map((line) => ({ line, from: line.from, to: line.to, start: map.places[line.from], end: map.places[line.to] })),
    ...Object.keys(map.ends).filter((key) => startOf.has(key)).map((key) => ({ entry: report.traversals.find((one) => one.key === key), from: startOf.get(key), to: null, start: map.places[startOf.get(key)], end: map.ends[key] })),
  ];
  const gap = (one, other) => Math.hypot(...one.map((value, axis) => value - other[axis]));

  /* the computed line that is nearest to the one from code to code that was asked for, and how near it is */
  function between(from, to) {
    if (from === to || from < 0 || to < 0 || !computed.length) return;
    const length = gap(map.places[from], map.places[to]) || 1;
    const away = (one) => [gap(one.start, map.places[from]), gap(one.end, map.places[to])];
    const best = computed.reduce((least, one) => { const [a, b] = away(one); return a + b < least[1] ? [one, a + b] : least; }, [null, Infinity])[0];
    const shares = away(best).map((distance) => distance / length);
    showLine(best, from, to, shares);
  }

  function showLine(one, from, to, [first, last]) {
    const percent = (share) => `${(100 * share).toFixed(0)} %`, goal = one.line ? named(points[one.to].id) : named(one.entry.target);
    const near = first + last === 0 ? ["These images were computed on that very line."]
      : [`It begins ${percent(first)} and ends ${percent(last)} of that line’s length away from it.`, first + last > 1 ? " None lies near; this is the nearest." : ""];
    const said = ["You asked from ", named(points[from].id), " to ", named(points[to].id), ". Shown: ", named(points[one.from].id), " with its class code moved towards ", one.line ? "that of " : "the class ", goal, ". ", ...near, " "];
    find("#m-strip-wrap").hidden = false;
    find("#m-strip-note").replaceChildren(...said, one.entry ? make("button", { type: "button", onclick: () => openTraversal(one.entry.key) }, "Open it") : "");
    const { sprite, classes, classifier } = one.line ?? one.entry, last_frame = classifier.length - 1;
    find("#m-strip").replaceChildren(...classifier.map((row, frame) => {
      const best = row.indexOf(Math.max(...row)), at = one.line ? frame / last_frame : one.entry.tau[frame];
      const canvas = make("canvas", { role: "img", "aria-label": `${points[one.from].id} at ${percent(at)} of the line: ${classes[best]}, ${row[best].toFixed(2)}` });
      paintTile(canvas, sprite, frame);
      return make("figure", {}, canvas, make("figcaption", {}, named(classes[best]), ` ${row[best].toFixed(2)}`));
    }));
    mark(one);
    live.textContent = find("#m-strip-note").textContent;
  }

  function mark(one) {
    for (const old of svg.querySelectorAll(".near")) old.remove();
    const flat = state.layout.method === "pca"; // the only layout on which a line between codes is a line
    if (flat && one.entry && map.paths[one.entry.key]) svg.append(way(one.entry.key, "way near"));
    if (flat && one.line) svg.append(make("polyline", { class: "way near", points: [one.from, one.to].map((place) => state.places[place].join(",")).join(" ") }));
    for (const place of [one.from, one.to]) if (place !== null) svg.append(make("circle", { class: "near end", cx: state.places[place][0], cy: state.places[place][1], r: 12 }));
  }

  /* by keyboard: the space bar marks one end, then the other */
  let marked = -1;
  function markEnd(place) {
    if (place < 0) return;
    svg.querySelector(".asked")?.remove();
    if (marked < 0) {
      marked = place;
      svg.append(make("circle", { class: "current asked", cx: state.places[place][0], cy: state.places[place][1], r: 14 }));
      live.textContent = `A line from ${points[place].id}: go to another dot and press space.`;
      return;
    }
    between(marked, place);
    marked = -1;
  }

  svg.addEventListener("keydown", (event) => {
    const towards = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Enter" && state.current >= 0) { event.preventDefault(); return open(state.current); }
    if (event.key === " ") { event.preventDefault(); return markEnd(state.current); }
    if (event.key === "Escape") { marked = -1; svg.querySelector(".asked")?.remove(); return hover(-1); }
    if (!towards) return;
    event.preventDefault();
    if (state.current < 0) return hover(Math.max(0, points.findIndex((point) => point.traversals)));
    const [x, y] = state.places[state.current];
    let best = -1, least = Infinity;
    state.places.forEach(([u, v], place) => {
      const along = (u - x) * towards[0] + (v - y) * towards[1], aside = Math.abs((u - x) * towards[1]) + Math.abs((v - y) * towards[0]);
      if (along <= 0.01) return;
      const cost = along + 2 * aside;
      if (cost < least) { least = cost; best = place; }
    });
    if (best >= 0) hover(best);
  });

  function lists() {
    const titles = { label_issues: "Likely label errors and likely errors of the classifier", outliers: "Outliers: far from every training code" };
    const made = Object.entries(map.lists).filter(([, rows]) => rows.length).map(([name, rows]) => make("details", {}, make("summary", {}, `${titles[name]} (${rows.length})`),
      make("ul", { class: "plain-list" }, ...rows.map((row) => {
        const place = points.findIndex((point) => point.id === row.id);
        const text = [named(row.id), ` · label `, named(row.label || "unknown"), ` · predicted `, named(row.prediction), ` · neighbours `, named(row.neighbours)];
        return make("li", {}, place < 0 ? make("span", {}, ...text) : make("button", { type: "button", onclick: () => { svg.scrollIntoView({ block: "center" }); hover(place); } }, ...text));
      }))));
    find("#m-lists").replaceChildren(...made);
  }

  for (const id of ["#m-colour", "#m-prototype", "#m-line_end", "#m-outliers", "#m-label_issues", "#m-paths"]) find(id).addEventListener("change", draw);
  find("#m-layout").addEventListener("change", (event) => { hover(-1); state.layout = map.layouts.find((one) => one.method === event.target.value); draw(); });
  whenSeen(find("#m-wrap"), () => {
    draw();
    lists();
    let width = innerWidth;
    addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; hover(-1); draw(); } });
  });
})();
