// The run trigger of one tab; draws nothing. Takes {"tab": name, "ran": [model, prompt, template, edit]
// or null}, where "ran" is what the tab shows when the page opens.
lens.viewers.runner = ({ props, trigger }) => {
  const { tab, ran } = JSON.parse(props.value);
  lens.register(tab, () => trigger("run", {}), ran);
};
