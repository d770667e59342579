lens.viewers.chart = () => {};
