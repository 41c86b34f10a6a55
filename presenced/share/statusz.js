"use strict";
// Fetches the page anew every two seconds and puts its figures in place of the old ones.
async function refresh() {
  const reading = !document.getSelection().isCollapsed;
  if (!document.hidden && !reading) {
    try {
      const answer = await fetch(location.pathname, { cache: "no-store", signal: AbortSignal.timeout(5000) });
      if (!answer.ok) throw new Error(answer.statusText);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      document.querySelector("main").replaceWith(page.querySelector("main"));
      document.title = page.title;
      document.body.classList.remove("old");
    } catch {
      document.body.classList.add("old");
    }
  }
  setTimeout(refresh, 2000);
}
setTimeout(refresh, 2000);
