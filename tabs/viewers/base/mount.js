// How a viewer draws and saves.
const { dark, make } = lens;

// Draw now and whenever the value, the width or the theme changes; never while hidden.
function mount(element, props, watch, draw) {
  const root = element.querySelector(".lens-viewer");
  let drawn = null;
  let queued = false;
  const redraw = () => {
    queued = false;
    const width = element.clientWidth;
    if (!width || !props.value) return;
    const state = `${width} ${dark()} ${props.value}`;
    if (state === drawn) return;
    drawn = state;
    draw(root, JSON.parse(props.value), width);
    root.dataset.ready = String(Number(root.dataset.ready || 0) + 1);
  };
  const schedule = () => {
    if (queued) return;
    queued = true;
    requestAnimationFrame(redraw);
  };
  watch("value", () => {
    drawn = null; // also when the same value comes again: something else may have been shown
    schedule();
  });
  new ResizeObserver(schedule).observe(element);
  new MutationObserver(schedule).observe(document.body, { attributeFilter: ["class"] });
  schedule();
}

// Save a text or a Blob as a file.
function download(name, content, type = "application/json") {
  const link = make("a");
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

Object.assign(lens, { download, mount });
