(() => {
  const folders = report.folders;
  if (!folders.length) return;
  const state = { folder: folders[0], image: null, maps: [], originals: [], over: true };
  choices(find("#c-folder"), folders.map((one, place) => [place, one.name]));
  find("#c-folder-label").hidden = folders.length < 2;

  function look(image) {
    const tile = image.original_tile, sheet = tile === null || tile === undefined ? image.maps : image.originals;
    return { sheet, tile: tile ?? 0, label: `Image ${image.id}`, title: image.id };
  }

  function pick() {
    if (!fillPicker(find("#c-picker"), state.folder.images, look, show))
      find("#c-cards").replaceChildren(make("p", { class: "note" }, "No map of this folder fits into the file."));
  }

  async function show(image) {
    state.image = image;
    markPicked(find("#c-picker"), image);
    const maps = await tiles(image.maps), originals = image.originals ? await tiles(image.originals) : [];
    if (state.image !== image) return;
    state.maps = maps;
    state.originals = originals;
    const cards = image.methods.map(card), first = image.original_tile;
    if (first !== null && first !== undefined) {
      const canvas = make("canvas", { role: "img", "aria-label": `Image ${image.id}, the original` });
      paint(canvas, originals[first]);
      cards.unshift(make("div", {}, make("h3", {}, "original"), make("figure", { class: "tile" }, canvas, make("figcaption", {}, named(image.id)))));
    }
    find("#c-cards").replaceChildren(...cards);
    redraw();
  }

  function card(method) {
    const rows = [["class", named(method.target)], ["its probability", method.probability.toFixed(2)], ["images scored", number(method.evaluations)], ["seconds", number(method.seconds)]];
    for (const [name, value] of Object.entries(method.scores ?? {})) if (name !== "evaluations") rows.push([name.replaceAll("_", " "), value.toFixed(3)]);
    const canvas = make("canvas", { role: "img", "aria-label": `Map of ${method.name} for ${state.image.id}`, class: "c-map" });
    canvas.dataset.tile = method.tile;
    canvas.dataset.signed = method.signed ? "1" : "";
    const picture = method.picture_tile === undefined ? null : make("figure", { class: "tile" }, make("canvas", { role: "img", class: "c-picture", "aria-label": `What ${method.name} keeps of ${state.image.id}` }), make("figcaption", {}, "what is kept"));
    if (picture) picture.firstChild.dataset.tile = method.picture_tile;
    const parts = method.parts ? make("div", { class: "parts" }, ...method.parts.map((part, place) => {
      const cut = make("canvas", { role: "img", class: "c-part", "aria-label": `Explanation ${place + 1} of ${method.name}: ${(100 * part.size).toFixed(1)} % of the image` });
      cut.dataset.tile = part.tile;
      const sure = part.confidence === null ? "" : `, ${part.confidence.toFixed(2)}`;
      return make("figure", { class: "tile" }, cut, make("figcaption", {}, `${(100 * part.size).toFixed(1)} %${sure}`));
    })) : null;
    const note = parts ? make("p", { class: "note" }, `${method.found} explanations, each enough alone: share of the image, probability`) : null;
    return make("div", {}, make("h3", {}, named(method.name)),
      make("figure", { class: "tile" }, canvas, make("figcaption", {}, method.largest === 0 ? "the map is 0 everywhere" : `largest value ${number(method.largest)}`)),
      picture, note, parts, make("dl", {}, ...rows.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)))));
  }

  function ground(width, height) {
    const tile = state.image.original_tile;
    if (tile !== null && tile !== undefined && state.originals[tile].width === width) return state.originals[tile];
    return new ImageData(new Uint8ClampedArray(4 * width * height).fill(255), width, height);
  }

  function redraw() {
    const strength = find("#c-strength").value / 100;
    for (const canvas of document.querySelectorAll("#c-cards .c-map")) {
      const map = state.maps[canvas.dataset.tile], value = (place) => (map.data[4 * place] - 128) / 127;
      const bare = new ImageData(new Uint8ClampedArray(map.data.length).fill(255), map.width, map.height);
      const signed = canvas.dataset.signed === "1", base = state.over ? ground(map.width, map.height) : bare;
      const weight = state.over ? (place) => 0.85 * strength * Math.abs(value(place)) : () => 1;
      const shade = state.over ? (place) => strong(value(place)) : signed ? (place) => 0.5 + 0.5 * strength * value(place) : (place) => strength * value(place);
      paint(canvas, overlaid(base, signed || state.over ? DIVERGING : SEQUENTIAL, shade, weight));
    }
    for (const canvas of document.querySelectorAll("#c-cards .c-picture")) paint(canvas, state.originals[canvas.dataset.tile]);
    for (const canvas of document.querySelectorAll("#c-cards .c-part")) {
      const mask = state.maps[canvas.dataset.tile], base = ground(mask.width, mask.height);
      const made = new ImageData(new Uint8ClampedArray(base.data), base.width, base.height);
      for (let place = 0; place < made.data.length / 4; place++) made.data[4 * place + 3] = mask.data[4 * place] > 127 ? 255 : 38;
      paint(canvas, made);
    }
  }

  const over = (on) => { state.over = on; find("#c-over").setAttribute("aria-pressed", on); find("#c-alone").setAttribute("aria-pressed", !on); redraw(); };
  find("#c-over").addEventListener("click", () => over(true));
  find("#c-alone").addEventListener("click", () => over(false));
  find("#c-strength").addEventListener("input", redraw);
  find("#c-folder").addEventListener("change", (event) => { state.folder = folders[event.target.value]; pick(); });
  whenSeen(find("#c-cards"), pick);
})();
