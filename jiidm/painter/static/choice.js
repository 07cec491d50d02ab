// A group of which one is chosen, as a radio group: Tab reaches the chosen one, arrows choose the next.

export function choice(group, choose) {
  const options = () => [...group.querySelectorAll("[role=radio]")];
  const select = (button, focus) => {
    for (const each of options()) {
      const chosen = each === button;
      each.setAttribute("aria-checked", String(chosen));
      each.tabIndex = chosen ? 0 : -1;
    }
    if (focus) button.focus();
  };
  group.addEventListener("click", (event) => {
    const button = event.target.closest("[role=radio]");
    if (button) choose(button.dataset.key);
  });
  group.addEventListener("keydown", (event) => {
    const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
    if (!step) return;
    event.preventDefault();
    const all = options(), next = all[(all.indexOf(document.activeElement) + step + all.length) % all.length];
    choose(next.dataset.key);
    next.focus();
  });
  // Marks the option of a key as the chosen one.
  return (key) => {
    const button = options().find((each) => each.dataset.key === String(key));
    if (button) select(button, false);
  };
}

export function option(key, ...content) {
  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("role", "radio");
  button.setAttribute("aria-checked", "false");
  button.tabIndex = -1;
  button.dataset.key = key;
  button.append(...content);
  return button;
}
