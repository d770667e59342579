// A remark that stays until it is closed. Takes {"text": phrase, "items": [phrase]}; draws nothing
// without a value.
const { make, mount, phrase, t } = lens;

lens.viewers.notice = ({ element, props, watch }) =>
  mount(element, props, watch, (root, { text, items }) => {
    if (!text) return root.replaceChildren();
    const close = make("button", "", "×");
    close.type = "button";
    close.setAttribute("aria-label", t("page.close"));
    close.addEventListener("click", () => root.replaceChildren());
    const line = make("div", "notice", make("span", "icon", "▲"), make("span", "text", [text, ...(items ?? [])].map(phrase).join(" ")), close);
    line.setAttribute("role", "status");
    root.replaceChildren(line);
  });
