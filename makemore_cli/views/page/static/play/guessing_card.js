"use strict";
// The card of the guessing game.

const LAST_ROUNDS = 8; // in the table

/** A card with the game. */
function guessingCard(play) {
  const V = play.letters.all.length;
  const players = playersOf(V);
  let game = null;
  let seed = null;
  let picks = [];
  let unknown = []; // characters among the picks
  const input = make("input", {
    type: "text", class: "picks", autocomplete: "off", autocapitalize: "none", spellcheck: "false",
    "aria-describedby": "game-shares", oninput: () => typed(),
  });
  const shares = make("p", { id: "game-shares", class: "quiet shares" });
  const problem = make("p", { class: "wrong", role: "status" });
  const known = make("p", { class: "known" });
  const outcome = make("div", { role: "status", class: "outcome" });
  const score = make("dl", { class: "score" });
  const origin = make("p", { class: "quiet" });
  const rounds = make("table");
  const keys = pickKeys(play, toggle);
  const form = make(
    "form", { class: "row" },
    make("label", {}, "Your picks", input),
    make("button", { class: "main" }, "Reveal"),
    button("Start again", restart),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    reveal();
  });

  /** Picks from the keyboard: the first characters that are possible, each once. */
  function typed() {
    const letters = [...new Set(input.value)];
    const tokens = letters.map((letter) => play.letters.token(letter));
    const known = [...new Set(tokens.filter((token) => token !== undefined))];
    unknown = letters.filter((_, place) => tokens[place] === undefined);
    picks = known.slice(0, mostPicks(V));
    const excess = known.length > picks.length ? [`Only the first ${picks.length} count. `] : [];
    problem.replaceChildren(...excess, ...(unknown.length > 0 ? unknownCharacters(play.letters, unknown) : []));
    showPicks();
  }

  /** A pick with a button: choose the character, or take it back. */
  function toggle(token) {
    if (picks.includes(token)) picks = picks.filter((pick) => pick !== token);
    else if (picks.length < mostPicks(V)) picks = [...picks, token];
    forget(play.letters.decode(picks));
    showPicks();
  }

  /** Forget what was wrong with the picks. */
  function forget(text) {
    input.value = text;
    unknown = [];
    problem.replaceChildren();
  }

  function showPicks() {
    input.setAttribute("aria-invalid", String(unknown.length > 0));
    shares.replaceChildren(...pickShares(play, picks));
    keys.show(picks);
  }

  function reveal() {
    if (unknown.length > 0) {
      problem.replaceChildren("Nothing is revealed yet. ", ...unknownCharacters(play.letters, unknown));
      input.focus();
      return;
    }
    if (game.rounds.length === 0) address.set({ "play.game": seed });
    const { round, name } = game.guess(picks);
    outcome.replaceChildren(...outcomeOf(play, round, name));
    picks = [];
    forget("");
    show();
  }

  function restart() {
    start(anySeed());
    address.set({ "play.game": null });
    input.focus();
  }

  function start(from) {
    seed = from;
    game = new GuessingGame(play, seed);
    picks = [];
    forget("");
    outcome.replaceChildren("What is the first character of the first name?");
    origin.textContent = originOf(game);
    show();
  }

  function show() {
    known.replaceChildren(...knownPart(play, game.known));
    score.replaceChildren(...scoreOf(game, players));
    rounds.replaceChildren(...roundRows(play, game.rounds, players));
    rounds.hidden = game.rounds.length === 0;
    showPicks();
  }

  play.onChange(() => {
    const { game: linked } = play.settings;
    if (game === null || (linked !== null && linked !== seed)) start(linked ?? anySeed());
  });
  return make(
    "section",
    { class: "card", "aria-label": "Guess the next character" },
    make("h2", {}, "Guess the next character"),
    make("p", {}, gameRule(V)),
    make("details", {}, make("summary", {}, "How a guess is scored"), make("p", {}, gameScoring(play.network.sizes))),
    origin,
    known,
    outcome,
    form,
    problem,
    shares,
    keys.element,
    score,
    scrolling("The last guesses", rounds),
  );
}

function gameRule(V) {
  const most = mostPicks(V);
  const pick = most === 1 ? "Pick a character" : `Pick up to ${most} characters, the likeliest first`;
  return `${pick}, and reveal the next one. “.” is the end of the name.`;
}

