lens.viewers.header = () => {};
