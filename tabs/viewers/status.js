// What is being done, or what went wrong and what to do. Takes {"state", "title", "text"}: "loading"
// while the model stack comes up, then "ready"; "busy" during a run, which dims the results below and
// shows Stop; then "done" or "error".
const { make, mount } = lens;
const ICONS = { ready: "✓", done: "✓", busy: "", loading: "", error: "✕" };

lens.viewers.status = ({ element, props, watch }) =>
  mount(element, props, watch, (root, status) => {
    const line = make("div", `status ${status.state}`);
    line.setAttribute("role", status.state === "error" ? "alert" : "status");
    const icon = make("span", "icon", ICONS[status.state] ?? "");
    icon.setAttribute("aria-hidden", "true");
    line.append(icon);
    if (status.title) line.append(make("strong", "", status.title));
    line.append(make("span", "text", status.text));
    root.replaceChildren(line);
    root.dataset.state = status.state;
    document.body.dataset.lensState = status.state;
  });
