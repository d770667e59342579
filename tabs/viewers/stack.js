// Several viewers below each other as one component, since every component that an event writes to
// makes it slower. Takes {"views": [{"key", "name", "value"}], "of": what they are details of, "tell":
// [{"id", "topic", "data"}]}. What a view triggers is triggered here, with "view" (its key) and "of".
const { make, mount, tell } = lens;

// A place for one viewer, which thinks that it is a component of its own.
function place({ key, name }, trigger) {
  const root = make("div", `lens-viewer lens-${name.replaceAll("_", "-")}`);
  const element = make("div", "view", root);
  const props = { value: null };
  let changed = () => {};
  const watch = (_, act) => {
    changed = act;
  };
  lens.viewers[name]({ element, props, watch, trigger: (event, data) => trigger(event, { ...data, view: key }) });
  const show = (value) => {
    const text = JSON.stringify(value);
    if (text === props.value) return;
    props.value = text;
    changed();
  };
  return { element, name, show };
}

lens.viewers.stack = ({ element, props, watch, trigger }) => {
  const places = new Map();
  let of = null;
  const act = (event, data) => trigger(event, { ...data, of });
  mount(element, props, watch, (root, value) => {
    of = value.of;
    const shown = value.views.map((view) => {
      if (places.get(view.key)?.name !== view.name) places.set(view.key, place(view, act));
      const found = places.get(view.key);
      found.show(view.value);
      return found.element;
    });
    const kept = new Set(value.views.map((view) => view.key));
    for (const key of [...places.keys()]) if (!kept.has(key)) places.delete(key);
    const before = [...root.children];
    if (before.length !== shown.length || before.some((one, i) => one !== shown[i])) root.replaceChildren(...shown);
    for (const { id, topic, data } of value.tell ?? []) tell(id, topic, data);
  });
};