function gameScoring({ V, T }) {
  const given = sharesOf(mostPicks(V));
  const shares = given.length === 1 ? `Your pick gets ${given[0]}%`
    : `Your picks get ${given.slice(0, -1).join(", ")} and ${given.at(-1)}%`;
  return (
    `${shares}, and the other characters share the rest evenly. Without a pick, all ${grouped(V)} are equally ` +
    "likely. The loss is −ln of the probability of the actual next character, so lower is better. You see the " +
    `whole beginning of the name. The network sees only the last ${T === 1 ? "character" : `${T} characters`}.`
  );
}

function originOf({ isSampled, names }) {
  if (isSampled) {
    return "The page has no held-out names. The network generates the names instead, which gives it an advantage.";
  }
  return `The names come from ${grouped(names.length)} held-out names, on which the network was not trained.`;
}

/** The beginning of the name that has been revealed. */
function knownPart(play, known) {
  const letters = known.map((token) => make("bdi", { class: "letter" }, visible(play.letters.all[token])));
  const label = make("span", { class: "visually-hidden" }, "The name so far: ");
  return [label, ...letters, make("span", { class: "letter next" }, "?")];
}

/** What the picks give to each character. */
function pickShares(play, picks) {
  const V = play.letters.all.length;
  const other = [...play.letters.all.keys()].find((token) => !picks.includes(token));
  const others = pickedProbabilities(picks, V)[other];
  const letter = (token) => letterElement(play.letters.all[token]);
  const parts = picks.flatMap((token, place) => [letter(token), ` ${percent(PICK_SHARES[place])} · `]);
  return [...parts, `each ${picks.length === 0 ? "" : "other "}character ${percent(others)}`];
}

/** Buttons for picks, if there are not too many characters: {element, show(picks)}. */
function pickKeys(play, toggle) {
  const tokens = play.letters.all.length <= MOST_KEYS ? [...play.letters.all.keys()] : [];
  const buttons = tokens.map((token) =>
    button("", () => toggle(token), { class: "key", "data-letter": play.letters.all[token], "aria-pressed": "false" }),
  );
  buttons.forEach((one, token) => one.append(letterElement(play.letters.all[token])));
  const attributes = { class: "keys", role: "toolbar", "aria-label": "Pick characters", hidden: tokens.length === 0 };
  const element = make("div", attributes, ...buttons);
  roving(element);

  function show(picks) {
    buttons.forEach((one, token) => one.setAttribute("aria-pressed", String(picks.includes(token))));
  }

  return { element, show };
}

/** What came, and what it cost. */
function outcomeOf(play, { token, losses }, name) {
  const [letter, question] = name === null
    ? [letterElement(play.letters.all[token]), "What comes next?"]
    : [make("strong", {}, "the end: ", quoted(name)), "Now the next name: what is its first character?"];
  const cost = `. Your loss is ${lossText(losses.you)} nats, the network's ${lossText(losses.network)}. `;
  return ["It was ", letter, cost, question];
}

function scoreOf(game, players) {
  const characters = game.rounds.length;
  const over = characters === 0 ? "" : `, over ${grouped(characters)}`;
  return Object.entries(players).map(([player, { title }]) =>
    make(
      "div", { "data-player": player },
      make("dt", {}, title),
      make("dd", {}, characters === 0 ? "–" : game.mean(player).toFixed(2)),
      make("dd", { class: "quiet" }, `nats per character${over}`),
    ),
  );
}

/** The last guesses, the newest first. */
function roundRows(play, rounds, players) {
  const letter = (token) => make("bdi", {}, token === 0 ? "end" : visible(play.letters.all[token]));
  const number = (player, losses) => make("td", { class: "number" }, lossText(losses[player]));
  const rows = rounds.slice(-LAST_ROUNDS).reverse().map(({ token, picks, losses }) =>
    make(
      "tr", {},
      make("th", { scope: "row" }, letter(token)),
      make("td", {}, ...(picks.length === 0 ? ["none"] : picks.flatMap((pick) => [letter(pick), " "]))),
      ...Object.keys(players).map((player) => number(player, losses)),
    ),
  );
  const words = ["It was", "Your picks"].map((text) => make("th", { scope: "col" }, text));
  const titles = Object.values(players).map(({ heading }) => make("th", { scope: "col", class: "number" }, heading));
  return [
    make("caption", {}, "The last guesses and their losses in nats"),
    make("thead", {}, make("tr", {}, ...words, ...titles)),
    make("tbody", {}, ...rows),
  ];
}
