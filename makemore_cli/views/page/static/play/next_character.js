"use strict";
// The next character after the beginning of a name, and the loss of what has been typed.

const MOST_BARS = 60;
const LONGEST_PREFIX = LONGEST_SAMPLED_NAME;
const HIGHEST_TEMPERATURE = 3;

/** A card in which one types the beginning of a name and sees what may follow. */
function nextCharacterCard(play) {
  const input = make("input", {
    type: "text", class: "prefix", autocomplete: "off", autocapitalize: "none", spellcheck: "false",
    oninput: () => play.change({ prefix: input.value }),
  });
  const problem = make("p", { class: "wrong", role: "status" });
  const note = make("p", { class: "quiet" });
  const typed = make("div", { class: "typed" });
  const spoken = make("p", { role: "status" });
  const title = make("h3");
  const remark = make("p", { class: "quiet" });
  const bars = nextCharacterBars(play, (token) => choose(token));
  const [sofar, next] = [make("div", {}, typed, spoken), make("div", {}, title, bars.element, remark)];
  const card = make(
    "section",
    { class: "card", "aria-label": "Next character" },
    make("h2", {}, "Next character"),
    make("div", { class: "row" }, make("label", {}, "Beginning of a name", input), button("Clear", clear)),
    problem,
    note,
    sofar,
    predictionControls(play),
    next,
  );

  function clear() {
    play.change({ prefix: "" }, { entry: true });
    input.focus();
  }

  /** Append a character, or say how good the name is that ends here. */
  function choose(token) {
    const { text, tokens } = play.prefix;
    if (token !== 0) return play.change({ prefix: text + play.letters.all[token] }, { entry: true });
    const probabilities = tokenProbabilities(play.network, tokens);
    spoken.replaceChildren("The name ends here. ", ...nameSummary(play, text, probabilities));
  }

  function update() {
    const { prefix, temperature, topK } = play.settings;
    const { text, tokens, lowered, problem: wrong } = play.prefix;
    if (input.value !== prefix) input.value = prefix;
    input.setAttribute("aria-invalid", String(wrong !== null));
    problem.replaceChildren(...(wrong ?? []));
    note.replaceChildren(...(wrong === null ? loweredNote(lowered) : []));
    for (const part of [sofar, next]) setStale(part, wrong !== null);
    const isEmpty = text === "";
    const probabilities = tokenProbabilities(play.network, tokens);
    typed.hidden = isEmpty;
    typed.replaceChildren(letterTable([...text, END], probabilities, play.shades), shadeLegend(play.shades));
    const hint = ["Type a name, or choose its first character below."];
    spoken.replaceChildren(...(isEmpty ? hint : nameSummary(play, text, probabilities)));
    title.replaceChildren(...(isEmpty ? ["First character"] : ["After ", quoted(text)]));
    remark.textContent = bars.show(probabilitiesAfter(play.network, tokens, { temperature, topK }));
  }

  play.inspect = (name) => {
    play.change({ prefix: name }, { entry: true });
    input.focus();
  };
  play.onChange(update);
  return card;
}

/**
 * What has been typed, as characters that the network knows, and as nodes what is wrong with it, or null. If something
 * is wrong, the characters are still those of the beginning before.
 */
function readPrefix(letters, typed, before) {
  const { tokens, unknown, lowered } = letters.encode(typed);
  const problem = prefixProblem(letters, tokens, unknown);
  return problem === null ? { text: letters.decode(tokens), tokens, lowered, problem } : { ...before, problem };
}

/** Dim a part that shows what came before something wrong, and take it out of reach. */
function setStale(part, isStale) {
  part.inert = isStale;
  part.classList.toggle("stale", isStale);
}

/** What is wrong with the beginning of a name, as nodes, or null. */
function prefixProblem(letters, tokens, unknown) {
  if (unknown.includes(END)) return [`“${END}” ends a name. It can't stand inside one.`];
  if (unknown.length > 0) return unknownCharacters(letters, unknown);
  if (tokens.length <= LONGEST_PREFIX) return null;
  return [`A name has at most ${LONGEST_PREFIX} characters here. This one has ${grouped(tokens.length)}.`];
}

