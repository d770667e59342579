lens.viewers.saved = () => {};
