/* What scrolls sideways must be reachable with the keyboard; what does not scroll is no tab stop. */
function reachable() {
  const boxes = "article div.math, article mjx-container[display], article table, article pre";
  /* A displayed formula that is a little too wide is set smaller. */
  const displayed = [...document.querySelectorAll("article div.math > mjx-container[display]")];
  for (const formula of displayed) {
    formula.dataset.size ??= formula.style.fontSize || "100%";
    formula.style.fontSize = formula.dataset.size;
  }
  const widths = displayed.map((formula) => {
    const box = formula.parentElement;
    return [formula, box.clientWidth / Math.max(box.scrollWidth, formula.scrollWidth)];
  });
  for (const [formula, fits] of widths)
    if (fits < 1)
      formula.style.fontSize = `${parseFloat(formula.dataset.size) * Math.max(fits - 0.02, 0.75)}%`;
  for (const box of document.querySelectorAll(boxes)) {
    const scrolls = box.scrollWidth > box.clientWidth + 1;
    if (scrolls) box.tabIndex = 0; else box.removeAttribute("tabindex");
    /* Half a pixel too much would make a formula scroll, and so a tab stop of the browser's own. */
    if (box.matches("mjx-container, div.math")) box.style.overflow = scrolls ? "" : "visible";
  }
  /* A formula inside a line cannot break. One that is wider than a phone is set smaller, or, if that
     would make it too small to read, scrolls as well. */
  const formulas = [...document.querySelectorAll("article mjx-container:not([display])")];
  for (const formula of formulas) {
    formula.dataset.size ??= formula.style.fontSize || "100%";
    formula.style.fontSize = formula.dataset.size;
    formula.classList.remove("wide-formula");
    formula.removeAttribute("tabindex");
  }
  /* All are measured before one is changed: a chapter has hundreds, and each change between two
     measurements would lay out the whole page again. */
  const measured = formulas.map((formula) =>
    [formula, (formula.closest("p, li, td, dd")?.clientWidth ?? Infinity) / formula.offsetWidth]);
  for (const [formula, fits] of measured) {
    if (!(fits < 1)) continue;
    formula.style.fontSize = `${parseFloat(formula.dataset.size) * Math.max(fits - 0.02, 0.75)}%`;
    if (fits < 0.76) {
      formula.classList.add("wide-formula");
      formula.tabIndex = 0;
    }
  }
}
window.addEventListener("load", () =>
  (window.MathJax?.startup?.promise ?? Promise.resolve()).then(reachable));
/* Not at "resize": then the contents beside the text have not yet come or gone. */
window.addEventListener("DOMContentLoaded", () => {
  let width;
  new ResizeObserver(([{contentRect}]) => {
    if (width !== undefined && width !== contentRect.width) reachable();
    width = contentRect.width;
  }).observe(document.querySelector("article") ?? document.body);
});
/* The summaries of a search are plain text: formulas stand there as one would type them. */
window.addEventListener("DOMContentLoaded", () => {
  if (typeof Search === "undefined") return;
  const letters = "alpha α beta β gamma γ delta δ epsilon ε theta θ lambda λ mu μ sigma σ phi φ psi ψ "
    + "pi π Sigma Σ sum ∑ int ∫ log log exp exp min min max max mid | Vert ‖ le ≤ ge ≥ ne ≠ sim ~ "
    + "approx ≈ to → in ∈ infty ∞ cdot · times × odot ⊙ sqrt √ nabla ∇ partial ∂ dots … ldots … cdots …";
  const known = Object.fromEntries(letters.match(/\S+ \S+/g).map((pair) => pair.split(" ")));
  const spaced = (text) => text.replace(/^[a-z]+$/, "$& ");
  const typed = (formula) => formula
    .replace(/\\tag\{([^}]*)\}/g, " ($1)")
    .replace(/\\frac\{([^{}]*)\}\{([^{}]*)\}/g, "($1)/($2)")
    .replace(/\\(?:var)?([A-Za-z]+) ?/g, (_, name) => spaced(known[name] ?? ""))
    .replace(/\\[,;:! ]/g, " ").replace(/\\(.)/g, "$1").replace(/[{}]/g, "");
  const text = Search.htmlToText;
  Search.htmlToText = (page, anchor) => text(page, anchor).replace(
    /\\\((.*?)\\\)|\\\[(.*?)\\\]/gs, (_, inside, displayed) => typed(inside ?? displayed));
});
/* On a phone the contents close with Escape; the focus goes back to the button that opened them. */
window.addEventListener("DOMContentLoaded", () => {
  for (const side of ["primary", "secondary"]) {
    document.getElementById(`pst-${side}-sidebar-modal`)?.addEventListener("close", () =>
      document.querySelector(`.${side}-toggle`)?.focus());
  }
});
