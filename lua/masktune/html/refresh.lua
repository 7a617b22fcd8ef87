--- The script of pages that change while they are looked at (masktune.live): fetches the page anew and puts its content
-- in place of the old one; says where nothing changes any more, or nobody answers.
-- @module masktune.html.refresh
return [[
"use strict";
(() => {
const EVERY = 2000, QUIET = 20000;
const main = document.getElementById("main"), state = document.createElement("p");
state.className = "summary";
state.setAttribute("role", "status");
main.before(state);
let last = "", changed = performance.now(), reached = new Date();
const tell = text => { if (state.textContent !== text) state.textContent = text; };
const look = async () => {
  try {
    const answer = await fetch(location.pathname, { cache: "no-store", signal: AbortSignal.timeout(10000) });
    const text = await answer.text();
    if (!answer.ok) throw new Error(answer.statusText);
    if (text !== last) {
      const fresh = new DOMParser().parseFromString(text, "text/html");
      main.replaceChildren(...fresh.getElementById("main").childNodes);
      document.title = fresh.title;
      last = text;
      changed = performance.now();
    }
    reached = new Date();
    const quiet = performance.now() - changed;
    tell(quiet > QUIET ? "Nothing new for " + Math.round(quiet / 1000) + " seconds." : "");
  } catch {
    tell("No answer since " + reached.toLocaleTimeString() + ": the program has ended, or cannot be reached.");
  }
  setTimeout(look, EVERY);
};
setTimeout(look, EVERY);
})();
]]
