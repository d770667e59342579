// The run trigger of one tab; draws nothing. Takes {"tab": name, "ran": [model, prompt, template, edit]
// or null, "reads": [names of the bar], "asks"}, where "ran" is what the tab shows when the page opens,
// "reads" what of the bar its result depends on, and "asks" that it only runs when Run is pressed.
lens.viewers.runner = ({ props, trigger }) => {
  const { tab, ran, reads, asks } = JSON.parse(props.value);
  lens.register(tab, { start: () => trigger("run", {}), ran, reads, asks });
};
