"use strict";
(() => {
  const little = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1;
  const byId = (id) => document.getElementById(id);
  const root = document.documentElement;
  const FIRST = 12; // cards drawn at once, as many as a screen holds
  const CHUNK = 24; // and further ones while the page is scrolled to them
  const CARD_CELLS = 32; // pixels of a map's side on a card
  const VIEW_CELLS = 256; // and in the large view

  // ---------------------------------------------------------------- what every page has: theme, sections

  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  byId("theme").addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    keep();
  });
  for (const link of document.querySelectorAll("a[href^='#']")) {
    link.addEventListener("click", (event) => {
      event.preventDefault(); // the fragment holds the state
      const section = document.querySelector(link.hash);
      section.scrollIntoView();
      section.focus({ preventScroll: true });
    });
  }

  // ---------------------------------------------------------------- state: the form, and what no form holds

  const data = byId("data") ? JSON.parse(byId("data").textContent) : null;
  const large = Boolean(data?.columns); // numbers of all images are columns, and few images are drawn
  const PAGE = large ? 480 : Infinity; // cards in the document at a time
  const form = byId("controls");
  const names = form ? [...new Set([...form.elements].map((element) => element.name).filter(Boolean))] : [];
  const control = (name) => form.elements[name];
  const get = (name) => (control(name).type === "checkbox" ? (control(name).checked ? "1" : "0") : control(name).value);
  const numeric = (text, otherwise) => (Number.isFinite(Number(text)) ? text : otherwise);
  const set = (name, value) => {
    if (control(name).type === "checkbox") control(name).checked = value === "1";
    else if (control(name).type === "number") control(name).value = numeric(value, "");
    else control(name).value = value;
    if (get(name) !== value) control(name).value = defaults[name]; // a fragment may hold anything
  };
  let open = null; // place of the image in the large view
  let place = 0; // of the eps
  const defaults = {};

  // ---------------------------------------------------------------- images

  /** Numbers of a column, as the page packs them. */
  function unpack(packed) {
    const Kinds = { f4: Float32Array, f8: Float64Array, u1: Uint8Array, u2: Uint16Array };
    const read = (kind, text) => {
      const letters = atob(text);
      const bytes = new Uint8Array(letters.length);
      const width = Kinds[kind].BYTES_PER_ELEMENT;
      for (let at = 0; at < letters.length; at++) bytes[little ? at : at - (at % width) + width - 1 - (at % width)] = letters.charCodeAt(at);
      return new Kinds[kind](bytes.buffer);
    };
    const [kind] = Object.keys(packed).filter((name) => name !== "table");
    const numbers = read(kind, packed[kind]);
    if (!packed.table) return numbers;
    const table = read("f8", packed.table);
    return Float64Array.from(numbers, (code) => table[code]);
  }

  /** An image of a large run: a row of the columns and, where it is drawn, what is drawn of it. */
  class Row {
    constructor(columns, at, drawn) {
      Object.assign(this, drawn);
      this.drawn = Boolean(drawn);
      this.columns = columns;
      this.at = at;
      this.boxes ??= [];
    }

    get id() { return this.columns.ids[this.at]; }
    get label() { return this.columns.labels[this.at]; }
    get predictions() { return this.columns.predictions.map((column) => column[this.at]); }
    group(place) { return this.columns.outcomes[this.columns.groups[place][this.at]]; }
    value(key, place) {
      const columns = this.columns.values[key];
      const value = columns[columns.length > 1 ? place : 0][this.at];
      return Number.isNaN(value) ? null : value;
    }
  }

  const slots = new Map(data?.places?.map((at, slot) => [at, slot])); // place of an image -> that among the drawn ones
  const slotOf = (at) => (large ? slots.get(at) : at);

  /** The images of the page; of a large run made from its columns. */
  function readImages() {
    if (!large) return data.images;
    const packed = data.columns;
    const columns = { ...packed, labels: unpack(packed.labels), predictions: packed.predictions.map(unpack), groups: packed.groups.map(unpack) };
    columns.values = Object.fromEntries(Object.entries(packed.values).map(([key, all]) => [key, all.map(unpack)]));
    const drawn = ({ boxes, outline, share, maps, others, lime }) => ({ boxes, outline, share, maps, others, lime });
    return packed.ids.map((_, at) => new Row(columns, at, slots.has(at) ? drawn(data.images[slots.get(at)]) : undefined));
  }

  function keep() {
    const kept = new URLSearchParams();
    for (const name of names) if (get(name) !== defaults[name]) kept.set(name, get(name));
    if (root.dataset.theme) kept.set("theme", root.dataset.theme);
    if (open !== null) {
      kept.set("open", images[open].id);
      if (byId("slide").value !== "50") kept.set("slide", byId("slide").value);
    }
    const text = kept.toString();
    if (text !== location.hash.slice(1)) history.replaceState(null, "", text ? `#${text}` : location.href.split("#")[0]);
  }

  function restore() {
    const kept = new URLSearchParams(location.hash.slice(1));
    if (["light", "dark"].includes(kept.get("theme"))) root.dataset.theme = kept.get("theme");
    if (!data) return;
    for (const name of names) set(name, kept.get(name) ?? defaults[name]);
    byId("slide").value = numeric(kept.get("slide") ?? 50, 50);
    const wanted = kept.get("open");
    apply();
    const found = wanted === null ? -1 : images.findIndex((image) => image.id === wanted);
    if (found >= 0) show(found);
    else if (byId("view").open) byId("view").close();
  }

  // ---------------------------------------------------------------- values and words

  const number = (value, digits = 3) => (value === null ? "–" : value.toFixed(digits));
  const className = (label) => data.classes[label] ?? `class ${label}`;
  const valueOf = (image, key) => {
    if (large) return image.value(key, place);
    return Array.isArray(image.values[key]) ? image.values[key][place] : image.values[key];
  };

  const several = data?.methods ?? [];
  const sideBySide = () => several.length > 0 && get("method") === "all";
  const shownMethods = () => (sideBySide() ? several.map((_, at) => at) : [several.length ? Number(get("method")) : 0]);
  const mapsOf = (image, method) => (method ? image.others[method - 1] : image.maps);
  const isShown = (figure) => figure.method === null || shownMethods().includes(figure.method);

  /** Rows of figures: what it is -> its keys for clean, adversarial, or for both together. */
  function rowsOf(figures) {
    const rows = new Map();
    for (const figure of figures) rows.set(figure.row, { ...rows.get(figure.row), [figure.of]: figure.key });
    return [...rows];
  }

  function cellsOf(image, [row, keys]) {
    const told = (key) => (key ? number(valueOf(image, key)) : "");
    if (keys.clean || keys.adversarial) return [row, told(keys.clean), told(keys.adversarial)];
    return [row, told(Object.values(keys)[0])]; // one cell for both
  }

  const predictionsOf = (image) => ["predicted class", className(image.predictions[0]), className(image.predictions[1 + place])];

  // ---------------------------------------------------------------- drawing

  const STOPS = [[13, 8, 60], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 245, 150]]; // dark to bright for any eye
  const packed = (red, green, blue, alpha) => (little ? (alpha << 24) | (blue << 16) | (green << 8) | red : (red << 24) | (green << 16) | (blue << 8) | alpha) >>> 0;
  const colours = (alphaOf) => Uint32Array.from({ length: 256 }, (_, level) => {
    const at = (level / 255) * (STOPS.length - 1);
    const low = Math.min(Math.floor(at), STOPS.length - 2);
    return packed(...STOPS[low].map((channel, n) => Math.round(channel + (at - low) * (STOPS[low + 1][n] - channel))), alphaOf(level / 255));
  });
  const OVERLAY = colours((heat) => 70 + 130 * heat);
  const OPAQUE = colours(() => 255);
  const OUTLINE = packed(64, 224, 255, 255);

  /** Levels of a packed map on a grid of side x side, bilinear as the library enlarges maps; the level of zero. */
  function enlarge(map, side) {
    const bytes = Uint8Array.from(atob(map), (character) => character.charCodeAt(0));
    const [height, width] = data.map_shape;
    const along = (length) => Array.from({ length: side }, (_, pixel) => {
      const at = Math.min(Math.max(((pixel + 0.5) * length) / side - 0.5, 0), length - 1);
      return [Math.floor(at), Math.min(Math.floor(at) + 1, length - 1), at % 1];
    });
    const columns = along(width);
    const levels = new Float32Array(side * side);
    along(height).forEach(([top, bottom, down], y) => {
      columns.forEach(([left, right, across], x) => {
        const upper = bytes[1 + top * width + left] * (1 - across) + bytes[1 + top * width + right] * across;
        const lower = bytes[1 + bottom * width + left] * (1 - across) + bytes[1 + bottom * width + right] * across;
        levels[y * side + x] = upper * (1 - down) + lower * down;
      });
    });
    return { levels, zero: bytes[0] };
  }

  function paint(canvas, side, colourOf) {
    canvas.width = canvas.height = side;
    const colour = new Uint32Array(side * side);
    for (let pixel = 0; pixel < colour.length; pixel++) colour[pixel] = colourOf(pixel);
    canvas.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(colour.buffer), side), 0, 0);
  }

  function drawHeat(canvas, map, side, opaque) {
    const { levels, zero } = enlarge(map, side);
    const table = opaque ? OPAQUE : OVERLAY;
    const scale = zero < 255 ? 255 / (255 - zero) : 0;
    paint(canvas, side, (pixel) => table[Math.max(0, Math.round(scale * (levels[pixel] - zero)))]);
  }

  /** Outline of the highest cells, as many as the ground truth covers. */
  function drawArea(canvas, map, share) {
    const side = VIEW_CELLS;
    const { levels } = enlarge(map, side);
    const count = Math.round(share * side * side);
    const least = count ? Float32Array.from(levels).sort()[side * side - count] : Infinity;
    const inside = (x, y) => x >= 0 && y >= 0 && x < side && y < side && levels[y * side + x] >= least;
    const reach = [[2, 0], [-2, 0], [0, 2], [0, -2]];
    paint(canvas, side, (pixel) => {
      const [x, y] = [pixel % side, Math.floor(pixel / side)];
      return inside(x, y) && reach.some(([dx, dy]) => !inside(x + dx, y + dy)) ? OUTLINE : 0;
    });
  }

  function drawBoxes(svg, image) {
    svg.setAttribute("viewBox", `0 0 ${data.size[1]} ${data.size[0]}`);
    const drawn = (tag, attributes) => ["under", "over"].map((kind) => {
      const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [name, value] of Object.entries({ class: kind, ...attributes })) made.setAttribute(name, value);
      return made;
    });
    svg.replaceChildren(
      ...image.boxes.flatMap(([x0, y0, x1, y1]) => drawn("rect", { x: x0, y: y0, width: x1 - x0, height: y1 - y0 })),
      ...(image.outline ? drawn("path", { d: image.outline }) : []),
    );
  }

  const thumbnails = data && byId("pictures").textContent ? byId("pictures").textContent.split("\n") : null;
  const picturesOf = (at) => thumbnails?.[slotOf(at)]?.split(" ").map((text) => `data:image/jpeg;base64,${text}`) ?? null;
  const element = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text; // text, never markup: names come from files
    return made;
  };

  // ---------------------------------------------------------------- cards

  const groupOf = (image) => (large ? image.group(place) : image.groups[place]);
  const wordOf = (image) => data.outcomes[groupOf(image)] ?? groupOf(image);
  const isDrawn = (at) => !large || images[at].drawn;
  let order = []; // places of the images that fit, sorted
  let first = 0; // index in it of the first card
  let drawn = 0; // and of the first that is not in the document

  function tile(at, kind, of, method = 0) {
    const image = images[at];
    const step = of === "clean" ? 0 : 1 + place;
    const made = element("span", `tile ${kind}`);
    const pictures = picturesOf(at);
    if (pictures) {
      const picture = made.appendChild(element("img"));
      picture.src = pictures[step];
      picture.alt = `${image.id}, ${of}${kind === "picture" ? "" : `, ${kind}`}: predicted ${className(image.predictions[step])}`;
    }
    if (kind === "map") drawHeat(made.appendChild(element("canvas", "heat")), mapsOf(image, method)[step], CARD_CELLS, !pictures);
    if (kind === "lime-area") {
      const mask = `url(data:image/png;base64,${image.lime[step]})`;
      const lit = made.appendChild(pictures ? made.firstChild.cloneNode() : element("span", "plain"));
      lit.classList.add("lit");
      lit.alt = "";
      lit.style.maskImage = mask;
    }
    if (image.boxes.length || image.outline) drawBoxes(made.appendChild(svgOf("boxes")), image);
    return made;
  }

  function svgOf(name) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("class", name);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    return svg;
  }

  function card(at) {
    const image = images[at];
    const made = byId("card").content.firstElementChild.cloneNode(true);
    const button = made.firstElementChild;
    button.dataset.at = at;
    const group = groupOf(image);
    button.querySelector(".name").textContent = image.id;
    button.querySelector(".label").textContent = `label ${className(image.label)}`;
    button.querySelector(".badge").textContent = wordOf(image);
    button.querySelector(".badge").classList.add(group.replace(" ", "-"));
    const kinds = [picturesOf(at) && "picture", image.maps && get("maps") === "1" && "map", image.lime && control("lime") && get("lime") === "1" && "lime-area"];
    const tiles = button.querySelector(".tiles");
    for (const kind of kinds.filter(Boolean)) {
      for (const method of kind === "map" ? shownMethods() : [0]) {
        if (kind === "map" && sideBySide()) tiles.append(element("span", "of-method", several[method]));
        for (const of of ["clean", "adversarial"]) tiles.append(tile(at, kind, of, method));
      }
    }
    tiles.hidden = !tiles.childElementCount;
    const rows = button.querySelector(".rows");
    const sorted = data.figures.find((figure) => figure.key === get("sort"));
    const figures = data.figures.filter((figure) => (figure.drawn && isShown(figure)) || figure.row === sorted?.row);
    const lines = [["", "clean", "adversarial"], predictionsOf(image), ...rowsOf(figures).map((row) => cellsOf(image, row))];
    for (const [name, ...cells] of lines) {
      rows.append(element("span", sorted?.row === name ? "term sorted" : "term", name));
      for (const cell of cells) rows.append(element("span", cells.length === 1 ? "value both" : "value", cell));
    }
    button.setAttribute("aria-label", `${image.id}, ${wordOf(image)}. Label ${className(image.label)}. ${lines.slice(1).map(([name, clean, adversarial]) => `${name} ${clean}${adversarial === undefined ? "" : `, adversarial ${adversarial}`}`).join("; ")}`);
    return made;
  }

  function more(count) {
    const next = order.slice(drawn, Math.min(drawn + count, first + PAGE));
    drawn += next.length;
    byId("cards").append(...next.map(card));
    end.unobserve(byId("more")); // to be told anew whether the end is near
    end.observe(byId("more"));
  }

  const end = new IntersectionObserver((seen) => {
    // in the frame after this one, which shows the first cards
    if (seen.at(-1).isIntersecting) requestAnimationFrame(() => drawn < Math.min(order.length, first + PAGE) && more(CHUNK));
  }, { rootMargin: "800px" });

  /** Put the first cards from an index of the order on into the document, in place of others. */
  function turn(index) {
    first = drawn = index;
    byId("cards").replaceChildren();
    more(FIRST);
    if (!large) return;
    const last = Math.min(first + PAGE, order.length);
    byId("pages").hidden = order.length <= PAGE;
    byId("page").textContent = `${[first + 1, last].map((number) => number.toLocaleString("en")).join(" to ")} of ${order.length.toLocaleString("en")}`;
    byId("page-before").disabled = first === 0;
    byId("page-after").disabled = last === order.length;
  }

  function connectPages() {
    for (const [name, by] of [["page-before", -PAGE], ["page-after", PAGE]]) {
      byId(name).addEventListener("click", () => {
        turn(first + by);
        byId("cards").querySelector(".card").focus({ preventScroll: true });
        byId("cards").scrollIntoView();
      });
    }
  }

  // ---------------------------------------------------------------- choice and order

  function chosen() {
    const [group, label, text] = [get("group"), get("class"), get("text").trim().toLowerCase()];
    const low = get("low") === "" ? null : Number(get("low"));
    const high = get("high") === "" ? null : Number(get("high"));
    const named = remembered((number) => className(number).toLowerCase().includes(text));
    const fits = (image) => {
      if (group !== "all" && groupOf(image) !== group) return false;
      if (label && String(image.label) !== label) return false;
      if (text && !image.id.toLowerCase().includes(text) && ![image.label, ...image.predictions].some(named)) return false;
      if (low === null && high === null) return true;
      const value = valueOf(image, get("figure"));
      return value !== null && value >= (low ?? -Infinity) && value <= (high ?? Infinity);
    };
    const found = [...images.keys()].filter((at) => fits(images[at]));
    const key = get("sort");
    if (!key || key === "run") {
      if (get("order") === "down") found.reverse();
      return large && !key ? [...found.filter(isDrawn), ...found.filter((at) => !isDrawn(at))] : found;
    }
    const sign = get("order") === "down" ? -1 : 1;
    const values = images.map((image) => valueOf(image, key));
    return found.sort((one, other) => {
      if (values[one] === null || values[other] === null) return (values[one] === null) - (values[other] === null); // the last ones
      return sign * (values[one] - values[other]) || one - other;
    });
  }

  /** A function of one argument that computes each result once. */
  function remembered(compute) {
    const known = new Map();
    return (argument) => {
      if (!known.has(argument)) known.set(argument, compute(argument));
      return known.get(argument);
    };
  }

  function apply() {
    place = Math.max(0, data.eps.indexOf(get("eps")));
    for (const one of document.querySelectorAll("[data-eps]")) one.hidden = one.dataset.eps !== data.eps[place];
    for (const one of document.querySelectorAll("[data-method]")) one.hidden = !shownMethods().includes(Number(one.dataset.method));
    const counts = { all: images.length };
    for (const image of images) counts[groupOf(image)] = (counts[groupOf(image)] ?? 0) + 1;
    for (const count of document.querySelectorAll("[data-count]")) {
      const group = count.dataset.count;
      count.textContent = (counts[group] ?? 0).toLocaleString("en");
      count.closest("label").hidden = !counts[group] && get("group") !== group;
    }
    order = chosen();
    byId("cards").classList.toggle("without-boxes", get("boxes") === "0");
    turn(0);
    byId("count").textContent = `${order.length.toLocaleString("en")} of ${images.length.toLocaleString("en")} images`;
    byId("empty").hidden = order.length > 0;
    if (open !== null) fill();
    keep();
  }

  // ---------------------------------------------------------------- the large view

  function show(at) {
    open = at;
    fill();
    if (!byId("view").open) byId("view").showModal();
    byId("view-name").focus();
    keep();
  }

  function fill() {
    const image = images[open];
    const at = order.indexOf(open);
    byId("view-place").textContent = at < 0 ? "not among the images chosen" : `${at + 1} of ${order.length.toLocaleString("en")}`;
    byId("view-name").textContent = image.id;
    const group = element("span", `badge ${groupOf(image).replace(" ", "-")}`, wordOf(image));
    byId("view-group").replaceChildren(group, ` label ${className(image.label)} · attack's ε ${data.eps[place]}`);
    const lines = [predictionsOf(image), ...rowsOf(data.figures.filter(isShown)).map((row) => cellsOf(image, row))];
    byId("view-figures").replaceChildren(...lines.map(([name, ...cells]) => {
      const line = element("tr");
      line.append(element("th", "", name), ...cells.map((cell) => element("td", "", cell)));
      line.firstChild.scope = "row";
      if (cells.length === 1) line.lastChild.colSpan = 2;
      return line;
    }));
    if (large) {
      const command = byId("undrawn").querySelector("code");
      byId("undrawn").hidden = isDrawn(open);
      command.textContent = `${command.dataset.draw} ${/^[\w@%+=:./-]+$/.test(image.id) ? image.id : `'${image.id.replaceAll("'", "'\"'\"'")}'`}`;
      for (const part of document.querySelectorAll("#stage, .slider, .stage-side .shown, .text-side .setting")) part.hidden = !isDrawn(open);
    }
    for (const layer of document.querySelectorAll("#stage .layer")) fillLayer(layer, image);
    drawBoxes(byId("stage").querySelector(".boxes"), image);
    if (several.length) fillMethods(image);
    for (const name of ["before", "after"]) byId(name).disabled = order.length < 2 && at >= 0;
    slide();
  }

  function fillLayer(layer, image) {
    const step = layer.dataset.of === "clean" ? 0 : 1 + place;
    const [picture, pictures] = [layer.querySelector("img"), picturesOf(open)];
    picture.hidden = !pictures;
    if (pictures) picture.src = pictures[step];
    picture.alt = `${image.id}, ${layer.dataset.of}: predicted ${className(image.predictions[step])}`;
    for (const kind of ["heat", "area"]) layer.querySelector(`.${kind}`).hidden = !image.maps;
    if (image.maps) {
      const [method] = shownMethods();
      const map = mapsOf(image, method)[step];
      drawHeat(layer.querySelector(".heat"), map, VIEW_CELLS, !pictures);
      const atPixels = data.at_pixels.length > 0 && (several.length === 0 || data.at_pixels.includes(several[method]));
      layer.querySelector(".area").hidden = atPixels;
      if (!atPixels) drawArea(layer.querySelector(".area"), map, image.share);
    }
    const lime = layer.querySelector(".lime");
    lime.hidden = !image.lime;
    if (image.lime) lime.style.maskImage = `url(data:image/png;base64,${image.lime[step]})`;
  }

  /** The maps of all methods, clean and adversarial; each pair's button shows its method on the stage. */
  function fillMethods(image) {
    byId("view-method").textContent = ` of ${several[shownMethods()[0]]}`;
    byId("methods").hidden = !image.maps;
    if (!image.maps) return;
    byId("methods").replaceChildren(...several.map((name, method) => {
      const button = element("button", "method");
      button.type = "button";
      button.setAttribute("aria-pressed", String(shownMethods()[0] === method));
      const tiles = button.appendChild(element("span", "tiles"));
      for (const of of ["clean", "adversarial"]) tiles.append(tile(open, "map", of, method));
      button.append(element("span", "of-method", name));
      button.addEventListener("click", () => {
        set("method", String(method));
        apply();
        byId("methods").children[method].focus();
      });
      return button;
    }));
  }

  function slide() {
    byId("stage").style.setProperty("--at", `${byId("slide").value}%`);
    byId("slide").setAttribute("aria-valuetext", `${byId("slide").value} % clean`);
  }

  function step(by) {
    if (!order.length) return;
    const at = order.indexOf(open);
    show(order[(Math.max(at, by > 0 ? -1 : 0) + by + order.length) % order.length]);
  }

  function closed() {
    const at = order.indexOf(open);
    open = null;
    if (at >= 0 && (at < first || at >= first + PAGE)) turn(at - (at % PAGE));
    while (at >= drawn) more(CHUNK);
    document.querySelector(`.card[data-at="${order[at]}"]`)?.focus();
    keep();
  }

  function connectView() {
    const view = byId("view");
    view.addEventListener("close", closed);
    view.addEventListener("click", (event) => event.target === view && view.close()); // the dark around it
    byId("close").addEventListener("click", () => view.close());
    byId("before").addEventListener("click", () => step(-1));
    byId("after").addEventListener("click", () => step(1));
    byId("slide").addEventListener("input", () => { slide(); keep(); });
    const drag = (event) => {
      if (event.type === "pointermove" && !event.buttons) return;
      const frame = byId("stage").getBoundingClientRect();
      byId("slide").value = Math.round((100 * (event.clientX - frame.left)) / frame.width);
      slide();
      keep();
    };
    byId("stage").addEventListener("pointerdown", drag);
    byId("stage").addEventListener("pointermove", drag);
    view.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!by || event.target.id === "slide") return; // there arrows move the slider
      event.preventDefault();
      step(by);
    });
    for (const box of view.querySelectorAll("[data-overlay]")) {
      const toggle = () => byId("stage").classList.toggle(`without-${box.dataset.overlay}`, !box.checked);
      box.addEventListener("input", toggle);
      toggle();
    }
  }

  /** Arrow keys move between cards as the eye sees them. */
  function walk(event) {
    const cards = [...byId("cards").querySelectorAll(".card")];
    const at = cards.indexOf(document.activeElement);
    const columns = Math.max(1, cards.filter((one) => one.getBoundingClientRect().top === cards[0].getBoundingClientRect().top).length);
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (at < 0 || !by || !cards[at + by]) return;
    event.preventDefault();
    cards[at + by].focus();
  }

  // ---------------------------------------------------------------- small screens

  /** Fold what stands before the images where the screen is narrow, and unfold what a link leads to. */
  function connectFolds() {
    const narrow = matchMedia("(max-width: 760px)").matches;
    if (narrow && data) for (const part of document.querySelectorAll("[data-fold]")) part.open = false;
    for (const link of document.querySelectorAll("nav a")) {
      link.addEventListener("click", () => {
        const part = document.querySelector(`${link.getAttribute("href")} > details.part`);
        if (part) part.open = true;
      });
    }
    byId("filters")?.addEventListener("click", () => {
      const open = form.classList.toggle("open");
      byId("filters").setAttribute("aria-expanded", open);
    });
    const watch = new ResizeObserver((entries) => {
      for (const { target } of entries) target.classList.toggle("wider", target.scrollWidth > target.clientWidth + 1);
    });
    for (const one of document.querySelectorAll(".scroll")) watch.observe(one);
  }

  // ---------------------------------------------------------------- beginning

  const images = data ? readImages() : [];
  if (data) {
    root.style.setProperty("--frame", `${data.size[1]} / ${data.size[0]}`);
    const labels = [...new Set(images.map((image) => image.label))].sort((one, other) => one - other);
    for (const label of labels) {
      const text = data.classes[label] && data.classes[label] !== String(label) ? `${label} ${data.classes[label]}` : className(label);
      control("class").append(new Option(text, label));
    }
    for (const name of names) defaults[name] = get(name);
    form.addEventListener("input", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    control("eps").addEventListener("input", apply);
    byId("all").addEventListener("click", () => {
      for (const name of ["group", "class", "text", "low", "high"]) set(name, defaults[name]);
      apply();
    });
    byId("cards").addEventListener("click", (event) => {
      const button = event.target.closest(".card");
      if (button) show(Number(button.dataset.at));
    });
    byId("cards").addEventListener("keydown", walk);
    connectView();
    if (large) connectPages();
  }
  connectFolds();
  addEventListener("hashchange", restore);
  restore();
})();
