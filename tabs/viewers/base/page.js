// The page around the viewers: keys, language, staleness, links.
// Ctrl/Cmd+Enter anywhere runs; blur first, so that the prompt's value is committed.
document.addEventListener(
  "keydown",
  (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.key !== "Enter") return;
    const button = document.querySelector("button.lens-run");
    if (!button || button.disabled) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.target.blur) event.target.blur();
    setTimeout(() => button.click(), 0);
  },
  true,
);