/** Which characters the network does not know, and which it knows. */
function unknownCharacters(letters, unknown) {
  const known = letters.all.slice(1, 1 + MOST_BARS).map(visible).join(" ");
  const more = letters.all.length > 1 + MOST_BARS ? " …" : "";
  const all = make("bdi", {}, known + more);
  return ["The network does not know ", ...quotedList(unknown), ". Its characters are: ", all];
}

/** Which characters are read as small letters, as nodes. */
function loweredNote(lowered) {
  if (lowered.length === 0) return [];
  const small = lowered.map((letter) => letter.toLowerCase());
  return [...quotedList(lowered), lowered.length === 1 ? " is read as " : " are read as ", ...quotedList(small), "."];
}

function quotedList(letters) {
  return letters.flatMap((letter, place) => (place ? [", ", quoted(letter)] : [quoted(letter)]));
}

/** The loss of a whole name, and whether it is new. */
function nameSummary(play, name, probabilities) {
  const loss = meanLoss(probabilities);
  const kind = play.kinds.kind(name);
  return [
    quoted(name), " as a whole name: ", make("strong", {}, `${lossText(loss)} nats per character`),
    `, perplexity ${shown(Math.exp(loss))}. `,
    kind === "unknown" ? "It may be new." : `It is ${KIND_TEXTS[kind]}.`,
  ];
}

/** The temperature, the number of possible characters, and the order of the bars. */
function predictionControls(play) {
  const V = play.letters.all.length;
  const output = make("output", { class: "amount" });
  const temperature = make("input", {
    type: "range", min: 0, max: HIGHEST_TEMPERATURE, step: 0.05,
    oninput: () => play.change({ temperature: Number(temperature.value) }),
  });
  const topK = make("input", {
    type: "number", min: 1, max: V, step: 1, class: "short",
    onchange: () => play.change({ topK: topK.value === "" ? V : Number(topK.value) }),
  });
  const alphabetical = make("input", {
    type: "checkbox", onchange: () => play.change({ order: alphabetical.checked ? "alphabet" : "probability" }),
  });
  play.onChange(() => {
    const { settings } = play;
    [temperature.value, topK.value] = [settings.temperature, settings.topK];
    alphabetical.checked = settings.order === "alphabet";
    output.textContent = settings.temperature === 0 ? "0 (only the likeliest)" : settings.temperature.toFixed(2);
  });
  return make(
    "div",
    { class: "row" },
    make("label", {}, "Temperature", temperature, output),
    make("label", {}, "Top-k", topK, make("span", { class: "quiet" }, `of ${grouped(V)} characters`)),
    make("label", {}, alphabetical, "Alphabetical order"),
  );
}

/** Bars that are buttons: {element, show(probabilities)}. */
function nextCharacterBars(play, choose) {
  const tokens = []; // of the buttons
  const buttons = Array.from({ length: Math.min(MOST_BARS, play.letters.all.length) }, (_, place) =>
    button("", () => choose(tokens[place]), { class: "bar" }),
  );
  const element = make("div", { class: "bars", role: "toolbar", "aria-label": "Append a character" }, ...buttons);
  const refresh = roving(element);

  /** Returns what the reader must know about the bars. */
  function show(probabilities) {
    const best = likeliest(probabilities, buttons.length);
    const covered = best.reduce((sum, token) => sum + probabilities[token], 0);
    if (play.settings.order === "alphabet") best.sort((a, b) => a - b);
    best.forEach((token, place) => {
      tokens[place] = token;
      const [letter, p] = [play.letters.all[token], probabilities[token]];
      buttons[place].dataset.letter = letter;
      buttons[place].style.setProperty("--part", p);
      const amount = make("span", { class: "percent" }, p === 0 ? "–" : percent(p));
      buttons[place].replaceChildren(letterElement(letter, { class: "letter" }), amount);
    });
    refresh();
    const V = grouped(probabilities.length);
    const some = `These are the ${best.length} likeliest of ${V} characters. Together they have ${percent(covered)}. `;
    const without = "“–” marks the characters that the temperature or top-k excludes.";
    const isExcluded = best.some((token) => probabilities[token] === 0);
    return (best.length < probabilities.length ? some : "") + (isExcluded ? without : "");
  }

  return { element, show };
}
