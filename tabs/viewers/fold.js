// On a phone: the bar in one line, "model · template · edit", which unfolds the pickers. Takes {}.
const { make, mount, t } = lens;

lens.viewers.fold = ({ element, props, watch }) => {
  let open = false;
  const drawIn = (root) => {
    const [model, , template, edit] = lens.shell.bar ?? ["", "", "plain", "none"];
    const said = [t(`template.${template}`), edit === "none" ? t("edit.none") : edit];
    const button = make("button", "", make("b", "", model), ` · ${said.join(" · ")}`, make("span", "sign", open ? "▴" : "▾"));
    button.type = "button";
    button.setAttribute("aria-expanded", String(open));
    button.addEventListener("click", () => {
      open = !open;
      drawIn(root);
      root.firstChild.focus();
    });
    root.replaceChildren(button);
  };
  mount(element, props, watch, drawIn);
  document.addEventListener("lens:stale", () => {
    const root = element.querySelector(".lens-viewer");
    if (root && element.clientWidth) drawIn(root);
  });
};
