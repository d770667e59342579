lens.viewers.followed = () => {};
