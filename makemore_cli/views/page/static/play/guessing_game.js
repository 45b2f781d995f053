"use strict";
// A game: guess the next character of a name, against the network.

const PICK_SHARES = [0.6, 0.25, 0.1]; // of the first, second and third pick
const MOST_KEYS = 64; // buttons to pick with
const NUMBERS = ["no", "one", "two", "three"];

/** How many picks a guess may have: at least one character is left over for the rest. */
function mostPicks(V) {
  return Math.min(PICK_SHARES.length, V - 1);
}

/** Who plays: a title, and a shorter one for a table. */
function playersOf(V) {
  const most = mostPicks(V);
  const likeliest = most === 1 ? "likeliest character" : `${NUMBERS[most]} likeliest`;
  return {
    you: { title: "You", heading: "You" },
    network: { title: "The network", heading: "The network" },
    rule: {
      title: `The network's ${likeliest}, scored like yours (${sharesOf(most).join("/")}%)`,
      heading: `Its ${likeliest}`,
    },
  };
}

/** The shares of picks, in percent. */
function sharesOf(picks) {
  return PICK_SHARES.slice(0, picks).map((share) => Math.round(100 * share));
}

/** Probabilities (V) from picks: their shares, and the rest spread evenly over the other tokens. */
function pickedProbabilities(picks, V) {
  const rest = 1 - PICK_SHARES.slice(0, picks.length).reduce((sum, share) => sum + share, 0);
  const probabilities = new Float64Array(V).fill(rest / (V - picks.length));
  picks.forEach((token, place) => (probabilities[token] = PICK_SHARES[place]));
  return probabilities;
}

/** The loss in nats of each player for a character that came. */
function guessLosses(network, before, token, picks) {
  const { V } = network.sizes;
  const probabilities = probabilitiesAfter(network, before);
  const byRule = pickedProbabilities(likeliest(probabilities, mostPicks(V)), V);
  return {
    you: -Math.log(pickedProbabilities(picks, V)[token]),
    network: -Math.log(probabilities[token]),
    rule: -Math.log(byRule[token]),
  };
}

/** A game: names one after another, revealed character by character, and the losses so far. */
class GuessingGame {
  constructor(play, seed) {
    this.play = play;
    this.random = randomNumbers(seed);
    this.names = inRandomOrder(play.kinds.neverTrainedOn(), this.random);
    this.isSampled = this.names.length === 0;
    this.finished = 0; // names
    this.rounds = []; // {token, picks, losses} of all names
    this.begin();
  }

  begin() {
    const { network, letters } = this.play;
    this.tokens = this.isSampled
      ? sampledName(network, this.random)
      : letters.encode(this.names[this.finished % this.names.length]).tokens;
    this.known = []; // tokens that have been revealed
  }

  /** Reveal the next character. Returns the round, and the name if it ended. */
  guess(picks) {
    const token = this.tokens[this.known.length] ?? 0;
    const round = { token, picks, losses: guessLosses(this.play.network, this.known, token, picks) };
    this.rounds.push(round);
    this.known.push(token);
    if (token !== 0) return { round, name: null };
    const name = this.play.letters.decode(this.tokens);
    this.finished++;
    this.begin();
    return { round, name };
  }

  /** The mean loss of a player in nats per character. */
  mean(player) {
    return this.rounds.reduce((sum, { losses }) => sum + losses[player], 0) / this.rounds.length;
  }
}
