/* The state of figure 4 in the address: `#cartoonx?image=chelsea&lambda=16&...`.

   Only what differs from the defaults is written, so that links stay short and keep their
   meaning when a default's name is shown differently. Unknown or broken parts of a link
   are left out, never an error: links are typed and cut off by people. */

const PREFIX = "#cartoonx?";
const NUMBERS = ["lambda", "levels", "target", "budget", "seed"];
const WORDS = ["image", "wavelet", "perturbation", "distortion"];

/**
 * The fragment that restores a state.
 *
 * @param {Object<string, string|number|null>} state Values by the names above; null is
 *   "the default".
 * @returns {string}
 */
export function toFragment(state) {
  const parameters = new URLSearchParams();
  for (const name of [...WORDS, ...NUMBERS]) {
    if (state[name] !== null && state[name] !== undefined) parameters.set(name, state[name]);
  }
  return PREFIX + parameters;
}

/**
 * What a fragment says.
 *
 * @param {string} fragment `location.hash`.
 * @returns {Object<string, string|number>|null} Null if it is not of this figure.
 */
export function fromFragment(fragment) {
  if (!fragment.startsWith(PREFIX)) return null;
  const parameters = new URLSearchParams(fragment.slice(PREFIX.length));
  const state = {};
  for (const name of WORDS) {
    if (parameters.get(name)) state[name] = parameters.get(name);
  }
  for (const name of NUMBERS) {
    const value = Number(parameters.get(name) || NaN);
    if (Number.isFinite(value)) state[name] = value;
  }
  return state;
}
