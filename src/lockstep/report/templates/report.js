"use strict";
(() => {
  const one = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const element = (name, className, text) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const vector = (name, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };

  // ---- light and dark

  const button = one("#theme");
  const remembered = (() => { try { return localStorage.getItem("lockstep-theme"); } catch { return null; } })();
  const dark = () => (document.documentElement.dataset.theme
    || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const told = () => { button.textContent = dark() ? "Light" : "Dark"; };
  if (remembered === "light" || remembered === "dark") document.documentElement.dataset.theme = remembered;
  button.hidden = false;
  told();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", told);
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("lockstep-theme", document.documentElement.dataset.theme); } catch { /* a page without storage forgets it */ }
    told();
  });

  // ---- a culprit that is linked to is opened; what is folded is printed

  const openTarget = () => {
    const id = decodeURIComponent(location.hash.slice(1));
    if (!id.startsWith("culprit-")) return;
    const target = document.getElementById(id);
    if (target) { target.open = true; target.scrollIntoView({ block: "start" }); }
  };
  addEventListener("hashchange", openTarget);
  openTarget();
  let folded = [];
  const brief = (each) => !each.closest("#steps") || one("pre", each).textContent.split("\n").length <= 60;
  addEventListener("beforeprint", () => {
    folded = all("#culprits details:not([open]), #steps details:not([open])").filter(brief);
    for (const each of folded) each.open = true;
  });
  addEventListener("afterprint", () => { for (const each of folded) each.open = false; });

  // ---- long tables can be searched

  for (const input of all("[data-filter]")) {
    const rows = all("tbody tr", input.closest("details"));
    input.parentElement.hidden = false;
    input.addEventListener("input", () => {
      const words = input.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
    });
  }

  // ---- the map

  const source = one("#programs");
  if (!source) return;
  const { strings, modes, files } = JSON.parse(source.textContent);
  const number = (value) => value === "inf" ? Infinity : value;
  const side = (packed) => packed === 0 ? null : {
    name: strings[packed[0]], scope: strings[packed[1]], type: strings[packed[2]], source: strings[packed[3]], tensor: strings[packed[4]],
  };
  const figure = (value) => value === null ? "" : value === 0 ? "0" : value === Infinity ? "not finite"
    : Math.abs(value) >= 1e-4 && Math.abs(value) < 1e4 ? String(Number(value.toPrecision(2)))
    : value.toExponential(1).replace(/e([+-])(\d)$/, "e$10$2");
  const times = (value) => value === null ? "" : value === Infinity ? "unbounded"
    : value >= 10 ? `${Math.round(value).toLocaleString("en")} ×` : `${figure(value)} ×`;
  const colour = (row) => row.state !== "within" && row.state !== "beyond" ? row.state
    : row.state === "within" ? (row.ratio !== null && row.ratio <= 0.1 ? "low" : "within")
    : row.ratio !== null && row.ratio <= 100 ? "beyond" : "far";
  const RANK = ["inside", "identical", "low", "within", "harmless", "beyond", "far"];
  const bad = (kind) => kind === "beyond" || kind === "far";

  const programs = modes.map(({ mode, rows }) => ({
    mode,
    rows: rows.map(([state, culprit, reference, candidate, ratio, error, budget, free, rounding], place) => {
      const row = { place, state, culprit, reference: side(reference), candidate: side(candidate), ratio: number(ratio),
        error: number(error), budget: number(budget), free: number(free), rounding: number(rounding) };
      row.kind = colour(row);
      row.text = [row.reference, row.candidate].map((s) => s ? `${s.name} ${s.type} ${s.source}` : "").join(" ").toLowerCase();
      return row;
    }),
  }));
  const nameOf = (row) => (row.reference || row.candidate).name;
  // The rounds of a loop have one name: the second is `name:2`.
  for (const { rows } of programs) {
    const seen = new Map();
    for (const row of rows) {
      const round = (seen.get(nameOf(row)) || 0) + 1;
      seen.set(nameOf(row), round);
      row.address = round === 1 ? nameOf(row) : `${nameOf(row)}:${round}`;
    }
  }

  // A tree of the reference's scopes; what the candidate has alone stands where it was computed.
  const treeOf = (rows) => {
    const root = { label: "", depth: 0, children: new Map(), items: [], rows: [] };
    let last = [];
    for (const row of rows) {
      if (row.reference) last = row.reference.name.split("/").slice(0, -1);
      let node = root;
      node.rows.push(row);
      for (const part of last) {
        if (!node.children.has(part)) {
          const child = { label: part, depth: node.depth + 1, children: new Map(), items: [], rows: [] };
          node.children.set(part, child);
          node.items.push(child);
        }
        node = node.children.get(part);
        node.rows.push(row);
      }
      node.items.push(row);
    }
    const merged = (node) => {
      node.items = node.items.map((item) => {
        let child = item;
        while (child.items && child.items.length === 1 && child.items[0].items) {
          child = { ...child.items[0], label: `${child.label}/${child.items[0].label}` };
        }
        return child.items ? merged(child) : child;
      });
      return node;
    };
    return merged(root);
  };

  // The candidate's scope that stands for one of the reference's: as many levels up from its operations, and the most
  // frequent of these, as some may be computed elsewhere.
  const opposite = (node) => {
    const counts = new Map();
    for (const { reference, candidate } of node.rows) {
      if (!reference || !candidate) continue;
      const below = reference.name.split("/").length - node.depth;
      const scope = candidate.name.split("/").slice(0, -below).join("/");
      counts.set(scope, (counts.get(scope) || 0) + 1);
    }
    return [...counts].reduce((best, each) => each[1] > best[1] ? each : best, ["", 0])[0];
  };

  const strip = (rows) => {
    const cells = Math.min(rows.length, 48);
    const drawn = vector("svg", { class: "strip", viewBox: `0 0 ${cells} 1`, preserveAspectRatio: "none", "aria-hidden": "true" });
    for (let cell = 0; cell < cells; cell += 1) {
      const part = rows.slice(Math.floor(cell * rows.length / cells), Math.floor((cell + 1) * rows.length / cells));
      const worst = part.reduce((found, row) => RANK.indexOf(row.kind) > RANK.indexOf(found) ? row.kind : found, "inside");
      const before = drawn.lastChild;
      if (before && before.getAttribute("class") === worst) before.setAttribute("width", Number(before.getAttribute("width")) + 1);
      else drawn.append(vector("rect", { class: worst, x: cell, y: 0, width: 1, height: 1 }));
    }
    return drawn;
  };

  const tree = one(".tree");
  const found = one(".found");
  const search = one("#search");
  const only = one("#only");
  let current = null;

  const quiet = (text) => element("span", "quiet", text);
  const cells = (row) => {
    const [left, middle, right] = ["cell left", "middle", "cell right"].map((name) => element("span", name));
    row.append(left, middle, right);
    return [left, middle, right];
  };
  const leaf = (name) => name.slice(name.lastIndexOf("/") + 1);

  const scopeRow = (node, depth) => {
    const row = element("div", "row scope");
    const [left, middle, right] = cells(row);
    const count = node.rows.length;
    left.append(element("span", "twist"), element("span", "label", node.label), quiet(`${count.toLocaleString("en")}`));
    const worst = node.rows.reduce((most, each) => RANK.indexOf(each.kind) > RANK.indexOf(most.kind) ? each
      : each.kind === most.kind && (each.ratio || 0) > (most.ratio || 0) ? each : most);
    middle.append(strip(node.rows), element("span", "value", worst.ratio && worst.kind !== "harmless" ? times(worst.ratio) : ""));
    const theirs = opposite(node);
    if (theirs) right.append(element("span", "label", leaf(theirs)));
    right.title = theirs;
    left.title = node.rows.find((each) => each.reference)?.reference.name.split("/").slice(0, node.depth).join("/") || "";
    if (bad(worst.kind)) row.classList.add("bad");
    row.setAttribute("aria-expanded", "false");
    row.setAttribute("aria-label", `${node.label}, ${count} operations, ${bad(worst.kind) ? "something is to blame in it" : "nothing to blame"}`);
    prepare(row, depth);
    const group = element("div", "group");
    group.setAttribute("role", "group");
    group.hidden = true;
    row.open = (wanted) => {
      if (wanted && !group.childElementCount) fill(group, node, depth + 1);
      group.hidden = !wanted;
      row.setAttribute("aria-expanded", String(wanted));
    };
    row.holds = (wanted) => node.rows.includes(wanted);
    row.addEventListener("click", () => row.open(group.hidden));
    return [row, group];
  };

  const operationRow = (each, depth) => {
    const row = element("div", "row operation");
    const [left, middle, right] = cells(row);
    left.append(element("span", "twist"));
    for (const [cell, told] of [[left, each.reference], [right, each.candidate]]) {
      if (!told) { cell.append(quiet("no single counterpart")); continue; }
      cell.append(element("span", "label", leaf(told.name)));
      cell.append(quiet([told.type, told.source.slice(told.source.lastIndexOf("/") + 1)].filter(Boolean).join("  ")));
      cell.title = `${told.name}\n${told.source}`;
    }
    if (each.culprit) {
      const link = element("a", "ordinal", each.culprit);
      link.href = `#culprit-${each.culprit}`;
      link.setAttribute("aria-label", `culprit ${each.culprit}`);
      link.addEventListener("click", (event) => event.stopPropagation());
      left.insertBefore(link, left.children[1]);
    }
    middle.append(element("span", `chip ${each.kind}`), element("span", "value", each.ratio && each.kind !== "harmless" ? times(each.ratio) : ""));
    if (bad(each.kind)) row.classList.add("bad");
    row.dataset.place = each.place;
    row.setAttribute("aria-expanded", "false");
    prepare(row, depth);
    const more = element("div", "more");
    more.hidden = true;
    more.style.setProperty("--depth", depth);
    row.open = (wanted) => {
      if (wanted && !more.childElementCount) detail(more, each);
      more.hidden = !wanted;
      row.setAttribute("aria-expanded", String(wanted));
    };
    row.addEventListener("click", () => {
      row.open(more.hidden);
      history.replaceState(null, "", `#${anchor(each)}`);
    });
    return [row, more];
  };

  const prepare = (row, depth) => {
    row.setAttribute("role", "treeitem");
    row.setAttribute("aria-level", depth + 1);
    row.tabIndex = -1;
    row.style.setProperty("--depth", depth);
  };
  const anchor = (each) => `map/${current.mode}/${encodeURI(each.address)}`;

  const excerpt = (told) => {
    const at = told.source.lastIndexOf(":");
    const lines = files[told.source.slice(0, at)];
    const line = Number(told.source.slice(at + 1));
    if (!lines || !lines[line]) return null;
    const pre = element("pre", "excerpt");
    const code = element("code");
    for (let n = line - 3; n <= line + 3; n += 1) {
      if (lines[n] === undefined) continue;
      const shown = element("span", n === line ? "line named" : "line");
      shown.append(element("span", "number", n), lines[n]);
      code.append(shown);
    }
    pre.append(code);
    return pre;
  };

  const SAID = {
    identical: "computes what the reference computes, by construction",
    within: "differs by no more than its noise budget",
    beyond: "differs by more than its noise budget: it is to blame",
    harmless: "is off where it was compared, and yet both programs return the same in float64: written otherwise",
    inside: "compared as part of a larger place, as the other side computes the same otherwise",
  };
  const detail = (more, each) => {
    more.append(element("p", "", SAID[each.state]));
    const figures = element("dl", "figures");
    const facts = { "error, forced run": figure(each.error), "noise budget": figure(each.budget), "error / budget": times(each.ratio),
      "error, free run": figure(each.free), "reference from float64": figure(each.rounding) };
    for (const [name, value] of Object.entries(facts)) {
      if (!value) continue;
      const pair = element("div");
      pair.append(element("dt", "", name), element("dd", "", value));
      figures.append(pair);
    }
    const sides = element("div", "sides");
    for (const [title, told] of [["reference", each.reference], ["candidate", each.candidate]]) {
      const shown = element("figure");
      const caption = element("figcaption");
      caption.append(element("span", "side", title));
      if (told) {
        caption.append(element("code", "", told.name), quiet(`${told.type}  ${told.tensor}`), element("span", "source", told.source));
      } else {
        caption.append(quiet("no single counterpart"));
      }
      shown.append(caption);
      const lines = told && excerpt(told);
      if (lines) shown.append(lines);
      sides.append(shown);
    }
    more.append(figures, sides);
  };

  const fill = (into, node, depth) => {
    const made = [];
    for (const item of node.items) made.push(...(item.items ? scopeRow(item, depth) : operationRow(item, depth)));
    into.append(...made);
  };

  const shownRows = () => all(".row", tree).filter((row) => row.offsetParent !== null);
  const focus = (row) => {
    if (!row) return;
    for (const each of all('.row[tabindex="0"]', tree)) each.tabIndex = -1;
    row.tabIndex = 0;
    row.focus();
  };
  tree.addEventListener("keydown", (event) => {
    const row = event.target.closest(".row");
    if (!row || event.target !== row) return;
    const rows = shownRows();
    const place = rows.indexOf(row);
    const level = Number(row.getAttribute("aria-level"));
    const open = row.getAttribute("aria-expanded") === "true";
    const moves = {
      ArrowDown: () => focus(rows[place + 1]),
      ArrowUp: () => focus(rows[place - 1]),
      Home: () => focus(rows[0]),
      End: () => focus(rows[rows.length - 1]),
      ArrowRight: () => open ? focus(rows[place + 1]) : row.open(true),
      ArrowLeft: () => open ? row.open(false) : focus(rows.slice(0, place).reverse().find((each) => Number(each.getAttribute("aria-level")) < level)),
      Enter: () => row.click(),
      " ": () => row.click(),
    };
    if (moves[event.key]) { event.preventDefault(); moves[event.key](); }
  });

  const draw = () => {
    const words = search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const rows = current.rows.filter((row) => (!only.checked || (row.kind !== "identical" && row.kind !== "inside"))
      && words.every((word) => row.text.includes(word)));
    const narrowed = words.length > 0 || only.checked;
    found.textContent = narrowed ? `${rows.length.toLocaleString("en")} of ${current.rows.length.toLocaleString("en")} operations` : `${rows.length.toLocaleString("en")} operations`;
    tree.replaceChildren();
    const root = treeOf(rows);
    fill(tree, root, 0);
    // A search that leaves few is shown as it is; a single scope at the top says nothing.
    const unfold = () => { for (const row of all(".row.scope", tree)) if (row.getAttribute("aria-expanded") === "false") row.open(true); };
    if (narrowed && rows.length <= 60) for (let level = 0; level < 20 && one('.row.scope[aria-expanded="false"]', tree); level += 1) unfold();
    else if (tree.children.length <= 4) unfold();
    const first = one(".row", tree);
    if (first) first.tabIndex = 0;
  };

  const choose = (mode) => {
    current = programs.find((each) => each.mode === mode) || programs[0];
    for (const each of all(".modes button")) each.setAttribute("aria-pressed", String(each.textContent === current.mode));
    draw();
  };

  // Unfolds the way to an operation, marks it and shows what is known of it.
  const reveal = (mode, name) => {
    const program = programs.find((each) => each.mode === mode);
    const wanted = program && (program.rows.find((row) => row.address === name)
      || program.rows.find((row) => [row.reference, row.candidate].some((s) => s && s.name === name)));
    if (!wanted) return;
    if (search.value || only.checked) { search.value = ""; only.checked = false; current = null; }
    if (current !== program) choose(mode);
    const parts = (wanted.reference || wanted.candidate).name.split("/");
    let row = null;
    for (let level = 0; level <= parts.length && !row; level += 1) {
      row = one(`.row.operation[data-place="${wanted.place}"]`, tree);
      if (row) break;
      const holding = all('.row.scope[aria-expanded="false"]', tree).filter((each) => each.holds(wanted));
      if (!holding.length) break;
      for (const each of holding) each.open(true);
    }
    if (!row) return;
    for (const each of all(".row.chosen", tree)) each.classList.remove("chosen");
    for (let group = row.parentElement; group && group !== tree; group = group.parentElement) {
      if (group.hidden && group.previousElementSibling && group.previousElementSibling.open) group.previousElementSibling.open(true);
    }
    row.classList.add("chosen");
    row.open(true);
    focus(row);
    row.scrollIntoView({ block: "center" });
  };

  const follow = () => {
    const [kind, mode, ...rest] = decodeURI(location.hash.slice(1)).split("/");
    if (kind === "map" && mode) reveal(mode, rest.join("/"));
  };

  for (const { mode } of programs) {
    const made = element("button", "", mode);
    made.type = "button";
    made.addEventListener("click", () => choose(mode));
    one(".modes").append(made);
  }
  search.addEventListener("input", draw);
  search.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { search.value = ""; draw(); }
    if (event.key === "Enter" || event.key === "ArrowDown") { event.preventDefault(); focus(one(".row.operation", tree) || one(".row", tree)); }
  });
  only.addEventListener("change", draw);
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|TEXTAREA)$/.test(event.target.tagName) && !event.ctrlKey && !event.metaKey) { event.preventDefault(); search.focus(); }
  });
  for (const link of all(".to-map")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      const [mode, ...rest] = link.dataset.operation.split("/");
      location.hash = `map/${mode}/${encodeURI(rest.join("/"))}`;
    });
  }
  addEventListener("hashchange", follow);
  choose((programs.find((each) => each.rows.some((row) => row.culprit)) || programs[0]).mode);
  follow();

  // ---- the charts of depth say what lies under the pointer, and lead to it

  for (const shown of all("figure.depth")) {
    const program = programs.find((each) => each.mode === shown.dataset.mode);
    const chart = one("svg", shown);
    const cursor = one(".cursor", chart);
    const readout = one(".readout", shown);
    const axis = one(".axis", chart);
    const places = JSON.parse(shown.dataset.places);
    const summary = readout.textContent;
    const left = Number(axis.getAttribute("x1"));
    const right = Number(axis.getAttribute("x2"));
    const at = (event) => {
      const box = chart.getBoundingClientRect();
      const x = (event.clientX - box.left) * chart.viewBox.baseVal.width / box.width;
      const last = places.length - 1;
      return Math.min(Math.max(Math.round((x - left) / (right - left) * last), 0), last);
    };
    chart.addEventListener("pointermove", (event) => {
      const place = at(event);
      const row = program.rows[places[place]];
      const x = left + (right - left) * place / Math.max(places.length - 1, 1);
      for (const name of ["x1", "x2"]) cursor.setAttribute(name, x);
      cursor.setAttribute("visibility", "visible");
      const parts = [["free", row.free], ["forced", row.error], ["budget", row.budget]].filter(([, value]) => value !== null);
      readout.textContent = [nameOf(row), ...parts.map(([name, value]) => `${name} ${figure(value)}`)].join("   ");
    });
    chart.addEventListener("pointerleave", () => { cursor.setAttribute("visibility", "hidden"); readout.textContent = summary; });
    chart.addEventListener("click", (event) => {
      if (!event.target.closest("a")) location.hash = `map/${program.mode}/${encodeURI(program.rows[places[at(event)]].address)}`;
    });
  }
})();
