"use strict";
const form = document.querySelector("form");
if (form) {
  form.hidden = false;
  const pills = [...document.querySelectorAll("[data-decision]")];
  const count = form.querySelector("output");
  const apply = () => {
    const decision = form.querySelector("select").value;
    const words = form.querySelector("input").value.toLowerCase();
    let shown = 0;
    for (const pill of pills) {
      const fits = (!decision || pill.dataset.decision === decision)
        && pill.textContent.toLowerCase().includes(words);
      pill.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${pills.length}`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  apply();
}
