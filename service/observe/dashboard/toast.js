// A short word at the foot of the page about what an action came to.

import { byId } from "./dom.js";

const SHOWN_MS = 6000;
let timer = 0;
let afterwards = () => {};

export function onActed(refresh) {
  afterwards = refresh;
}

export function say(text, tone = "good") {
  const toast = byId("toast");
  toast.textContent = text;
  toast.dataset.tone = tone;
  toast.hidden = false;
  clearTimeout(timer);
  timer = setTimeout(() => (toast.hidden = true), SHOWN_MS);
}

// Does something and says `done`, a text or a function of the answer; says what went wrong otherwise.
export async function act(work, done) {
  try {
    const answer = await work();
    say(typeof done === "function" ? done(answer) : done);
  } catch (error) {
    say(error.message, "bad");
  }
  afterwards();
}
